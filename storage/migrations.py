"""The schema as ordered steps, by sqlite-utils' own migrations.

A step is frozen once released: a file of any age is brought forward by the steps it lacks, and new
files take the same path. Each ends with ``PRAGMA user_version``, its own number, by which an older
twofold knows to keep its hands off. ``SCHEMA_VERSION`` is the number of the last step.
"""

import hashlib
from pathlib import Path

from sqlite_utils import Database, Migrations

SCHEMA_VERSION = 13

migrations = Migrations("twofold")

_SCHEMA = Path(__file__).with_name("schema")


@migrations()
def m001(db: Database) -> None:
    """Every table, rule and view, and the rows without which nothing works."""
    db.executescript((_SCHEMA / "m001.sql").read_text(encoding="utf-8"))


@migrations()
def m002(db: Database) -> None:
    """The list, the search and the forgetting of the Data page; pairs out of a file."""
    db.executescript((_SCHEMA / "m002.sql").read_text(encoding="utf-8"))
    version = db.conn.execute("SELECT sqlite_version()").fetchone()[0]
    if tuple(map(int, version.split("."))) >= (3, 42):
        # What was erased leaves the pages of the index at once, and not with some later merge.
        sql = "INSERT INTO comparison_search (comparison_search, rank) VALUES ('secure-delete', 1)"
        db.execute(sql)


@migrations()
def m003(db: Database) -> None:
    """Counts and open picks that are kept as the log grows, for the Learning page's sake."""
    db.executescript((_SCHEMA / "m003.sql").read_text(encoding="utf-8"))


@migrations()
def m004(db: Database) -> None:
    """Thumbs, strength and reasons of a choice, and replies that a person wrote."""
    db.executescript((_SCHEMA / "m004.sql").read_text(encoding="utf-8"))


@migrations()
def m005(db: Database) -> None:
    """Notes about versions."""
    db.executescript((_SCHEMA / "m005.sql").read_text(encoding="utf-8"))


@migrations()
def m006(db: Database) -> None:
    """Training phases: what was run, what it measured, what it ended in."""
    db.executescript((_SCHEMA / "m006.sql").read_text(encoding="utf-8"))


@migrations()
def m007(db: Database) -> None:
    """Rankings of several answers, and dialogues of which a person wrote both sides."""
    db.executescript((_SCHEMA / "m007.sql").read_text(encoding="utf-8"))


@migrations()
def m008(db: Database) -> None:
    """Questions that set the live version against an earlier one."""
    db.executescript((_SCHEMA / "m008.sql").read_text(encoding="utf-8"))


@migrations()
def m009(db: Database) -> None:
    """Labels of one reply."""
    db.executescript((_SCHEMA / "m009.sql").read_text(encoding="utf-8"))


@migrations()
def m010(db: Database) -> None:
    """What a file said of a record goes with its chat, and what its line is known by is salted."""

    def salted(salt: bytes, row_sha256: str) -> str:
        return hashlib.sha256(salt + row_sha256.encode()).hexdigest()

    db.conn.create_function("salted", 2, salted)
    db.executescript((_SCHEMA / "m010.sql").read_text(encoding="utf-8"))


@migrations()
def m011(db: Database) -> None:
    """What stays learned though it was switched off or forgotten."""
    db.executescript((_SCHEMA / "m011.sql").read_text(encoding="utf-8"))


@migrations()
def m012(db: Database) -> None:
    """Of older versions fewer and fewer are kept."""
    db.executescript((_SCHEMA / "m012.sql").read_text(encoding="utf-8"))


@migrations()
def m013(db: Database) -> None:
    """The base model that a folder was made with."""
    db.executescript((_SCHEMA / "m013.sql").read_text(encoding="utf-8"))
