"""How often texts loop: people's, and what a simulated run stored.

    python -m benchmarks.learning.loops [RUN/data ...]

Prints the table of docs/LOG.md: the share of texts whose repetition (seq-rep-2 of arXiv 1908.04319,
over the built-in model's tokens) is above a limit, within their first tokens. People's texts are
those of the shared data (``TWOFOLD_DATA``). Of a run since candidates that loop are dropped unseen
(decision 0023), few are stored that do.
"""

import argparse
import gzip
import json
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from learner.build import load_engine
from learner.config import EngineConfig
from learner.measures import repetition
from learner.model_source import resolve_model
from learner.presentable import LOOP_TOKENS
from storage.database import Reader
from storage.feedback import FeedbackReader
from storage.folder import DataFolder

LIMITS = (0.4, 0.5, 0.6, 0.7, 0.8)
WITHIN = (32, 128)
"""Tokens from the beginning."""
MOST = {"sft": 6000, "pairs_human": 8000, "pairs_ai": 6000}
"""Texts of each file, the first so many."""
VERSIONS = (0, 3, 40, 72, 1 << 30)
"""A run's candidates are told apart by the version that wrote them, between these."""


def people() -> dict[str, list[str]]:
    """Responses and both replies of pairs. Raises SystemExit where the shared data are not."""
    root = Path(__file__).parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("TWOFOLD_DATA", root))
    found: dict[str, list[str]] = {}
    for name, most in MOST.items():
        path = folder / f"{name}.jsonl.gz"
        if not path.is_file():
            raise SystemExit(f"{path} is not there: point TWOFOLD_DATA at the shared data.")
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        keys = ("response",) if name == "sft" else ("chosen", "rejected")
        found[name] = [row[key] for row in rows for key in keys][:most]
    return found


def row(name: str, texts: Sequence[Sequence[int]]) -> str:
    """Percent above each limit, of those long enough to loop."""
    long = [ids for ids in texts if len(ids) >= LOOP_TOKENS]
    cells = []
    for tokens in WITHIN:
        found = np.array([repetition(ids[:tokens]) for ids in long])
        cells.append(" / ".join(f"{100 * (found > limit).mean():.2f}" for limit in LIMITS))
    return f"| {name} | {len(long):,} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", type=Path, help="data folders of simulated runs")
    options = parser.parse_args()
    print("| texts | number | " + " | ".join(f"first {n} tokens" for n in WITHIN) + " |")
    print("|---|---|" + "---|" * len(WITHIN))
    tokenizer = load_engine(resolve_model(), EngineConfig()).backbone.tokenizer
    for name, texts in people().items():
        print(row(name, tokenizer(texts)["input_ids"]))
    for run in options.runs:
        pools = FeedbackReader(Reader(DataFolder(run).database)).pools(limit=1 << 30, with_cut=True)
        completions = [c.completion for pool in pools for c in pool.candidates]
        for low, high in pairwise(VERSIONS):
            ids = [c.token_ids for c in completions if low <= c.policy_version < high]
            if ids:
                print(row(f"{run}, versions {low} on", ids))


if __name__ == "__main__":
    main()
