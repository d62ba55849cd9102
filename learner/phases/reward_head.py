"""The reward model of laptops: heads on frozen features, refitted to all that was read."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from learner.config import RewardConfig
from learner.features import frozen_features
from learner.phases.place import Place
from learner.reward.criteria_head import CriteriaHead, Differences, HeadFit, save_differences
from learner.reward.featured import as_half
from learner.reward.ranked import RankedReplies
from learner.reward.style import STYLE_NAMES, style_features
from learner.reward.taste import taste_without_sets
from storage.slates import Criterion, ranked_pairs


class HeadTrainee:
    """Reads replies; each measurement refits the heads to all that was read."""

    def __init__(
        self,
        place: Place,
        criteria: Sequence[Criterion],
        config: RewardConfig,
        *,
        max_reply_tokens: int,
        seed: int,
        without: Sequence[str] = (),
    ) -> None:
        """``without``: sets whose shipped directions are left out, since they are trained on."""
        base = place.model.sha256
        self._fit = HeadFit(base_sha256=base, config=config, seed=seed, without=tuple(without))
        self._tokenizer = place.engine.backbone.tokenizer
        self._width = place.engine.backbone.lm_head.in_features
        self._features = frozen_features(place.engine)
        self._max_reply_tokens = max_reply_tokens
        taste = taste_without_sets(base, without)
        self._head = CriteriaHead(criteria, config, seed=seed, taste=taste)
        self._learned: dict[int, RankedReplies] = {}
        """By object: two people who judge the same replies are two answers, while the last batch,
        which goes round to the first items, has those very objects again."""
        self._seen: dict[str, tuple[Tensor, Tensor]] = {}
        """Features by prompt and texts, whoever judged them and however."""

    def step(self, number: int, items: Sequence[RankedReplies]) -> dict[str, float]:  # noqa: ARG002
        for item in items:
            self._of(item)
            self._learned.setdefault(id(item), item)
        return {"answers": float(len(self._learned))}

    def ready(self) -> None:
        self._head.fit(*self._rows())

    def rewards(self, item: RankedReplies) -> Float[Tensor, "E C N"]:
        return self._head.rewards(*self._of(item))

    def flip_rate(self, criterion: Criterion) -> float:
        return self._head.flip_rate(criterion)

    def tensors(self) -> dict[str, Tensor]:
        kept: dict[str, Tensor] = {}
        for name in self._names():
            style, hidden = self._seen[name]
            kept |= {f"style.{name}": style, f"hidden.{name}": hidden.half()}
        return kept

    def values(self) -> dict[str, Any]:
        return {}

    def restore(
        self,
        tensors: Mapping[str, Tensor],
        values: Mapping[str, Any],  # noqa: ARG002
        learned: Sequence[RankedReplies],
    ) -> None:
        self._learned = {id(item): item for item in learned}
        for name in self._names():
            self._seen[name] = (tensors[f"style.{name}"], tensors[f"hidden.{name}"].float())

    def save(self, folder: Path) -> None:
        save_differences(folder, *self._rows(), self._fit)

    def close(self) -> None:
        self._seen.clear()

    def _rows(self) -> tuple[dict[Criterion, Differences], tuple[Tensor, Tensor]]:
        """Differences of all that was learned, by criterion, and the mean reply."""
        if not self._learned:
            return {}, (torch.zeros(len(STYLE_NAMES)), torch.zeros(self._width))
        parts: dict[Criterion, list[tuple[Tensor, Tensor, float, bool]]] = {}
        for item in self._learned.values():
            style, hidden = self._seen[_name(item)]
            for criterion, ranks in item.ranks.items():
                pairs = ranked_pairs(ranks)
                parts.setdefault(criterion, []).extend(
                    (
                        style[pair.better] - style[pair.worse],
                        hidden[pair.better] - hidden[pair.worse],
                        item.weight / len(pairs),
                        pair.tied,
                    )
                    for pair in pairs
                )
        names = self._names()
        usual = [torch.cat([self._seen[n][i] for n in names]).mean(dim=0) for i in (0, 1)]
        rows = {
            criterion: Differences(
                style=torch.stack([one[0] for one in some]),
                hidden=torch.stack([one[1] for one in some]),
                weight=torch.tensor([one[2] for one in some]),
                tie=torch.tensor([one[3] for one in some]),
            )
            for criterion, some in parts.items()
        }
        return rows, (usual[0], usual[1])

    def _names(self) -> list[str]:
        """Of the replies that were learned, each once."""
        return list(dict.fromkeys(map(_name, self._learned.values())))

    def _of(self, item: RankedReplies) -> tuple[Float[Tensor, "N S"], Float[Tensor, "N H"]]:
        """Features of its replies; rounded as the log keeps them, and read once."""
        name = _name(item)
        if name not in self._seen:
            ids = [
                self._tokenizer(text, add_special_tokens=False)["input_ids"] for text in item.texts
            ]
            cut = [tokens[: self._max_reply_tokens] for tokens in ids]
            hidden = as_half(self._features.extract(item.prompt, cut)).float()
            style = torch.tensor([style_features(item.prompt, text) for text in item.texts])
            self._seen[name] = (style, hidden)
        return self._seen[name]


def _name(item: RankedReplies) -> str:
    return hashlib.sha256(repr((item.prompt, item.texts)).encode()).hexdigest()[:24]
