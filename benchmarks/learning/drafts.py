"""The stored candidates as they were after so many tokens: what is known when a pair is chosen.

    python -m benchmarks.learning.drafts [--tokens 64]

Made once from the pools and kept beside them. ``python -m benchmarks.learning.suite --experiment
commit`` reads them.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmarks.learning.pools import PoolPrompt, chunk_path, chunks, pool_prompts
from learner.build import load_engine
from learner.config import AskConfig, EngineConfig
from learner.duplicates import different_pairs
from learner.features import frozen_features
from learner.model_source import resolve_model
from learner.reward.lengths import LengthForecast
from learner.reward.style import STYLE_NAMES, style_features
from storage.records import Completion, FinishReason, PolicyVersionId

TOKENS = AskConfig().commit_after_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafts:
    """All candidates of one prompt, cut."""

    style: Float[Tensor, "N S"]
    hidden: Float[Tensor, "N H"]
    usable: Bool[Tensor, "N N"]
    """Pairs that differ enough already."""


def draft_path(chunk: Path, tokens: int) -> Path:
    return chunk.with_name(f"drafts-{tokens}-{chunk.name}")


def load_drafts(model_sha256: str, count: int, tokens: int = TOKENS) -> list[Drafts]:
    """Of the first ``count`` pools. Raises FileNotFoundError where they are not made yet, and
    ValueError where style has had other features since."""
    found: list[Drafts] = []
    for start, some in chunks(pool_prompts()[:count]):
        with np.load(draft_path(chunk_path(some, start, model_sha256), tokens)) as kept:
            if kept["style_0"].shape[1] != len(STYLE_NAMES):
                raise ValueError("make the drafts anew: python -m benchmarks.learning.drafts")
            found += [
                Drafts(
                    style=torch.from_numpy(kept[f"style_{i}"]),
                    hidden=torch.from_numpy(kept[f"hidden_{i}"].astype(np.float32)),
                    usable=torch.from_numpy(kept[f"usable_{i}"]),
                )
                for i in range(len(some))
            ]
    return found


def forecast_of(rows: Sequence[dict[str, list]]) -> LengthForecast:
    """What a person's own replies would have taught of length: here, the plain samples."""
    forecast = LengthForecast()
    seen = 0
    for row in rows:
        for rung, ids, finished in zip(
            row["rungs"], row["token_ids"], row["finished"], strict=True
        ):
            if rung == "plain":
                seen += 1
                reason = FinishReason.STOP if finished else FinishReason.LENGTH
                forecast.observe(_completion(ids, reason, seed=seen))
    return forecast


def _completion(ids: Sequence[int], reason: FinishReason, seed: int = 0) -> Completion:
    return Completion(
        text="",
        token_ids=tuple(ids),
        logprobs=(0.0,) * len(ids),
        finish_reason=reason,
        policy_version=PolicyVersionId(0),
        sampling=EngineConfig().sampling,
        seed=seed,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--prompts", type=int, default=104)
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    model = resolve_model(progress=print)
    engine = load_engine(model, EngineConfig())
    features = frozen_features(engine)
    read = [
        (chunk_path(some, start, model.sha256), some)
        for start, some in chunks(pool_prompts()[: options.prompts])
    ]
    rows_of = {path: _rows(path) for path, _ in read}
    forecast = forecast_of([row for rows in rows_of.values() for row in rows])
    for path, some in read:
        made = draft_path(path, options.tokens)
        arrays = _read(made)
        if arrays and arrays["style_0"].shape[1] == len(STYLE_NAMES):
            continue
        for i, (row, prompt) in enumerate(zip(rows_of[path], some, strict=True)):
            cut = [ids[: options.tokens] for ids in row["token_ids"]]
            texts = [engine.backbone.tokenizer.decode(ids, skip_special_tokens=True) for ids in cut]
            if f"hidden_{i}" not in arrays:
                hidden = features.extract(prompt.messages, cut).numpy()
                arrays[f"hidden_{i}"] = hidden.astype(np.float16)
            arrays[f"style_{i}"] = _styles(prompt, row, cut, texts, forecast)
            ratio = AskConfig().near_duplicate_ratio
            arrays[f"usable_{i}"] = different_pairs(texts, ratio).numpy()
        np.savez_compressed(made, **arrays)
        print(made.name, flush=True)


def _read(path: Path) -> dict[str, np.ndarray]:
    """What was made before, perhaps with fewer style features than there are now."""
    if not path.is_file():
        return {}
    with np.load(path) as kept:
        return dict(kept)


def _rows(path: Path) -> list[dict[str, list]]:
    with np.load(path) as chunk:
        return json.loads(str(chunk["rows"]))


def _styles(
    prompt: PoolPrompt,
    row: dict[str, list],
    cut: Sequence[Sequence[int]],
    texts: Sequence[str],
    forecast: LengthForecast,
) -> np.ndarray:
    """As the reward head sees a reply that is still being written."""
    styles = []
    for ids, whole, finished, text in zip(
        cut, row["token_ids"], row["finished"], texts, strict=True
    ):
        running = len(ids) < len(whole)
        ended = FinishReason.STOP if finished else FinishReason.LENGTH
        reason = FinishReason.ABORTED if running else ended
        tokens, comes_to_end = forecast.expected(_completion(ids, reason))
        growth = tokens / max(1, len(ids))
        styles.append(style_features(prompt.messages, text, growth=growth, finished=comes_to_end))
    return np.array(styles, dtype=np.float32)


if __name__ == "__main__":
    main()
