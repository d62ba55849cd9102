"""Running the model over replies, a row at a time: what the update rules do between their steps."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from learner.engine.backbone import Backbone
from learner.engine.local import render_beside_reply
from learner.measures import token_logprobs, tree_logps, tree_states
from learner.updates.groves import Grove, Reply, groves
from learner.updates.lesson import Demonstration, Prompt
from learner.updates.rollouts import Rollout


class Passes:
    """Under whatever version the backbone lets speak."""

    def __init__(self, backbone: Backbone, *, row_tokens: int, max_prompt_tokens: int) -> None:
        self._backbone = backbone
        self._row_tokens = row_tokens
        self._max_prompt_tokens = max_prompt_tokens

    def prompt_ids(self, prompt: Prompt, room: int) -> tuple[int, ...]:
        """The prompt as a reply of up to ``room`` tokens is written behind it.

        Raises PromptTooLongError.
        """
        limit = self._max_prompt_tokens
        return render_beside_reply(self._backbone, prompt, room, limit).token_ids

    def rows(self, replies: Sequence[Reply]) -> list[Grove]:
        return groves(replies, self._row_tokens)

    def rows_of(self, rollouts: Sequence[Rollout], chosen: Sequence[int]) -> list[Grove]:
        """Rows of these rollouts; a reply's name is its place in ``rollouts``."""
        return self.rows(
            [
                Reply(name=i, prompt_ids=rollouts[i].prompt_ids, reply_ids=rollouts[i].reply_ids)
                for i in chosen
            ]
        )

    def token_logprobs(self, grove: Grove) -> Float[Tensor, " R"]:
        """Of all reply tokens in the row; gradients flow if enabled."""
        states = tree_states(self._backbone, grove.trees)
        return token_logprobs(states.hidden, self._backbone.lm_head, states.tokens)

    @torch.no_grad()
    def known_logprobs(self, rollouts: Sequence[Rollout]) -> list[Float[Tensor, " T"]]:
        """Log-probabilities of each rollout's tokens, without gradients."""
        found: dict[int, Tensor] = {}
        for grove in self.rows_of(rollouts, range(len(rollouts))):
            lengths = [len(rollouts[i].reply_ids) for i in grove.names]
            parts = self.token_logprobs(grove).split(lengths)
            found.update(zip(grove.names, parts, strict=True))
        return [found[i] for i in range(len(rollouts))]

    def add_nll_gradients(
        self, demonstrations: Sequence[Demonstration], weight: float, *, tokens: int | None = None
    ) -> float:
        """Add ``weight`` times the gradient of the NLL per token; returns that NLL.

        ``tokens`` None: as many as these have; else those of a whole that these are a share of.
        """
        replies = [
            Reply(
                name=i,
                prompt_ids=self.prompt_ids(one.prompt, len(one.reply_ids)),
                reply_ids=one.reply_ids,
            )
            for i, one in enumerate(demonstrations)
        ]
        nll = 0.0
        total = tokens or sum(len(one.reply_ids) for one in replies)
        for grove in self.rows(replies):
            loss = -tree_logps(self._backbone, grove.trees).sum() / total
            (weight * loss).backward()
            nll += float(loss.detach())
        return nll
