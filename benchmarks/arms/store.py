"""R8: an event written to disk, one or a hundred to a commit: our log, and SQLite without it.

An event is one completion with its text, tokens, log-probabilities and feature: 2 KB of BLOBs. The
plain arms write the same bytes with the same settings, ``synchronous = FULL`` included: ``wide``
into one table of twelve columns without index, rule or reference, ``same`` into our three tables
with nothing else around the statements, so that the difference is our Python and our digests.
"""

import hashlib
import json
import tempfile
import time
from abc import ABC, abstractmethod
from array import array
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.row import ROOT
from storage.conversations import ConversationLog, ConversationReader
from storage.database import Reader, Store
from storage.records import BASE_VERSION, Completion, FinishReason, Sampling
from storage.sqlite import open_writer

TOKENS, FEATURE_BYTES = 110, 1152
SAMPLING = Sampling()
WIDE = """
    CREATE TABLE events (event_id INTEGER PRIMARY KEY, turn INTEGER, version INTEGER, seed INTEGER,
      params_json TEXT, body TEXT, digest BLOB, finish TEXT, reward_mean REAL, reward_std REAL,
      created_ms INTEGER, content BLOB)
"""


def completion(number: int) -> Completion:
    return Completion(
        text=f"Reply {number} " + "with some words to it, as replies have. " * 10,
        token_ids=tuple(range(number % 1000, number % 1000 + TOKENS)),
        logprobs=(-1.25,) * TOKENS,
        finish_reason=FinishReason.STOP,
        policy_version=BASE_VERSION,
        seed=number,
        sampling=SAMPLING,
        feature=bytes(FEATURE_BYTES),
        reward_mean=0.5,
        reward_std=0.25,
    )


class Inserts(ABC):
    """Rows a second and the slowest hundredth commit, for both sizes of commit."""

    def __init__(self, singles: int = 200, hundreds: int = 20) -> None:
        self._plan = ((1, singles), (100, hundreds))
        # Beside the repository's own files: /tmp may be memory, and memory syncs at no cost.
        (ROOT / ".bench").mkdir(exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(dir=ROOT / ".bench")
        self.path = Path(self._folder.name) / "log.db"
        self._number = 0
        self.open()

    @abstractmethod
    def open(self) -> None:
        """Make the log at ``path``, ready to be written."""

    @abstractmethod
    def write(self, completions: list[Completion]) -> None:
        """Write them in one commit."""

    def round(self, number: int) -> dict[str, float]:  # noqa: ARG002
        metrics: dict[str, float] = {}
        for size, commits in self._plan:
            batches = []
            for _ in range(commits):
                batches.append([completion(self._number + i) for i in range(size)])
                self._number += size
            times = []
            for batch in batches:
                began = time.perf_counter()
                self.write(batch)
                times.append(time.perf_counter() - began)
            metrics[f"rows_s_{size}"] = size * commits / sum(times)
            metrics[f"p50_ms_{size}"] = 1000 * sorted(times)[len(times) // 2]
            metrics[f"p99_ms_{size}"] = 1000 * sorted(times)[int(len(times) * 0.99)]
        return metrics

    def close(self) -> None:
        self._folder.cleanup()


class Ours(Inserts):
    def open(self) -> None:
        store = Store(self.path)
        self._log = ConversationLog(store)
        self._turn = self._log.say(self._log.start().id, "hello").id

    def write(self, completions: list[Completion]) -> None:
        self._log.add_candidates(self._turn, completions)


class PlainWide(Inserts):
    """One prepared statement, one table."""

    synchronous = "FULL"

    def open(self) -> None:
        self.db = open_writer(self.path)
        self.conn = self.db.conn
        self.conn.execute(f"PRAGMA synchronous = {self.synchronous}")
        self.conn.execute(WIDE)

    def write(self, completions: list[Completion]) -> None:
        self.conn.execute("BEGIN IMMEDIATE")
        self.conn.executemany(
            "INSERT INTO events VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [wide_row(one) for one in completions],
        )
        self.conn.execute("COMMIT")


class PlainWideNormal(PlainWide):
    """The same without waiting for the disk at each commit: may lose the last ones."""

    synchronous = "NORMAL"


class PlainSame(Inserts):
    """Our tables with their indexes, references and rules; three bare statements."""

    def open(self) -> None:
        store = Store(self.path)
        log = ConversationLog(store)
        self._turn = log.say(log.start().id, "hello").id
        store.close()
        self.conn = open_writer(self.path).conn
        self._id = 1

    def write(self, completions: list[Completion]) -> None:
        first = self._id + 1
        self._id += len(completions)
        rows = [(first + place, *wide_row(one)) for place, one in enumerate(completions)]
        self.conn.execute("BEGIN IMMEDIATE")
        self.conn.executemany(
            "INSERT INTO texts (text_id, owner_id, body, digest) VALUES (?, 'local-person', ?, ?)",
            [(row[0], row[5], row[6]) for row in rows],
        )
        self.conn.executemany(
            """
            INSERT INTO candidates (candidate_id, prompt_turn_id, version, seed, params_json,
                                    text_id, finish, reward_mean, reward_std, created_ms)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [(row[0], self._turn, *row[2:5], row[0], *row[7:11]) for row in rows],
        )
        self.conn.executemany(
            "INSERT INTO candidate_cache VALUES (?, ?, ?, ?)",
            [(row[0], row[11][:440], row[11][440:880], row[11][880:]) for row in rows],
        )
        self.conn.execute("COMMIT")


class SqliteUtils(PlainWide):
    """Its ``insert`` for one, its ``insert_all`` for a hundred."""

    def open(self) -> None:
        super().open()
        self.conn.isolation_level = ""  # as the library opens it: its own transactions
        self._table = self.db.table("events", pk="event_id")

    def write(self, completions: list[Completion]) -> None:
        names = [
            "turn", "version", "seed", "params_json", "body", "digest", "finish",
            "reward_mean", "reward_std", "created_ms", "content",
        ]  # fmt: skip
        rows = [dict(zip(names, wide_row(one), strict=True)) for one in completions]
        with self.conn:
            if len(rows) == 1:
                self._table.insert(rows[0])
            else:
                self._table.insert_all(rows)


def wide_row(one: Completion) -> tuple[Any, ...]:
    content = array("i", one.token_ids).tobytes() + array("f", one.logprobs).tobytes()
    return (
        1, one.policy_version, one.seed, _PARAMS, one.text,
        hashlib.sha256(bytes(16) + one.text.encode()).digest(), str(one.finish_reason),
        one.reward_mean, one.reward_std, int(time.time() * 1000), content + one.feature,
    )  # fmt: skip


_PARAMS = json.dumps(asdict(SAMPLING))


class Pages:
    """Seconds of what the pages ask of a large log, each on a connection that is open already."""

    def __init__(self, folder: str, candidates: int) -> None:
        from benchmarks.large_log import make_large_log  # noqa: PLC0415
        from chat_app.config import ServiceConfig  # noqa: PLC0415
        from storage.feedback import FeedbackReader  # noqa: PLC0415
        from storage.policies import PolicyReader  # noqa: PLC0415

        data = make_large_log(Path(folder), candidates)
        self._store = Reader(data.database)
        self._feedback = FeedbackReader(self._store)
        self._policies = PolicyReader(self._store, data.rounds)
        self._conversations = ConversationReader(self._store)
        self._config = ServiceConfig(model_name="none")

    def round(self, number: int) -> dict[str, float]:  # noqa: ARG002
        from chat_app.learning_charts import charts_html  # noqa: PLC0415
        from chat_app.learning_service import LearningService  # noqa: PLC0415
        from chat_app.report import status_now  # noqa: PLC0415
        from chat_app.ui_learning import lessons_html  # noqa: PLC0415
        from storage.duels import DuelReader  # noqa: PLC0415
        from storage.pick_list import PickFilter, PickReader  # noqa: PLC0415
        from storage.records import AskReason, Choice, PolicyVersionId  # noqa: PLC0415
        from storage.trends import TrendReader  # noqa: PLC0415

        picks = PickReader(self._store)
        newest = picks.page(PickFilter(), limit=1)[0]
        word = newest.prompt.split()[0]
        filters = {
            "all": PickFilter(),
            "choice": PickFilter(choices=frozenset({Choice.BOTH_BAD})),
            "version": PickFilter(version=PolicyVersionId(1)),
            "held_out": PickFilter(held_out=True),
            "unused": PickFilter(counts=False),
            "reason_none": PickFilter(reason=AskReason.RANDOM),
            "words": PickFilter(words=word),
            "words_and_choice": PickFilter(words=word, choices=frozenset({Choice.TIE})),
            "since": PickFilter(since=newest.asked_at),
        }
        metrics: dict[str, float] = {}
        service = LearningService(
            trends=TrendReader(self._store),
            duels=DuelReader(self._store),
            policies=self._policies,
            taste=dict,
            control=None,
        )

        def timed(name: str, work) -> Any:  # noqa: ANN001, ANN401
            began = time.perf_counter()
            result = work()
            metrics[f"{name}_s"] = time.perf_counter() - began
            return result

        timed("status", lambda: status_now(self._feedback, self._policies, self._config, None))

        def learning() -> None:
            figures = service.figures()
            charts_html(figures)
            lessons_html(figures.lessons)

        timed("learning", learning)
        metrics["learning_page_s"] = metrics["status_s"] + metrics["learning_s"]
        for name, only in filters.items():
            timed(f"data_{name}", lambda only=only: (picks.page(only, limit=50), picks.count(only)))
        timed("data_versions", picks.versions)
        timed("data_detail", lambda: picks.detail(newest.id))
        timed("chats", lambda: self._conversations.list(limit=50))
        timed("unlearned", self._feedback.unlearned)
        pages = [value for name, value in metrics.items() if name.startswith("data_")]
        metrics["data_slowest_s"] = max(pages)
        return metrics
