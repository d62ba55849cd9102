"""The key of the API: a file of its own in the data folder, which nobody else on this computer may
read. Made when the API is first used; a new one makes the old one worthless."""

import hmac
import os
import secrets
from pathlib import Path

PREFIX = "twofold-"


class ApiKey:
    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> str:
        """The key, made now if there is none."""
        try:
            return self._path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return self.renew()

    def renew(self) -> str:
        """Make another key; the one before opens nothing any more."""
        key = PREFIX + secrets.token_urlsafe(32)
        temporary = self._path.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        with os.fdopen(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
        ) as file:
            file.write(key)
        temporary.replace(self._path)
        return key

    def opens(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.read().encode())
