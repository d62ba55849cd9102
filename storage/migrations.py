"""The schema as ordered steps, by sqlite-utils' own migrations.

A step is frozen once released: a file of any age is brought forward by the steps it lacks, and new
files take the same path. Each ends with ``PRAGMA user_version``, its own number, by which an older
twofold knows to keep its hands off. ``SCHEMA_VERSION`` is the number of the last step.
"""

from pathlib import Path

from sqlite_utils import Database, Migrations

SCHEMA_VERSION = 1

migrations = Migrations("twofold")

_SCHEMA = Path(__file__).with_name("schema")


@migrations()
def m001(db: Database) -> None:
    """Every table, rule and view, and the rows without which nothing works."""
    db.executescript((_SCHEMA / "m001.sql").read_text(encoding="utf-8"))
