"""Pairs out of a file, kept as if they had been asked here: the same tables, chain and list.

Each becomes a conversation of its own, marked as imported, so that the list of chats leaves it out.
What the file said of a pair beside its texts is kept word for word, and an export says it again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlite_utils import Database

from storage.conversations import is_held_out, random_key
from storage.database import Store
from storage.feedback import append_answer
from storage.records import (
    BASE_VERSION,
    LOCAL_USER,
    AskReason,
    Choice,
    Completion,
    FinishReason,
    Message,
    Role,
    Sampling,
    TurnId,
)
from storage.rows import add_candidates, add_text, add_turn, insert, show_candidate
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


class ImportLog:
    def __init__(self, store: Store, *, new_key: Callable[[], str] = random_key) -> None:
        self._store = store
        self._new_key = new_key

    def known_rows(self, sha256s: Iterable[str]) -> set[str]:
        """Return those of the lines that were imported before."""
        return self._known("imported_pairs", "row_sha256", sha256s)

    def known_tokens(self, tokens: Iterable[str]) -> set[str]:
        """Return those of the questions that are here already, asked or imported."""
        return self._known("comparisons", "token", tokens)

    def add(self, pairs: Sequence[ImportedPair]) -> int:
        """Keep these pairs in one transaction; return how many were not here before."""
        with self._store.write() as db:
            return sum(self._add(db, pair) for pair in pairs)

    def _known(self, table: str, column: str, values: Iterable[str]) -> set[str]:
        sql = f"SELECT {column} AS one FROM {table} WHERE {column} = ?"  # noqa: S608 - literals
        db = self._store.read()
        return {row["one"] for value in values for row in fetch(db, sql, [value])}

    def _add(self, db: Database, pair: ImportedPair) -> bool:
        token = pair.token or self._new_key()
        if _is_known(db, token, pair.row_sha256):
            return False
        now_ms = self._store.now_ms()
        prompt_turn_id = self._converse(db, pair, now_ms)
        replies = [pair.first, pair.second]
        first, second = add_candidates(db, prompt_turn_id, replies, now_ms)
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
        insert(
            db,
            "imported_pairs",
            {
                "comparison_id": comparison_id,
                "row_sha256": pair.row_sha256,
                "meta_json": pair.meta_json,
                "created_ms": now_ms,
            },
        )
        question = _question(db, comparison_id)
        append_answer(db, question, pair.choice, decision_ms=pair.decision_ms, now_ms=now_ms)
        shown = second if pair.choice is Choice.SECOND else first
        show_candidate(db, shown.id, now_ms)
        return True

    def _converse(self, db: Database, pair: ImportedPair, now_ms: int) -> TurnId:
        """Insert a conversation with the prompt; return its last turn, the user's."""
        key = self._new_key()
        while pair.held_out is not None and is_held_out(key) != pair.held_out:
            key = self._new_key()  # the key decides, so another one is drawn: ten on average
        conversation_id = insert(
            db,
            "conversations",
            {
                "key": key,
                "user_id": LOCAL_USER,
                "title": title_of(pair.prompt[-1].content),
                "learn": 1,
                "held_out": is_held_out(key),
                "imported": 1,
                "created_ms": now_ms,
            },
        )
        parent: TurnId | None = None
        for message in pair.prompt:
            if message.role is Role.ASSISTANT:
                if parent is None:
                    raise ValueError("a prompt cannot begin with a reply")
                reply = _said(message.content)
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


def _is_known(db: Database, token: str, row_sha256: str) -> bool:
    found = fetch(
        db,
        """
        SELECT 1 FROM comparisons WHERE token = ?
        UNION ALL SELECT 1 FROM imported_pairs WHERE row_sha256 = ?
        """,
        [token, row_sha256],
    )
    return bool(found)


def _question(db: Database, comparison_id: int) -> Row:
    return fetch(db, "SELECT * FROM comparisons WHERE comparison_id = ?", [comparison_id])[0]
