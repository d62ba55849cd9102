"""What came out of a file, kept as if it had been said here: the same tables, chain and lists.

Each pair, ranking or dialogue becomes a conversation of its own, marked as imported, so that the
list of chats leaves it out. What the file said of it beside its texts is kept word for word, and an
export says it again; it is erased with that conversation. What stays then is a salted digest of the
line, so that its file does not bring back what was deleted.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from storage.answer_rows import EXCLUDED, append_answer
from storage.conversation_rows import is_held_out, random_key
from storage.database import Store
from storage.dialogues import append_demonstration
from storage.inserts import (
    add_cache,
    add_candidates,
    add_text,
    add_turn,
    add_written,
    insert,
    show_candidate,
    text_digest,
)
from storage.labels import add_labels
from storage.ranking_rows import add_slate, append_ranking, slate_row
from storage.records import (
    BASE_VERSION,
    LOCAL_USER,
    AskReason,
    Choice,
    Completion,
    ConversationId,
    FinishReason,
    Label,
    LabelSource,
    Message,
    Purpose,
    Role,
    Sampling,
    TurnId,
)
from storage.slates import Orders, RankingState
from storage.sqlite import Row, fetch
from storage.text import clean_text, title_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedPair:
    prompt: tuple[Message, ...]
    """Ends with a user's message; an assistant's follows one."""
    first: Completion
    second: Completion
    choice: Choice
    token: str | None
    """The question's own, where another twofold had asked it."""
    held_out: bool | None
    """None leaves it to the key, as for any conversation."""
    decision_ms: int
    row_sha256: str
    meta_json: str
    labels: tuple[tuple[Label, ...], tuple[Label, ...]] = ((), ())
    """What the file marks in the first and the second reply."""
    excluded: bool = False
    """It teaches nothing until somebody takes it back in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRanking:
    """As an ImportedPair, of 2 to 9 answers in the order in which they were shown."""

    prompt: tuple[Message, ...]
    answers: tuple[Completion, ...]
    orders: Orders
    token: str | None
    held_out: bool | None
    decision_ms: int
    row_sha256: str
    meta_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedDialogue:
    """A demonstration; its replies are text, which no model has to have read."""

    messages: tuple[Message, ...]
    """Ends with a reply."""
    held_out: bool | None
    key: str | None
    """Of the conversation, where another twofold had it."""
    row_sha256: str
    meta_json: str


Imported = ImportedPair | ImportedRanking | ImportedDialogue

_ROWS = {
    ImportedPair: "imported_pairs",
    ImportedRanking: "imported_slates",
    ImportedDialogue: "imported_dialogues",
}
_NAMES = {
    ImportedPair: ("comparisons", "token"),
    ImportedRanking: ("slates", "token"),
    ImportedDialogue: ("conversations", "key"),
}


class ImportLog:
    def __init__(self, store: Store, *, new_key: Callable[[], str] = random_key) -> None:
        self._store = store
        self._new_key = new_key

    def known_rows(self, kind: type[Imported], sha256s: Iterable[str]) -> set[str]:
        """Return those of the lines that were imported before, erased ones too."""
        db = self._store.read()
        return {one for one in sha256s if _known_row(db, kind, one)}

    def known_names(self, kind: type[Imported], names: Iterable[str]) -> set[str]:
        """Return those that are here already, said or imported: tokens, or keys of dialogues."""
        return _known(self._store.read(), *_NAMES[kind], names)

    def add(self, found: Sequence[Imported]) -> int:
        """Keep these in one transaction; return how many were not here before."""
        with self._store.write() as db:
            return sum(self._add(db, one) for one in found)

    def _add(self, db: Database, one: Imported) -> bool:
        name = one.key if isinstance(one, ImportedDialogue) else one.token
        table, column = _NAMES[type(one)]
        if (name and _known(db, table, column, [name])) or _known_row(
            db, type(one), one.row_sha256
        ):
            return False
        match one:
            case ImportedPair():
                self._add_pair(db, one)
            case ImportedRanking():
                self._add_ranking(db, one)
            case ImportedDialogue():
                self._add_dialogue(db, one)
        return True

    def _add_pair(self, db: Database, pair: ImportedPair) -> None:
        token = pair.token or self._new_key()
        now_ms = self._store.now_ms()
        prompt_turn_id = self._converse(db, pair.prompt, Purpose.CHAT, pair.held_out)
        replies = [pair.first, pair.second]
        first, second = add_candidates(db, prompt_turn_id, replies, now_ms)
        for reply, labels in zip((first, second), pair.labels, strict=True):
            add_labels(db, reply.id, labels, LabelSource.IMPORTED, now_ms)
        comparison_id = insert(
            db,
            "comparisons",
            {
                "token": token,
                "user_id": LOCAL_USER,
                "first_id": first.id,
                "second_id": second.id,
                "reason": AskReason.IMPORTED,
                "propensity": 1.0,
                "disagreement": 0.0,
                "first_better_prob": 0.5,
                "created_ms": now_ms,
            },
        )
        of = {"comparison_id": comparison_id}
        _remember(db, "imported_pairs", of, pair, now_ms)
        question = _question(db, comparison_id)
        answer = append_answer(
            db, question, pair.choice, decision_ms=pair.decision_ms, now_ms=now_ms
        )
        if pair.excluded:
            flag = {"seq": answer.preference_id, "flag": EXCLUDED, "created_ms": now_ms}
            insert(db, "preference_flags", flag)
        shown = second if pair.choice is Choice.SECOND else first
        show_candidate(db, shown.id, now_ms)

    def _add_ranking(self, db: Database, ranking: ImportedRanking) -> None:
        now_ms = self._store.now_ms()
        turn_id = self._converse(db, ranking.prompt, Purpose.RANKING, ranking.held_out)
        slate_id = add_slate(
            db,
            turn_id,
            [one.id for one in add_candidates(db, turn_id, ranking.answers, now_ms)],
            token=ranking.token or self._new_key(),
            imported=True,
            now_ms=now_ms,
        )
        _remember(db, "imported_slates", {"slate_id": slate_id}, ranking, now_ms)
        append_ranking(
            db,
            slate_row(db, slate_id),
            RankingState.RANKED,
            ranking.orders,
            decision_ms=ranking.decision_ms,
            now_ms=now_ms,
        )

    def _add_dialogue(self, db: Database, dialogue: ImportedDialogue) -> None:
        now_ms = self._store.now_ms()
        last = self._converse(
            db, dialogue.messages, Purpose.TEACHING, dialogue.held_out, key=dialogue.key
        )
        [row] = fetch(db, "SELECT conversation_id FROM turns WHERE turn_id = ?", [last])
        conversation_id = ConversationId(row["conversation_id"])
        of = {"conversation_id": conversation_id}
        _remember(db, "imported_dialogues", of, dialogue, now_ms)
        append_demonstration(db, conversation_id, last, now_ms=now_ms)

    def _converse(
        self,
        db: Database,
        messages: tuple[Message, ...],
        purpose: Purpose,
        held_out: bool | None,
        *,
        key: str | None = None,
    ) -> TurnId:
        """Insert a conversation with these messages; return its last turn."""
        now_ms = self._store.now_ms()
        key = key or self._new_key()
        while held_out is not None and is_held_out(key) != held_out:
            key = self._new_key()  # the key decides, so another one is drawn: ten on average
        conversation_id = insert(
            db,
            "conversations",
            {
                "key": key,
                "user_id": LOCAL_USER,
                "title": title_of(_titled(messages)),
                "learn": 1,
                "held_out": is_held_out(key),
                "purpose": purpose,
                "imported": 1,
                "created_ms": now_ms,
            },
        )
        parent: TurnId | None = None
        for message in messages:
            if message.role is Role.ASSISTANT:
                if parent is None:
                    raise ValueError("a prompt cannot begin with a reply")
                reply = _said(message.content)
                if purpose is Purpose.TEACHING:
                    said = add_written(db, parent, LOCAL_USER, reply, now_ms)
                    add_cache(db, said.id, reply)  # empty: no model has to read it
                else:
                    [said] = add_candidates(db, parent, [reply], now_ms)
                parent = show_candidate(db, said.id, now_ms).id
                continue
            parent = add_turn(
                db,
                conversation_id=conversation_id,
                parent_id=parent,
                role=message.role,
                text_id=add_text(db, LOCAL_USER, clean_text(message.content)),
                now_ms=now_ms,
            ).id
        if parent is None:
            raise ValueError("a prompt needs a message")
        return parent


def _said(text: str) -> Completion:
    """A reply inside a prompt: text, of which nothing else is known."""
    return Completion(
        text=text,
        token_ids=(),
        logprobs=(),
        finish_reason=FinishReason.STOP,
        policy_version=BASE_VERSION,
        seed=0,
        sampling=Sampling(),
    )


def _titled(messages: tuple[Message, ...]) -> str:
    """The message that names the conversation: the last that a person said."""
    return [one.content for one in messages if one.role is Role.USER][-1]


def _remember(db: Database, table: str, of: dict[str, int], one: Imported, now_ms: int) -> None:
    known_by = {"row_sha256": _salted(db, one.row_sha256), "created_ms": now_ms}
    insert(db, table, of | known_by | {"meta_json": one.meta_json})


def _salted(db: Database, row_sha256: str) -> str:
    """As it is stored: it outlives the texts of its line, and must not tell them."""
    [(salt,)] = fetch(db, "SELECT salt FROM users WHERE user_id = ?", [LOCAL_USER])
    return text_digest(salt, row_sha256).hex()


def _known_row(db: Database, kind: type[Imported], row_sha256: str) -> bool:
    return bool(_known(db, _ROWS[kind], "row_sha256", [_salted(db, row_sha256)]))


def _known(db: Database, table: str, column: str, values: Iterable[str]) -> set[str]:
    sql = f"SELECT {column} AS one FROM {table} WHERE {column} = ?"  # noqa: S608 - literals
    return {row["one"] for value in values for row in fetch(db, sql, [value])}


def _question(db: Database, comparison_id: int) -> Row:
    return fetch(db, "SELECT * FROM comparisons WHERE comparison_id = ?", [comparison_id])[0]
