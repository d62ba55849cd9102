"""Features of recorded pairs, as the reward ensemble gets them; the slow ones are kept on disk.

A pair enters as the difference of its two replies, chosen minus rejected. Style features cost
microseconds. Hidden states cost a forward pass of the base, so they are cached by the digest of
all texts, of the model's weights, and by layer.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from learner.build import load_engine
from learner.config import EngineConfig
from learner.engine.local import LocalEngine
from learner.errors import PromptTooLongError
from learner.evaluation.pairs import RecordedPair, content_digest
from learner.features import frozen_features
from learner.model_folder import ModelFolder
from learner.protocols import FeatureExtractor
from learner.reward.featured import as_half
from learner.reward.style import style_features

MAX_PROMPT_TOKENS = 768
MAX_REPLY_TOKENS = 384
"""A reply's taste shows in its beginning; the rest of the longest ones would only cost time."""
TOLD_EVERY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PairDifferences:
    """Chosen minus rejected, one row a pair."""

    style: Float[Tensor, "n S"]
    hidden: Float[Tensor, "n H"]
    longer: Float[Tensor, " n"]
    """ln(characters of chosen / characters of rejected)."""

    def rows(self, indices: Sequence[int]) -> "PairDifferences":
        index = torch.tensor(indices, dtype=torch.long)
        return PairDifferences(
            style=self.style[index], hidden=self.hidden[index], longer=self.longer[index]
        )


def pair_differences(
    pairs: Sequence[RecordedPair],
    model: ModelFolder,
    *,
    layer: int | None,
    cache: Path,
    say: Callable[[str], None],
) -> PairDifferences:
    """All features of ``pairs``; ``layer`` None takes the default one.

    ``cache`` is a folder; ``say`` is told how far a long extraction is. Raises ModelError.
    """
    engine = load_engine(model, EngineConfig(max_prompt_tokens=MAX_PROMPT_TOKENS))
    ids = [[_token_ids(engine, text) for text in (p.chosen, p.rejected)] for p in pairs]
    style = [[style_features(p.prompt, text) for text in (p.chosen, p.rejected)] for p in pairs]
    features = frozen_features(engine, layer)
    kept = cache / f"{content_digest(pairs)[:16]}-{model.sha256[:16]}-{features.layer}.safetensors"
    if not kept.is_file():
        _keep(_hidden_states(pairs, ids, features, say), kept)
    hidden = load_file(kept)["hidden"].float()  # (n, 2, H)
    both_styles = torch.tensor(style)  # (n, 2, S)
    return PairDifferences(
        style=both_styles[:, 0] - both_styles[:, 1],
        hidden=hidden[:, 0] - hidden[:, 1],
        longer=torch.tensor([math.log(len(p.chosen) / len(p.rejected)) for p in pairs]),
    )


def _token_ids(engine: LocalEngine, text: str) -> list[int]:
    return engine.backbone.tokenizer(text, add_special_tokens=False)["input_ids"]


def _hidden_states(
    pairs: Sequence[RecordedPair],
    ids: Sequence[Sequence[Sequence[int]]],
    features: FeatureExtractor,
    say: Callable[[str], None],
) -> Float[Tensor, "n 2 H"]:
    """Pooled hidden states of both replies, float16 as the log keeps them."""
    rows: list[Tensor] = []
    for done, (pair, both) in enumerate(zip(pairs, ids, strict=True)):
        if done % TOLD_EVERY == 0:
            say(f"Reading the replies: {done} of {len(pairs)} pairs ...")
        replies = [tokens[:MAX_REPLY_TOKENS] for tokens in both]
        try:
            rows.append(features.extract(pair.prompt, replies))
        except PromptTooLongError:
            # The beginning of the last message says what the replies are about.
            last = pair.prompt[-1]
            short = type(last)(role=last.role, content=last.content[:MAX_PROMPT_TOKENS])
            rows.append(features.extract([short], replies))
    return as_half(torch.stack(rows))


def _keep(hidden: Float[Tensor, "n 2 H"], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    save_file({"hidden": hidden.contiguous()}, unfinished)
    unfinished.rename(path)
