"""A text that nobody sampled in one go, as the completion a policy might have sampled.

A person wrote it, or a reply that was cut off was written on. It then trains and is scored like any
other: its tokens are the tokenizer's own, and its log-probabilities are those of the version that
speaks, by one teacher-forced pass.
"""

from collections.abc import Sequence
from dataclasses import replace

from learner.engine.local import ServingEngine
from learner.errors import PromptTooLongError
from storage.records import Completion, FinishReason, Message, Sampling


def as_completion(
    engine: ServingEngine,
    prompt: Sequence[Message],
    text: str,
    *,
    finish_reason: FinishReason = FinishReason.STOP,
    seed: int = 0,
) -> Completion:
    """Tokens and log-probabilities of ``text`` under the version the engine has loaded.

    Raises PromptTooLongError where prompt and text do not fit the model together.
    """
    ids = engine.backbone.reply_ids(text)
    sampling = Sampling(max_new_tokens=max(1, len(ids)))
    if len(ids) >= engine.context_tokens // 2:
        raise PromptTooLongError(
            f"This reply is too long to learn from: {len(ids):,} tokens, and "
            f"{engine.context_tokens // 2:,} fit."
        )
    completion = Completion(
        text=text,
        token_ids=ids,
        logprobs=(0.0,) * len(ids),
        finish_reason=finish_reason,
        policy_version=engine.policy_version,
        seed=seed,
        sampling=sampling,
    )
    prompt_ids = engine.render(prompt, sampling).token_ids
    return replace(completion, logprobs=tuple(engine.logprobs(prompt_ids, ids)))
