"""Short records, and a world that holds one open store with everything around it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from storage import rounds
from storage.conversation_rows import is_held_out
from storage.conversations import ConversationLog
from storage.database import Store
from storage.feedback import FeedbackLog
from storage.folder import DataFolder
from storage.policy_registry import PolicyRegistry
from storage.records import (
    AskReason,
    Choice,
    Comparison,
    Completion,
    Conversation,
    FinishReason,
    PolicyVersionId,
    PreferenceId,
    Purpose,
    Question,
    Receipt,
    RoundReport,
    RoundStatus,
    Sampling,
    Turn,
)
from tests.keys import teaching_key

QUESTION = Question(
    reason=AskReason.UNCERTAIN, propensity=0.25, disagreement=0.125, first_better_prob=0.5
)
BASE_SHA256 = "b" * 64


def completion(
    text: str = "a reply",
    *,
    version: int = 0,
    finish: FinishReason = FinishReason.STOP,
    feature: bytes | None = b"\x00\x3c",
    seed: int = 1,
) -> Completion:
    return Completion(
        text=text,
        token_ids=(5, 70_000, 0),
        logprobs=(-0.5, -1.25, 0.0),  # exact in float32, so a round trip compares equal
        finish_reason=finish,
        policy_version=PolicyVersionId(version),
        seed=seed,
        sampling=Sampling(temperature=0.5, top_k=7, top_p=0.75, max_new_tokens=9),
        feature=feature,
        reward_mean=0.5,
        reward_std=None,
    )


@dataclass(frozen=True, slots=True)
class World:
    """One open store in a data folder of its own, and its logs."""

    folder: DataFolder
    store: Store
    log: ConversationLog
    feedback: FeedbackLog
    policies: PolicyRegistry

    @staticmethod
    def open(root: Path) -> "World":
        folder = DataFolder(root)
        store = Store(folder.database)
        return World(
            folder,
            store,
            ConversationLog(store, new_key=teaching_key),
            FeedbackLog(store),
            PolicyRegistry(store, folder.rounds),
        )

    def start(
        self,
        *,
        held_out: bool = False,
        learn: bool = True,
        purpose: Purpose = Purpose.CHAT,
    ) -> Conversation:
        """A conversation that is held out or not, as asked: the key decides."""
        serial = iter(range(10_000))
        taken = {row["key"] for row in self.store.read().table("conversations").rows}
        keys = (f"{number:032d}" for number in serial)
        key = next(key for key in keys if is_held_out(key) == held_out and key not in taken)
        return ConversationLog(self.store, new_key=lambda: key).start(learn=learn, purpose=purpose)

    def prompt(self, *, held_out: bool = False, learn: bool = True, text: str = "hello") -> Turn:
        return self.log.say(self.start(held_out=held_out, learn=learn).id, text)

    def ask(self, turn: Turn | None = None) -> Comparison:
        turn = turn or self.prompt()
        return self.log.ask(turn.id, completion("one"), completion("two"), QUESTION)

    def answer(
        self, comparison: Comparison | None = None, choice: Choice = Choice.FIRST
    ) -> Receipt:
        comparison = comparison or self.ask()
        shown = comparison.second if choice is Choice.SECOND else comparison.first
        return self.feedback.answer(
            comparison.token, choice, decision_ms=900, continue_with=shown.id
        )

    def pick(self) -> PreferenceId:
        """A fresh conversation with one pick."""
        return self.answer().preference_id

    def report(
        self,
        picks: Iterable[int] = (),
        *,
        number: int | None = None,
        parent: int | None = None,
        status: RoundStatus = RoundStatus.ACCEPTED,
    ) -> RoundReport:
        """A round on what serves now, with the next number."""
        picks = tuple(map(PreferenceId, picks))
        return RoundReport(
            number=self.policies.next_round() if number is None else number,
            parent=self.policies.current().id if parent is None else PolicyVersionId(parent),
            status=status,
            preference_ids=picks,
            attempted_through=max(picks, default=PreferenceId(0)),
            update_rule="online_dpo",
            seed=11,
            reason="because",
            metrics={"loss": 0.5},
            seconds=1.5,
        )

    def leave(self, report: RoundReport) -> Path:
        accepted = report.status is RoundStatus.ACCEPTED
        write = write_adapter if accepted else None
        return leave(
            self.folder.rounds,
            report,
            write,
            forgotten=self.policies.forgotten(),
            database=self.policies.database_id(),
        )

    def learn(
        self, picks: Sequence[int], *, status: RoundStatus = RoundStatus.ACCEPTED
    ) -> RoundReport:
        """One round from the folder to the rows."""
        self.leave(self.report(picks, status=status))
        [report] = rounds.collect(self.policies)
        return report


def leave(
    folder: Path,
    report: RoundReport,
    write=None,
    *,
    forgotten: int = 0,
    database: str | None = None,
) -> Path:
    return rounds.leave(
        folder,
        report,
        base_sha256=BASE_SHA256,
        config_json='{"beta": 0.1}',
        forgotten=forgotten,
        database=database,
        write_adapter=write,
    )


def write_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"r": 8}')
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 8)
