"""The rows of answers: the newest to a question, its flag, and a new one at the end."""

from sqlite_utils import Database

from storage import chain
from storage.errors import UnknownComparisonError
from storage.inserts import insert
from storage.records import Choice, PreferenceId, Receipt, UserId
from storage.sqlite import Row, fetch

EXCLUDED = "admin"
"""The flag of an answer that the person took out of learning."""
RELEASED = "released"
"""The flag, or the lack of one, of an answer that counts."""


def append_answer(
    db: Database,
    question: Row,
    choice: Choice,
    *,
    decision_ms: int,
    superseded: int | None = None,
    now_ms: int,
) -> Receipt:
    """Add an answer at the end of the chain. The caller holds the transaction."""
    row = {
        "idem_key": f"{question['token']}:{superseded or 0}",
        "comparison_id": question["comparison_id"],
        "user_id": question["user_id"],
        "choice": choice,
        "supersedes": superseded,
        "decide_ms": decision_ms,
        "created_ms": now_ms,
        "prev_hash": chain.last_hash(db),
    }
    seq = insert(db, "preferences", row | {"row_hash": chain.row_hash(db, row)})
    return Receipt(preference_id=PreferenceId(seq), choice=choice, already_saved=False)


def question_of(db: Database, token: str, user_id: UserId | None = None) -> Row:
    found = fetch(
        db,
        """
        SELECT c.*, a.prompt_turn_id, v.head_turn_id
          FROM comparisons c
          JOIN candidates a ON a.candidate_id = c.first_id
          JOIN turns t ON t.turn_id = a.prompt_turn_id
          JOIN conversations v ON v.conversation_id = t.conversation_id
         WHERE c.token = :token AND (:user IS NULL OR c.user_id = :user)
           AND v.erased_ms IS NULL
        """,
        {"token": token, "user": user_id},
    )
    if not found:
        raise UnknownComparisonError("This pair is not known here: reload the page.")
    return found[0]


def newest_answer(db: Database, comparison_id: int) -> Row | None:
    sql = "SELECT * FROM newest WHERE comparison_id = ?"
    return next(iter(fetch(db, sql, [comparison_id])), None)


def stored_with(db: Database, question: Row) -> list[Row]:
    """Return the other pairs of the act that made or answered this one.

    A policy's reply is asked about once and a person's is new, so of a question and the two pairs
    of the reply written in its place each two share a reply, and no other act shares one.
    """
    return fetch(
        db,
        """
        SELECT c.* FROM comparisons c JOIN newest n USING (comparison_id)
         WHERE (c.first_id IN (:first, :second) OR c.second_id IN (:first, :second))
           AND c.comparison_id <> :id AND 'edited' NOT IN (c.reason, :reason)
           AND (c.reason = 'written' OR (:reason = 'written' AND n.choice = 'skip'))
         ORDER BY c.comparison_id
        """,
        {
            "id": question["comparison_id"],
            "reason": question["reason"],
            "first": question["first_id"],
            "second": question["second_id"],
        },
    )


def flag_of(db: Database, seq: int) -> str:
    """Return the flag that decides, RELEASED where there is none."""
    sql = "SELECT flag FROM preference_flags WHERE seq = ? ORDER BY flag_id DESC LIMIT 1"
    found = fetch(db, sql, [seq])
    return found[0]["flag"] if found else RELEASED


def receipt_of(row: Row, *, already_saved: bool) -> Receipt:
    return Receipt(
        preference_id=PreferenceId(row["seq"]),
        choice=Choice(row["choice"]),
        already_saved=already_saved,
    )
