"""The full-text index of the Data page: what was erased leaves it at once.

FTS5 only marks a deleted row, and its words stay in the pages of the index until some later merge.
From SQLite 3.42 on an index can be told to take them out with the row (``secure-delete``); before,
the whole index is merged after each erasure, which drops what is marked.
"""

from sqlite_utils import Database

from storage.sqlite import fetch

_AT_ONCE = (3, 42)


def keep_clean(db: Database) -> None:
    """Set it, once, where an older SQLite made the file; what it had left goes, too."""
    told = fetch(db, "SELECT v FROM comparison_search_config WHERE k = 'secure-delete'")
    if _version(db) < _AT_ONCE or any(row["v"] == 1 for row in told):
        return
    db.execute(
        "INSERT INTO comparison_search (comparison_search, rank) VALUES ('secure-delete', 1)"
    )
    _merge(db)


def after_erasing(db: Database) -> None:
    """In the transaction that erased: take out what SQLite did not take out by itself."""
    if _version(db) < _AT_ONCE:
        _merge(db)


def _merge(db: Database) -> None:
    db.execute("INSERT INTO comparison_search (comparison_search) VALUES ('optimize')")


def _version(db: Database) -> tuple[int, ...]:
    [(version,)] = fetch(db, "SELECT sqlite_version()")
    return tuple(map(int, version.split(".")))
