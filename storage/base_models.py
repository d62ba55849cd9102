"""Which base model a data folder belongs to.

Adapters, stored features and token ids fit the model that they were made with and no other: with
another one they are refused at best and misread at worst. So the folder belongs to the first model
that said anything in it.
"""

from sqlite_utils import Database

from storage.database import Reader, Store
from storage.errors import OtherModelError
from storage.inserts import insert
from storage.sqlite import fetch

UNNAMED = "another model"
"""What is said of a model that was used before folders kept its name."""


def settle(store: Store, *, sha256: str, name: str) -> None:
    """Say that the folder is used with this model; while nothing was said, it may be another one.

    ``sha256`` is of its weights, ``name`` for the message to whoever comes with another. Raises
    OtherModelError where the folder belongs to another model.
    """
    with store.write() as db:
        owner = fetch(db, "SELECT sha256, name FROM base_models ORDER BY id DESC LIMIT 1")
        if owner and owner[0]["sha256"] == sha256:
            return
        if owner and _in_use(db):
            before = owner[0]["name"] or UNNAMED
            raise OtherModelError(
                f"This data folder was made with {before}: its versions, and what was learned of "
                f"replies, do not fit {name}. Name another folder for {name} with --data FOLDER "
                "or TWOFOLD_HOME; everything here stays as it is."
            )
        row = {"sha256": sha256, "name": name, "created_ms": store.now_ms()}
        insert(db, "base_models", row)


def owner_of(reader: Reader) -> str | None:
    """The name of the model that the folder belongs to; None while it may be any."""
    db = reader.read()
    named = fetch(db, "SELECT name FROM base_models ORDER BY id DESC LIMIT 1")
    if not named or not _in_use(db):
        return None
    return named[0]["name"] or UNNAMED


def _in_use(db: Database) -> bool:
    """Whether a model has said or learned anything here."""
    found = fetch(
        db,
        """
        SELECT EXISTS (SELECT 1 FROM candidates)
            OR EXISTS (SELECT 1 FROM policy_versions WHERE version > 0) AS used
        """,
    )
    return bool(found[0]["used"])
