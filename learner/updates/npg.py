"""Nudged pairwise policy gradient: arXiv 2603.17378 with the guards of PPO.

For a pair (Y, Y') with p = P(Y better than Y') and the ensemble's spread s, each reply has, in both
orders, the advantage ``A = sign(p - 1/2) max(0, |p - 1/2| - doubt s) + nudge``. The loss is

    - mean min(rho A, clip(rho, 1 - low, 1 + high) A)          per reply, mean over its tokens
    + anchor_kl KL(anchor || policy) + reference_kl KL(policy || reference)
    + demonstration_weight NLL(what people wrote)

The anchor is a slow average of the policy and travels with the adapter. rho is against the
probabilities stored when the reply was sampled; what was not stored then (the end-of-sequence
token, a reply sampled under a hidden style) is taken as it is now. Departures from the paper: the
ratio and its clipping, the doubt, the pull to the reference, whose strength is steered, and mean
instead of sum over tokens.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from learner.advantages import doubted
from learner.engine.backbone import Backbone
from learner.losses import clipped_policy_loss
from learner.measures import (
    ReplyStates,
    supervised_ids,
    token_kl,
    token_logprobs,
    tree_states,
)
from learner.update_config import NpgConfig
from learner.updates.groves import Grove, Reply
from learner.updates.kl_control import steered
from learner.updates.lesson import Lesson
from learner.updates.pairs import TrainingPair, prompt_rooms
from learner.updates.passes import Passes
from learner.updates.tuning import AdapterTuning
from storage.records import Candidate, CandidateId, PolicyVersion

ANCHOR_FILE = "npg_anchor.safetensors"


@dataclass(slots=True)
class _Learned:
    """A reply, and the advantages it has in the pairs it stands in."""

    reply: Reply
    old_logprobs: Float[Tensor, " T"]
    """As sampled; NaN where nothing was stored."""
    advantages: list[float]


class Npg:
    """The update rule; leaves the new adapter in training on the backbone for gate and ``save``."""

    name = "npg"

    def __init__(self, backbone: Backbone, config: NpgConfig, *, max_prompt_tokens: int) -> None:
        self._backbone = backbone
        self._config = config
        self._tuning = AdapterTuning(backbone, config, optimizer_file="npg_optimizer.safetensors")
        self._passes = Passes(
            backbone, row_tokens=config.row_tokens, max_prompt_tokens=max_prompt_tokens
        )
        self._anchor: list[Tensor] = []
        self._anchor_began: list[Tensor] = []
        self._reference_kl = config.reference_kl
        self.start_afresh = self._tuning.start_afresh

    def update(self, parent: PolicyVersion, lesson: Lesson, seed: int) -> dict[str, float]:
        """Train a copy of ``parent`` on the lesson's pairs; returns metrics of the last step.

        Raises FloatingPointError if the loss or a gradient is not finite.
        """
        learned = self._learned(lesson.pairs)
        self._tuning.open(parent, seed)
        self._take_up(parent)
        self._anchor_began = [anchor.clone() for anchor in self._anchor]
        metrics: dict[str, float] = {}
        for _ in range(self._config.steps):
            self._tuning.clear()
            metrics = self._gradients(learned)
            if lesson.demonstrations and self._config.demonstration_weight > 0:
                metrics["demonstration_nll"] = self._passes.add_nll_gradients(
                    lesson.demonstrations, self._config.demonstration_weight
                )
            metrics["grad_norm"] = self._tuning.step()
            self._follow()
            self._reference_kl = steered(self._reference_kl, metrics["kl"], self._config.kl_target)
        return metrics | {"pairs": float(len(lesson.pairs))}

    @torch.no_grad()
    def shorten(self, share: float) -> None:
        """Leave this share of the way from the parent, the anchor's too."""
        self._tuning.shorten(share)
        for anchor, began in zip(self._anchor, self._anchor_began, strict=True):
            torch.lerp(began, anchor, share, out=anchor)

    def pull_in(self, share: float) -> None:
        """Leave this share of the distance to the reference, or the anchor would pull back out."""
        self._tuning.pull_in(share)
        with self._standing_at_anchor():
            self._tuning.pull_in(share)

    def save(self, folder: Path) -> None:
        """Write the adapter, its moments, the anchor and the strength of the pull."""
        self._tuning.save(folder)
        kept = {str(i): tensor.cpu().contiguous() for i, tensor in enumerate(self._anchor)}
        kept["reference_kl"] = torch.tensor(self._reference_kl, dtype=torch.float64)
        save_file(kept, folder / ANCHOR_FILE)

    def close(self) -> None:
        """Forget the adapter in training and its anchor."""
        self._anchor, self._anchor_began = [], []
        self._tuning.close()

    # -- the loss ------------------------------------------------------------------------------

    def _gradients(self, learned: dict[CandidateId, _Learned]) -> dict[str, float]:
        """Gradients of the mean over all (reply, pair) roles, a row at a time; returns means."""
        c = self._config
        roles = sum(len(one.advantages) for one in learned.values())
        tokens = sum(len(one.reply.reply_ids) for one in learned.values())
        sums = dict.fromkeys(("policy_loss", "kl", "anchor_kl", "clip_frac"), 0.0)
        for grove in self._passes.rows([one.reply for one in learned.values()]):
            states, anchor, reference = self._three_states(grove)
            head = self._backbone.lm_head
            logprobs = token_logprobs(states.hidden, head, states.tokens)
            surrogate = logprobs.new_zeros(())
            for name, new in zip(grove.names, logprobs.split(list(states.lengths)), strict=True):
                one = learned[CandidateId(name)]
                old = one.old_logprobs.to(new)
                old = torch.where(old.isnan(), new.detach(), old)
                for advantage in one.advantages:
                    surrogate = (
                        surrogate
                        + clipped_policy_loss(
                            new,
                            old,
                            new.new_full(new.shape, advantage),
                            low=c.clip_low,
                            high=c.clip_high,
                        ).mean()
                    )
                ratio = (new.detach() - old).exp()
                outside = (ratio < 1.0 - c.clip_low) | (ratio > 1.0 + c.clip_high)
                sums["clip_frac"] += float(outside.sum()) / tokens
            to_reference = token_kl(states.hidden, reference, head).sum() / tokens
            to_anchor = token_kl(anchor, states.hidden, head).sum() / tokens
            loss = surrogate / roles + c.anchor_kl * to_anchor + self._reference_kl * to_reference
            loss.backward()
            sums["policy_loss"] += float(surrogate.detach()) / roles
            sums["kl"] += float(to_reference.detach())
            sums["anchor_kl"] += float(to_anchor.detach())
        return sums | {"kl_weight": self._reference_kl}

    def _three_states(
        self, grove: Grove
    ) -> tuple[ReplyStates, Float[Tensor, "R d"], Float[Tensor, "R d"]]:
        """States under the policy, with a graph; hidden ones under the anchor and the reference."""
        with torch.no_grad():
            with self._backbone.reference():
                reference = tree_states(self._backbone, grove.trees).hidden
            with self._standing_at_anchor():
                anchor = tree_states(self._backbone, grove.trees).hidden
        return tree_states(self._backbone, grove.trees), anchor, reference

    # -- pairs ---------------------------------------------------------------------------------

    def _learned(self, pairs: Sequence[TrainingPair]) -> dict[CandidateId, _Learned]:
        """Each reply once, with its advantage in every pair, both orders."""
        c = self._config
        found: dict[CandidateId, _Learned] = {}
        rooms = prompt_rooms(pairs)
        for pair in pairs:
            p = torch.tensor([pair.chosen_prob, 1.0 - pair.chosen_prob])
            s = torch.full((2,), pair.prob_std)
            both = doubted(p, s, doubt=c.doubt, nudge=c.nudge).tolist()
            for candidate, advantage in zip((pair.chosen, pair.rejected), both, strict=True):
                if candidate.id not in found:
                    found[candidate.id] = self._new(pair, candidate, rooms[pair.prompt])
                found[candidate.id].advantages.append(advantage)
        return found

    def _new(self, pair: TrainingPair, candidate: Candidate, room: int) -> _Learned:
        reply_ids = supervised_ids(self._backbone, candidate.completion)
        # Those of a styled candidate were drawn behind an instruction that is not trained on.
        old = [] if candidate.completion.style else list(candidate.completion.logprobs)
        old += [float("nan")] * (len(reply_ids) - len(old))
        reply = Reply(
            name=candidate.id,
            prompt_ids=self._passes.prompt_ids(pair.prompt, room),
            reply_ids=reply_ids,
        )
        return _Learned(reply, torch.tensor(old), [])

    # -- the anchor ----------------------------------------------------------------------------

    def _take_up(self, parent: PolicyVersion) -> None:
        """The parent's anchor; one that has none is its own."""
        self._anchor = [p.detach().clone() for p in self._tuning.parameters]
        self._reference_kl = self._config.reference_kl
        if parent.adapter_path is None or not (parent.adapter_path / ANCHOR_FILE).is_file():
            return
        kept = load_file(parent.adapter_path / ANCHOR_FILE)
        self._reference_kl = float(kept["reference_kl"])
        self._anchor = [kept[str(i)].to(a.device) for i, a in enumerate(self._anchor)]

    @torch.no_grad()
    def _follow(self) -> None:
        """anchor <- decay anchor + (1 - decay) policy."""
        for anchor, parameter in zip(self._anchor, self._tuning.parameters, strict=True):
            anchor.lerp_(parameter, 1.0 - self._config.anchor_decay)

    @contextmanager
    def _standing_at_anchor(self) -> Generator[None]:
        """Within it the adapter in training has the anchor's weights."""
        parameters = self._tuning.parameters
        own = [p.data for p in parameters]
        for parameter, anchor in zip(parameters, self._anchor, strict=True):
            parameter.data = anchor
        try:
            yield
        finally:
            for parameter, data in zip(parameters, own, strict=True):
                parameter.data = data
