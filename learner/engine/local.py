"""What is asked of an engine beyond decoding: by what writes replies, and by what trains."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from learner.engine.backbone import Backbone
from learner.protocols import PolicyEngine, RenderedPrompt
from learner.rendering import render
from storage.records import Message


@runtime_checkable
class ServingEngine(PolicyEngine, Protocol):
    """An engine that writes replies, wherever it decodes."""

    backbone: Backbone
    """The base model by its side: its tokenizer, and the hidden states that features are."""

    @property
    def context_tokens(self) -> int:
        """Tokens that prompt and reply may have together."""
        ...

    def logprobs(self, prompt_ids: Sequence[int], reply_ids: Sequence[int]) -> list[float]:
        """log P of each token of a given reply under the version that speaks, in nats."""
        ...


@runtime_checkable
class LocalEngine(ServingEngine, Protocol):
    """An engine that decodes on its backbone, so that what is in training can speak too."""

    def load_training(self) -> None:
        """The adapter in training speaks from the next ``start`` on: for the gate."""
        ...


def render_beside_reply(
    backbone: Backbone, messages: Sequence[Message], reply_tokens: int, max_tokens: int
) -> RenderedPrompt:
    """As much of the conversation as fits into ``max_tokens`` and beside ``reply_tokens``.

    Raises PromptTooLongError.
    """
    room = backbone.context_tokens - reply_tokens
    return render(backbone.tokenizer, messages, min(max_tokens, room))
