"""Arms that do nothing but tell."""

import os
from pathlib import Path


class Counter:
    def __init__(self, seconds: float, diary: str | None = None) -> None:
        self._seconds, self._diary = seconds, diary

    def round(self, number: int) -> dict[str, float]:
        if self._diary:
            with Path(self._diary).open("a") as file:
                file.write(f"{os.getpid()} {self._seconds} {number}\n")
        return {"wall_s": self._seconds * (number + 1)}


class Missing:
    def __init__(self) -> None:
        raise ImportError("No module named 'peer'")


class Unfit:
    def __init__(self) -> None:
        from benchmarks.row import AbsentError

        raise AbsentError("no such format")


class Broken:
    def __init__(self) -> None:
        raise ValueError("oh")
