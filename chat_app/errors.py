"""The one error that reaches a person: its text is a sentence for them."""


class ChatError(Exception):
    """A request that cannot be met now. The page shows the text; nothing was changed."""
