"""Which base model a data folder belongs to.

Adapters, stored features and token ids fit the model that they were made with and no other: with
another one they are refused at best and misread at worst. So the folder belongs to the first model
that said anything in it.
"""

from dataclasses import dataclass

from sqlite_utils import Database

from storage.database import Reader, Store
from storage.errors import OtherModelError
from storage.inserts import insert
from storage.sqlite import fetch


@dataclass(frozen=True, slots=True)
class Owner:
    sha256: str
    """Of the model's weights."""
    name: str
    in_use: bool
    """It has said or learned something here; until then it may be another model."""


def settle(store: Store, *, sha256: str, name: str) -> None:
    """Say that the folder is used with this model; while nothing was said, it may be another one.

    ``sha256`` is of its weights, ``name`` for the message to whoever comes with another. Raises
    OtherModelError where the folder belongs to another model.
    """
    with store.write() as db:
        owner = _owner(db)
        _check(owner, sha256, name)
        if owner is None or owner.sha256 != sha256:
            row = {"sha256": sha256, "name": name, "created_ms": store.now_ms()}
            insert(db, "base_models", row)


def check_owner(reader: Reader, *, sha256: str, name: str) -> None:
    """Raise OtherModelError where ``settle`` would, and write nothing."""
    _check(owner_of(reader), sha256, name)


def owner_of(reader: Reader) -> Owner | None:
    """The model that the folder was last used with, None before the first."""
    with reader.snapshot() as db:
        return _owner(db)


def _check(owner: Owner | None, sha256: str, name: str) -> None:
    if owner is not None and owner.in_use and owner.sha256 != sha256:
        raise OtherModelError(
            f"This data folder was made with {owner.name}: its versions, and what was learned of "
            f"replies, do not fit {name}. Name another folder for {name} with --data FOLDER or "
            "TWOFOLD_HOME; everything here stays as it is."
        )


def _owner(db: Database) -> Owner | None:
    found = fetch(
        db,
        """
        SELECT sha256, name,
               EXISTS (SELECT 1 FROM candidates)
                 OR EXISTS (SELECT 1 FROM policy_versions WHERE version > 0) AS in_use
          FROM base_models ORDER BY id DESC LIMIT 1
        """,
    )
    if not found:
        return None
    [row] = found
    # Folders are older than the names of their models.
    return Owner(row["sha256"], row["name"] or "another model", bool(row["in_use"]))
