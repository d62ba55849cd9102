"""Sentences of teaching chats."""

from chat_app.language import N_, tr, tr_n
from chat_app.views import ConversationView
from storage.records import Role

SUGGESTING = N_("Writing a suggestion… You need not wait for it.")


def turn_line(view: ConversationView) -> str:
    """Who speaks next, as the heading of the strip."""
    if _waits(view):
        return tr("### You are the assistant: write the reply")
    if any(turn.message.role is Role.ASSISTANT for turn in view.turns):
        return tr("### You are the user: write the next message, or finish")
    return tr("### You are the user: write the first message")


def send_label(view: ConversationView) -> str:
    return tr("Add reply") if _waits(view) else tr("Add message")


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
    saved = tr_n(
        "Saved as an example with {n} reply.", "Saved as an example with {n} replies.", replies
    )
    if not is_finished(view):
        then = tr("It has changed since: finish it again to keep it as it is now.")
    elif view.example.held_out:
        then = tr("One in ten only measures, and this is one.")
    else:
        then = tr("The next supervised training learns from it.")
    return f"{saved} {then}"


def _waits(view: ConversationView) -> bool:
    return bool(view.turns) and view.turns[-1].message.role is Role.USER
