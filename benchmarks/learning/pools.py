"""Sample candidate pools once with the real model, and keep them for experiments without weights.

    python -m benchmarks.learning.pools [--prompts 200] [--seconds 200]

Run it again and again: finished chunks are kept, and a run that reaches ``--seconds`` stops after
the chunk it is at. Prompts are the shipped ones and, where ``TWOFOLD_DATA`` (or ../shared/data)
has them, opening messages and harmful requests of the shared data. Nothing here belongs into the
repository: chunks go to the cache folder, texts and token ids included.
"""

import argparse
import gzip
import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from benchmarks.learning.ladder import Rung, rungs_of
from chat_app.simulate.prompts import read_prompts
from learner.build import load_engine
from learner.config import EngineConfig
from learner.engine.local import LocalEngine
from learner.features import frozen_features
from learner.model_source import default_cache, resolve_model
from learner.protocols import FeatureExtractor
from storage.records import Completion, FinishReason, Message, Role

PROMPTS_PER_CHUNK = 4
SEED = 20261122
SHIPPED_FIRST = 80
LONGEST_OPENING = 400
"""Characters; longer openings of the shared data would mostly measure the prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPrompt:
    messages: tuple[Message, ...]
    part: str
    """``train`` prompts are asked about, ``test`` prompts measure."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """All candidates of one prompt."""

    prompt: PoolPrompt
    rungs: tuple[str, ...]
    texts: tuple[str, ...]
    finished: tuple[bool, ...]
    tokens: tuple[int, ...]
    hidden: np.ndarray
    """(N, H) float32: pooled hidden states of the frozen base under the plain prompt."""


def pool_prompts() -> list[PoolPrompt]:
    """In a fixed order that mixes parts and sources; those of the shared data come as one block."""
    examples = Path(str(files("chat_app.examples")))
    shipped = _mixed(
        _shipped(examples / "prompts.jsonl", "train"),
        _shipped(examples / "eval_prompts.jsonl", "test"),
    )
    shared = _mixed(
        _shared("prompts.jsonl.gz", "oasst-lottery", 24),
        _shared("prompts_harmful.jsonl.gz", "advbench", 24),
    )
    return [*shipped[:SHIPPED_FIRST], *shared, *shipped[SHIPPED_FIRST:]]


def _mixed(*groups: list[PoolPrompt]) -> list[PoolPrompt]:
    """Each group spread evenly over the whole."""
    placed = [
        ((i + 0.5) / len(group), g, prompt)
        for g, group in enumerate(groups)
        for i, prompt in enumerate(group)
    ]
    return [prompt for _, _, prompt in sorted(placed, key=lambda p: p[:2])]


def _shipped(path: Path, part: str) -> list[PoolPrompt]:
    return [PoolPrompt(messages=m, part=part, source="shipped") for m in read_prompts(path)]


def _shared(name: str, only_set: str, count: int) -> list[PoolPrompt]:
    """A fixed selection of shared prompts, two in three to train; none where they are absent."""
    root = Path(__file__).parents[2].parent
    path = Path(os.environ.get("TWOFOLD_DATA", root / "shared" / "data")) / name
    if not path.is_file():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    texts = [r["prompt"] for r in rows if r["set"] == only_set]
    texts = [text for text in texts if len(text) <= LONGEST_OPENING]
    texts.sort(key=lambda text: hashlib.sha256(text.encode()).digest())
    return [
        PoolPrompt(
            messages=(Message(role=Role.USER, content=text),),
            part="test" if i % 3 == 2 else "train",
            source=only_set,
        )
        for i, text in enumerate(texts[:count])
    ]


def pool_folder() -> Path:
    return default_cache() / "pools"


def chunk_path(prompts: Sequence[PoolPrompt], start: int, model_sha256: str) -> Path:
    """Named by what it follows from: model, seed, prompts and their rungs."""
    config = EngineConfig()
    said = [
        [*(f"{m.role}:{m.content}" for m in prompt.messages), prompt.part]
        + [str(rung) for rung in rungs_of(n, config.sampling)]
        for n, prompt in enumerate(prompts, start)
    ]
    key = json.dumps([model_sha256, SEED, str(config.sampling), said])
    return pool_folder() / f"{start:05}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"


def sample_chunk(
    engine: LocalEngine, features: FeatureExtractor, prompts: Sequence[PoolPrompt], start: int
) -> list[tuple[list[Rung], list[Completion], np.ndarray]]:
    """Candidates of each prompt in the order of its rungs, with hidden states (N, H)."""
    base = EngineConfig().sampling
    rungs = [rungs_of(start + i, base) for i in range(len(prompts))]
    replies: list[list[Completion | None]] = [[None] * len(r) for r in rungs]
    # One batch for each temperature: sampling parameters belong to the batch, prompts may differ.
    for temperature in sorted({r.temperature for row in rungs for r in row}):
        places = [
            (p, i)
            for p, row in enumerate(rungs)
            for i, r in enumerate(row)
            if r.temperature == temperature
        ]
        seeds = [SEED + 1000 * (start + p) + i for p, i in places]
        said = [rungs[p][i].prompt(prompts[p].messages) for p, i in places]
        sampling = rungs[places[0][0]][places[0][1]].sampling(base)
        batch = engine.start_many(said, 1, sampling, seeds)
        while batch.running:
            batch.step()
        for (p, i), completion in zip(places, batch.completions(), strict=True):
            replies[p][i] = completion
    sampled = []
    for p, prompt in enumerate(prompts):
        complete = [c for c in replies[p] if c is not None]
        hidden = features.extract(prompt.messages, [c.token_ids for c in complete])
        sampled.append((rungs[p], complete, hidden.numpy()))
    return sampled


def write_chunk(path: Path, sampled: list[tuple[list[Rung], list[Completion], np.ndarray]]) -> None:
    rows = [
        {
            "rungs": [r.name for r in rungs],
            "texts": [c.text for c in completions],
            "finished": [c.finish_reason is FinishReason.STOP for c in completions],
            "token_ids": [list(c.token_ids) for c in completions],
            "logprobs": [[round(x, 4) for x in c.logprobs] for c in completions],
        }
        for rungs, completions, _ in sampled
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished.npz")
    hidden = {f"hidden_{i}": h.astype(np.float16) for i, (_, _, h) in enumerate(sampled)}
    np.savez_compressed(unfinished, rows=np.array(json.dumps(rows)), **hidden)
    unfinished.rename(path)


def read_chunk(path: Path, prompts: Sequence[PoolPrompt]) -> list[Pool]:
    with np.load(path) as chunk:
        rows = json.loads(str(chunk["rows"]))
        hidden = [chunk[f"hidden_{i}"].astype(np.float32) for i in range(len(rows))]
    return [
        Pool(
            prompt=prompt,
            rungs=tuple(row["rungs"]),
            texts=tuple(row["texts"]),
            finished=tuple(row["finished"]),
            tokens=tuple(len(ids) for ids in row["token_ids"]),
            hidden=h,
        )
        for prompt, row, h in zip(prompts, rows, hidden, strict=True)
    ]


def chunks(prompts: Sequence[PoolPrompt]) -> list[tuple[int, Sequence[PoolPrompt]]]:
    return [
        (start, prompts[start : start + PROMPTS_PER_CHUNK])
        for start in range(0, len(prompts), PROMPTS_PER_CHUNK)
    ]


def load_pools(model_sha256: str) -> list[Pool]:
    """All pools sampled so far, in the fixed order."""
    pools: list[Pool] = []
    for start, some in chunks(pool_prompts()):
        path = chunk_path(some, start, model_sha256)
        if path.is_file():
            pools += read_chunk(path, some)
    return pools


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    began = time.perf_counter()
    model = resolve_model(progress=print)
    engine = load_engine(model, EngineConfig())
    features = frozen_features(engine)
    wanted = chunks(pool_prompts()[: options.prompts])
    missing = [
        (path, start, some)
        for start, some in wanted
        if not (path := chunk_path(some, start, model.sha256)).is_file()
    ]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} chunks are there")
    for done, (path, start, some) in enumerate(missing, 1):
        at = time.perf_counter()
        write_chunk(path, sample_chunk(engine, features, some, start))
        took = time.perf_counter() - at
        left = took * (len(missing) - done)
        print(
            f"chunk {start // PROMPTS_PER_CHUNK}: {took:.1f} s, {left / 60:.0f} min left",
            flush=True,
        )
        if time.perf_counter() - began + took > options.seconds:
            break


if __name__ == "__main__":
    main()
