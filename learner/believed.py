"""What the gate believes of a version, from few replies: its KL to the reference, what it repeats.

Eight replies of 64 tokens tell a version's KL with a standard error of a quarter of it
(docs/LOG.md, "why the weights went up and down at the limit"). How much an update *changed* it is
known far better, since both versions can be run over the same texts. So what is believed of an
update is what was believed of its parent, and the change, and to a small part what it says itself:
a filter that forgets its errors by a quarter a version.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from learner.engine.backbone import Backbone
from learner.measures import ReplyStates, ScoredText, kl_to_states, reply_states

OWN_SHARE = 0.25
"""How much the few replies of an update itself count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownTexts:
    """Prompts and replies whose states under the reference policy are run once."""

    texts: tuple[ScoredText, ...]
    reference: ReplyStates

    @classmethod
    @torch.no_grad()
    def of(cls, backbone: Backbone, texts: Sequence[ScoredText]) -> "KnownTexts":
        """Whoever speaks now speaks on afterwards."""
        with backbone.reference():
            return cls(texts=tuple(texts), reference=reply_states(backbone, texts))

    def kl(self, backbone: Backbone) -> float:
        """KL(who speaks now || reference) in nats a token, the mean over the texts."""
        return fmean(kl_to_states(backbone, self.texts, self.reference))


def believed(parent: float, sampled: float) -> float:
    """What is believed of a figure whose change is not known: of the parent's, and of a new sample.

    Its errors fade by a quarter a version, and so does what it says of the parent.
    """
    return OWN_SHARE * sampled + (1.0 - OWN_SHARE) * parent


def believed_kl(parent: float, change: float, sampled: float) -> float:
    """What is believed of an update's KL, in nats a token, never negative; NaN stays NaN.

    ``parent`` is what was believed of its parent, ``change`` how much the update moved the KL on
    the parent's replies, ``sampled`` the KL of its own.
    """
    return max(believed(parent + change, sampled), 0.0)
