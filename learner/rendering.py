"""Messages to token ids, by the tokenizer's own chat template and nothing else."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from learner.errors import PromptTooLongError
from learner.protocols import RenderedPrompt
from storage.records import Message, Role


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> tuple[int, ...]:
    """Token ids of ``messages`` up to where the reply begins, or goes on if it is the last one."""
    chat = [{"role": m.role.value, "content": m.content} for m in messages]
    begun = bool(messages) and messages[-1].role is Role.ASSISTANT
    encoded = tokenizer.apply_chat_template(
        chat, add_generation_prompt=not begun, continue_final_message=begun, return_dict=True
    )
    return tuple(encoded["input_ids"])


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], max_tokens: int
) -> RenderedPrompt:
    """Render as much of the conversation as fits, dropping the oldest turns first.

    System messages stay. What remains starts with a user message, since templates and models
    expect a person to open.

    Raises PromptTooLongError if the last message alone is longer than ``max_tokens``.
    """
    system = [m for m in messages if m.role is Role.SYSTEM]
    turns = [m for m in messages if m.role is not Role.SYSTEM]
    for dropped in range(len(turns)):
        if turns[dropped].role is not Role.USER:
            continue
        ids = prompt_ids(tokenizer, [*system, *turns[dropped:]])
        if len(ids) <= max_tokens:
            return RenderedPrompt(token_ids=ids, dropped_messages=dropped)
    longest = len(prompt_ids(tokenizer, [*system, *turns[-1:]]))
    raise PromptTooLongError(
        f"This message is too long for the model: {longest:,} tokens, and {max_tokens:,} fit. "
        "Shorten it, or split it into several messages."
    )
