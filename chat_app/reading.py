"""One conversation as a page draws it, read from the logs."""

from collections.abc import Mapping, Sequence

from chat_app.dialogue import suggestion, teaches
from chat_app.views import ConversationView, Place
from storage.logs import Logs
from storage.receipts import Answered
from storage.records import Choice, ConversationId, Label, Note, Role, Turn, TurnId


def read_conversation(
    logs: Logs,
    conversation_id: ConversationId,
    *,
    mark: str,
    running: bool,
    failed: str | None,
    notices: tuple[str, ...],
) -> ConversationView:
    """Raises UnknownConversationError. The last four are what only the running server knows."""
    path = logs.conversations.path(conversation_id)
    if running and path and path[-1].message.role is Role.ASSISTANT:
        path = path[:-1]  # what is being written is to take its place
    turns = tuple(turn for turn in path if turn.message.role is not Role.SYSTEM)
    question = logs.feedback.open_question(conversation_id)
    written = logs.conversations.candidates(
        turn.candidate_id for turn in turns if turn.candidate_id is not None
    )
    answers = _answers(logs, turns)
    last = answers.get(turns[-1].id) if turns else None
    waiting = bool(turns) and turns[-1].message.role is Role.USER
    conversation = logs.conversations.get(conversation_id)
    teaching = teaches(conversation)
    return ConversationView(
        conversation=conversation,
        mark=mark,
        instructions=path[0].message.content if len(path) > len(turns) else "",
        turns=turns,
        replies=_reply_place(logs, turns),
        branches=_branch_place(logs, conversation_id, turns),
        thumbs=logs.opinions.thumbs(turn.id for turn in turns),
        labels=_labels(logs, turns),
        answers=answers,
        note=logs.opinions.note(last.id) if last else Note(),
        written=written,
        suggestion=suggestion(logs, turns[-1].id) if teaching and waiting else None,
        example=logs.dialogues.of(conversation_id) if teaching else None,
        question=question,
        running=running,
        interrupted=waiting and not running and question is None and not teaching,
        failed=failed,
        notices=notices,
    )


def _labels(logs: Logs, turns: Sequence[Turn]) -> Mapping[TurnId, tuple[Label, ...]]:
    shown = {turn.candidate_id: turn.id for turn in turns if turn.candidate_id is not None}
    return {shown[one]: labels for one, labels in logs.labels.of(shown).items()}


def _answers(logs: Logs, turns: Sequence[Turn]) -> Mapping[TurnId, Answered]:
    """The newest answer that names the reply of a turn as one of its pair.

    One that was taken back is told only where no other stands.
    """
    asked = [turn.id for turn in turns if turn.message.role is Role.USER]
    of_reply = {}
    answers = logs.receipts.of(asked)
    for answer in sorted(answers, key=lambda one: one.choice is not Choice.WITHDRAWN):
        for candidate_id in answer.pair:
            of_reply[candidate_id] = answer
    return {turn.id: of_reply[turn.candidate_id] for turn in turns if turn.candidate_id in of_reply}


def _reply_place(logs: Logs, turns: Sequence[Turn]) -> Place:
    if not turns or turns[-1].parent_id is None or turns[-1].message.role is not Role.ASSISTANT:
        return Place()
    return _place(logs.branches.replies_to(turns[-1].parent_id), turns[-1].id)


def _branch_place(logs: Logs, conversation_id: ConversationId, turns: Sequence[Turn]) -> Place:
    said = [turn.id for turn in turns if turn.message.role is Role.USER]
    ends = logs.branches.branches(conversation_id)
    return _place(ends, said[-1]) if said and said[-1] in ends else Place(of=max(1, len(ends)))


def _place(turn_ids: Sequence[TurnId], shown: TurnId) -> Place:
    place = turn_ids.index(shown)
    return Place(
        number=place + 1,
        of=len(turn_ids),
        before=turn_ids[place - 1] if place else None,
        after=turn_ids[place + 1] if place + 1 < len(turn_ids) else None,
    )
