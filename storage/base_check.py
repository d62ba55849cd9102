"""Whether a data folder is another base model's, for those who only read: nothing is settled."""

from storage.base_models import _in_use
from storage.database import Reader
from storage.errors import OtherModelError
from storage.sqlite import fetch


def check_base(reader: Reader, *, sha256: str, name: str) -> None:
    """Raise OtherModelError where ``settle`` (storage/base_models.py) would, and write nothing."""
    with reader.snapshot() as db:
        owner = fetch(db, "SELECT sha256, name FROM base_models ORDER BY id DESC LIMIT 1")
        if owner and owner[0]["sha256"] != sha256 and _in_use(db):
            before = owner[0]["name"] or "another model"
            raise OtherModelError(
                f"This data folder was made with {before}: its versions, and what was learned of "
                f"replies, do not fit {name}. Name another folder for {name} with --data FOLDER "
                "or TWOFOLD_HOME; everything here stays as it is."
            )
