"""A log as years of use would leave it: a million candidates, 200,000 picks, thousands of rounds.

    python -m benchmarks.large_log FOLDER [--candidates 1000000]

Written through the real schema with all its triggers and the real hash chain, so that everything
that reads a data folder reads this one; only durability is switched off while it is made. Four
candidates to a message, ten messages to a conversation, a question about eight of the ten.
"""

import argparse
import random
import time
from array import array
from pathlib import Path
from typing import Any

from storage import chain
from storage.conversation_rows import is_held_out
from storage.database import Store
from storage.folder import DataFolder
from storage.inserts import text_digest
from storage.records import LOCAL_USER
from storage.sqlite import open_writer

MESSAGES, QUESTIONS, CANDIDATES = 10, 8, 4
PICKS_A_ROUND = 8
TOKENS, FEATURE_BYTES = 96, 1152
CHOICES = ("first", "second", "tie", "both_bad", "skip")
SHARES = (45, 40, 10, 3, 2)
PARAMS = '{"temperature": 0.8, "top_k": 50, "top_p": 0.95, "max_new_tokens": 128}'
START_MS = 1_700_000_000_000
BATCH = 1000
"""Conversations to a transaction."""
TABLES = {
    "conversations": "conversation_id, key, user_id, title, learn, held_out, created_ms",
    "texts": "text_id, owner_id, body, digest",
    "turns": "turn_id, conversation_id, parent_id, role, text_id, candidate_id, state, created_ms",
    "candidates": (
        "candidate_id, prompt_turn_id, version, seed, params_json, text_id, finish, reward_mean, "
        "reward_std, created_ms"
    ),
    "candidate_cache": "candidate_id, token_ids, token_logp, feature",
    "comparisons": (
        "comparison_id, token, user_id, first_id, second_id, reason, propensity, disagreement, "
        "first_better_prob, created_ms"
    ),
    "round_items": "number, seq",
    "rounds": (
        "number, parent, status, attempted_through, update_rule, seed, reason, metrics_json, "
        "config_json, seconds, manifest_sha256, created_ms"
    ),
    "policy_versions": "version, parent, manifest_sha256, base_sha256, created_ms",
    "version_states": "version, state, reason, created_ms",
}


class Maker:
    def __init__(self, path: Path, seed: int = 0) -> None:
        Store(path).close()  # creates the schema, and the rows without which nothing works
        self._db = open_writer(path)
        self._conn = self._db.conn
        for setting in ("journal_mode = MEMORY", "synchronous = OFF", "cache_size = -4000000"):
            self._conn.execute(f"PRAGMA {setting}")
        self._rng = random.Random(seed)  # noqa: S311 - filler
        words = [
            "".join(self._rng.choices("abcdefghijklmnopqrstuvwxyz", k=self._rng.randint(2, 9)))
            for _ in range(4000)
        ]
        self._sentences = [
            " ".join(self._rng.choices(words, k=self._rng.randint(6, 16))).capitalize() + "."
            for _ in range(4000)
        ]
        self._salt = self._conn.execute("SELECT salt FROM users").fetchone()[0]
        self._ids = dict.fromkeys(("text", "turn", "candidate", "comparison", "seq", "round"), 0)
        self._now_ms, self._version, self._hash = START_MS, 0, chain.GENESIS
        self._open_picks: list[int] = []
        self._rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in TABLES}
        tokens = array("i", self._rng.choices(range(49152), k=TOKENS)).tobytes()
        logp = array("f", [-1.0] * TOKENS).tobytes()
        self._cache = (tokens, logp, self._rng.randbytes(FEATURE_BYTES))

    def make(self, candidates: int) -> None:
        conversations = max(1, candidates // (MESSAGES * CANDIDATES))
        for first in range(0, conversations, BATCH):
            self._conn.execute("BEGIN IMMEDIATE")
            answers = []
            for number in range(first, min(first + BATCH, conversations)):
                answers += self._conversation(number + 1)
            self._flush("conversations", "texts")
            self._turns_and_candidates()
            self._flush("candidate_cache", "comparisons")
            self._answer(answers)
            self._conn.execute("COMMIT")
        self._conn.execute("BEGIN IMMEDIATE")
        self._conn.execute(
            "UPDATE active_pointer SET version = ?, epoch = epoch + 1", [self._version]
        )
        self._conn.execute("COMMIT")

    def close(self) -> None:
        self._conn.execute("ANALYZE")
        self._db.close()

    # --- Private -----------------------------------------------------------------------------

    def _next(self, name: str) -> int:
        self._ids[name] += 1
        return self._ids[name]

    def _text(self, sentences: int) -> int:
        body = " ".join(self._rng.choices(self._sentences, k=sentences))
        text_id = self._next("text")
        self._rows["texts"].append((text_id, LOCAL_USER, body, text_digest(self._salt, body)))
        return text_id

    def _conversation(self, number: int) -> list[tuple[int, bool]]:
        """Queue a conversation's rows; returns its comparisons and whether they may train."""
        key = f"{number:043d}"
        held_out = is_held_out(key)
        self._now_ms += 60_000
        self._rows["conversations"].append(
            (number, key, LOCAL_USER, f"Conversation {number}", 1, held_out, self._now_ms)
        )
        parent, asked = None, []
        for message in range(MESSAGES):
            self._now_ms += 20_000
            prompt = self._next("turn")
            self._rows["turns"].append(
                (prompt, number, parent, "user", self._text(1), None, "final", self._now_ms)
            )
            candidates = []
            for _ in range(CANDIDATES):
                candidate, text = self._next("candidate"), self._text(3)
                candidates.append((candidate, text))
                self._rows["candidates"].append(
                    (candidate, prompt, self._version, candidate, PARAMS, text, "stop",
                     self._rng.gauss(0, 1), 0.5, self._now_ms)
                )  # fmt: skip
                self._rows["candidate_cache"].append((candidate, *self._cache))
            if message < QUESTIONS:
                comparison = self._next("comparison")
                self._rows["comparisons"].append(
                    (comparison, f"{comparison:043d}", LOCAL_USER, candidates[0][0],
                     candidates[1][0], "uncertain", 0.3, 0.2, self._rng.random(), self._now_ms)
                )  # fmt: skip
                asked.append((comparison, not held_out))
            parent = self._next("turn")
            shown, text = candidates[0]
            self._rows["turns"].append(
                (parent, number, prompt, "assistant", text, shown, "final", self._now_ms)
            )
        return asked

    def _turns_and_candidates(self) -> None:
        """A reply's turn needs its candidate, which needs the turn of its prompt."""
        replies = [row for row in self._rows["turns"] if row[3] == "assistant"]
        prompts = [row for row in self._rows["turns"] if row[3] == "user"]
        # Parents first: a prompt's parent is a reply, so foreign keys are looked at in the end.
        self._conn.execute("PRAGMA defer_foreign_keys = 1")
        waiting, by_prompt = iter(self._rows["candidates"]), {}
        for row in waiting:
            by_prompt.setdefault(row[1], []).append(row)
        answers = {row[2]: row for row in replies}
        for prompt in prompts:
            self._insert("turns", [prompt])
            self._insert("candidates", by_prompt[prompt[0]])
            self._insert("turns", [answers[prompt[0]]])
        self._conn.executemany(
            "UPDATE conversations SET head_turn_id = ? WHERE conversation_id = ?",
            [(row[0], row[1]) for row in replies[MESSAGES - 1 :: MESSAGES]],
        )
        self._rows["turns"], self._rows["candidates"] = [], []

    def _answer(self, answers: list[tuple[int, bool]]) -> None:
        for comparison, trains in answers:
            seq = self._next("seq")
            row: dict[str, Any] = {
                "idem_key": f"{comparison:043d}:0",
                "comparison_id": comparison,
                "user_id": LOCAL_USER,
                "choice": self._rng.choices(CHOICES, SHARES)[0],
                "supersedes": None,
                "decide_ms": self._rng.randint(900, 20_000),
                "created_ms": self._now_ms,
                "prev_hash": self._hash,
            }
            self._hash = chain.row_hash(self._db, row)
            self._conn.execute(
                """
                INSERT INTO preferences (idem_key, comparison_id, user_id, choice, supersedes,
                                         decide_ms, created_ms, prev_hash, row_hash)
                VALUES (:idem_key, :comparison_id, :user_id, :choice, :supersedes, :decide_ms,
                        :created_ms, :prev_hash, :row_hash)
                """,
                row | {"row_hash": self._hash},
            )
            if trains and row["choice"] in ("first", "second"):
                self._open_picks.append(seq)
            if len(self._open_picks) >= PICKS_A_ROUND:
                self._round(seq)
        self._flush("rounds", "policy_versions", "version_states")

    def _round(self, seq: int) -> None:
        number = self._next("round")
        accepted = self._rng.random() < 0.9
        metrics = f'{{"kl_per_token": {self._rng.random() / 5}, "mean_length_tokens": 90.0}}'
        manifest = f"{number:064d}"
        row = (number, self._version, "accepted" if accepted else "refused", seq, "online_dpo", 0,
               "held", metrics, "{}", 9.5, manifest, self._now_ms)  # fmt: skip
        self._insert("rounds", [row])
        self._insert("round_items", [(number, one) for one in self._open_picks])
        if accepted:
            version = (number, self._version, manifest, "b" * 64, self._now_ms)
            self._insert("policy_versions", [version])
            self._insert(
                "version_states",
                [
                    (number, state, "held", self._now_ms)
                    for state in ("written", "verified", "ready", "active")
                ],
            )
            self._version = number
            self._open_picks = []

    def _flush(self, *tables: str) -> None:
        for table in tables:
            self._insert(table, self._rows[table])
            self._rows[table] = []

    def _insert(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        columns = TABLES[table]
        marks = ", ".join("?" * len(columns.split(",")))
        self._conn.executemany(
            f"INSERT INTO {table} ({columns}) VALUES ({marks})",  # noqa: S608 - literals
            rows,
        )


def make_large_log(root: Path, candidates: int) -> DataFolder:
    """The folder with such a log; kept as it is where it is there already."""
    folder = DataFolder(root)
    done = root / f"made-{candidates}"
    if done.exists():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    for left in root.glob("twofold.db*"):
        left.unlink()
    maker = Maker(folder.database)
    maker.make(candidates)
    maker.close()
    done.touch()
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--candidates", type=int, default=1_000_000)
    options = parser.parse_args()
    began = time.perf_counter()
    folder = make_large_log(options.folder, options.candidates)
    size = folder.database.stat().st_size / 2**20
    print(f"{folder.database}: {size:.0f} MB in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
