"""The one error that reaches a person: its text is a sentence for them."""

from collections.abc import Iterator
from contextlib import contextmanager

from chat_app.language import tr_told
from storage.errors import StorageError


class ChatError(Exception):
    """A request that cannot be met now. The page shows the text; nothing was changed."""


@contextmanager
def sentences() -> Iterator[None]:
    """What the store refuses is told to the person, in their language where the table has it."""
    try:
        yield
    except StorageError as error:
        raise ChatError(tr_told(str(error))) from error
