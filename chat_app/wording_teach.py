"""Sentences of teaching chats."""

from chat_app.views import ConversationView
from chat_app.wording import count_of
from storage.records import Role

SUGGESTING = "Writing a suggestion… You need not wait for it."


def turn_line(view: ConversationView) -> str:
    """Who speaks next, as the heading of the strip."""
    if _waits(view):
        return "### You are the assistant: write the reply"
    if any(turn.message.role is Role.ASSISTANT for turn in view.turns):
        return "### You are the user: write the next message, or finish"
    return "### You are the user: write the first message"


def send_label(view: ConversationView) -> str:
    return "Add reply" if _waits(view) else "Add message"


def is_finished(view: ConversationView) -> bool:
    """Whether the example is the dialogue as it is shown, up to its last reply."""
    if view.example is None:
        return False
    shown = [turn.message for turn in view.turns]
    while shown and shown[-1].role is not Role.ASSISTANT:
        shown.pop()
    kept = [one for one in view.example.messages if one.role is not Role.SYSTEM]
    return kept == shown


def state_line(view: ConversationView) -> str:
    if view.example is None:
        return ""
    replies = sum(one.role is Role.ASSISTANT for one in view.example.messages)
    saved = f"Saved as an example with {count_of(replies, 'reply', 'replies')}."
    if not is_finished(view):
        return f"{saved} It has changed since: finish it again to keep it as it is now."
    if view.example.held_out:
        return f"{saved} One in ten only measures, and this is one."
    return f"{saved} The next supervised training learns from it."


def _waits(view: ConversationView) -> bool:
    return bool(view.turns) and view.turns[-1].message.role is Role.USER
