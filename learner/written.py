"""A text that a person wrote, as the completion a policy might have sampled.

It then trains and is scored like any other. Its log-probabilities are those of the version that
was live, by one teacher-forced pass; it ends where the person ended it.
"""

from collections.abc import Sequence
from dataclasses import replace

from learner.engine.local import LocalEngine
from learner.errors import PromptTooLongError
from storage.records import Completion, FinishReason, Message, Sampling


def as_completion(engine: LocalEngine, prompt: Sequence[Message], text: str) -> Completion:
    """Tokens and log-probabilities of ``text`` under the version the engine has loaded.

    Raises PromptTooLongError where prompt and text do not fit the model together.
    """
    backbone = engine.backbone
    ids = tuple(backbone.tokenizer(text, add_special_tokens=False)["input_ids"])
    sampling = Sampling(max_new_tokens=max(1, len(ids)))
    if len(ids) >= backbone.context_tokens // 2:
        raise PromptTooLongError(
            f"This reply is too long to learn from: {len(ids):,} tokens, and "
            f"{backbone.context_tokens // 2:,} fit."
        )
    completion = Completion(
        text=text,
        token_ids=ids,
        logprobs=(0.0,) * len(ids),
        finish_reason=FinishReason.STOP,
        policy_version=engine.policy_version,
        seed=0,
        sampling=sampling,
    )
    prompt_ids = engine.render(prompt, sampling).token_ids
    return replace(completion, logprobs=tuple(engine.logprobs(prompt_ids, ids)))
