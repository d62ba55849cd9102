"""The one error that reaches a person: its text is a sentence for them."""

from collections.abc import Iterator
from contextlib import contextmanager

from chat_app.language import N_, tr_told
from storage.errors import StorageError

TROUBLES = (
    N_("The disk is full, so nothing was saved: free some space and try again. ({error})"),
    N_(
        "The disk refused to read or write, so nothing was saved: check it, then start again. "
        "({error})"
    ),
    N_("Another program keeps the database locked: close it and try again. ({error})"),
    N_("The database cannot be written: check the permissions of its folder. ({error})"),
)
"""What SQLite meets while somebody chats, as ``storage.sqlite`` tells it."""


class ChatError(Exception):
    """A request that cannot be met now. The page shows the text; nothing was changed."""


@contextmanager
def sentences() -> Iterator[None]:
    """What the store refuses is told to the person, in their language where the table has it."""
    try:
        yield
    except StorageError as error:
        raise ChatError(tr_told(str(error))) from error
