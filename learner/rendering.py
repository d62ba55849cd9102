"""Messages to token ids, by the tokenizer's own chat template and nothing else."""

from bisect import bisect_left
from collections.abc import Sequence
from functools import cache

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from learner.errors import PromptFormError, PromptTooLongError
from learner.protocols import RenderedPrompt
from storage.records import Message, Role


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> tuple[int, ...]:
    """Token ids of ``messages`` up to where the reply begins, or goes on if it is the last one.

    Raises PromptFormError where the template refuses them: some insist that roles alternate, or
    know no system messages.
    """
    chat = [{"role": m.role.value, "content": m.content} for m in messages]
    begun = bool(messages) and messages[-1].role is Role.ASSISTANT
    try:
        encoded = tokenizer.apply_chat_template(
            chat, add_generation_prompt=not begun, continue_final_message=begun, return_dict=True
        )
    except TemplateError as error:
        raise PromptFormError(
            f"This model takes no conversation of this form ({error}): change its messages or "
            "instructions, or choose another model."
        ) from error
    return tuple(encoded["input_ids"])


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], max_tokens: int
) -> RenderedPrompt:
    """Render as much of the conversation as fits, dropping the oldest turns first.

    System messages stay. What remains starts with a user message, since templates and models
    expect a person to open.

    Raises PromptTooLongError if the last message alone is longer than ``max_tokens``, and
    PromptFormError.
    """
    system = [m for m in messages if m.role is Role.SYSTEM]
    turns = [m for m in messages if m.role is not Role.SYSTEM]
    openings = [i for i, m in enumerate(turns) if m.role is Role.USER]

    @cache
    def opened_at(turn: int) -> tuple[int, ...]:
        return prompt_ids(tokenizer, [*system, *turns[turn:]])

    def fits(turn: int) -> bool:
        return len(opened_at(turn)) <= max_tokens

    # The later it opens the shorter it is: a few looks find the first opening that fits, where
    # trying one after the other takes seconds in a long chat.
    first = 0 if openings and fits(openings[0]) else bisect_left(openings, True, lo=1, key=fits)
    if first < len(openings):
        dropped = openings[first]
        return RenderedPrompt(token_ids=opened_at(dropped), dropped_messages=dropped)
    longest = len(prompt_ids(tokenizer, [*system, *turns[-1:]]))
    raise PromptTooLongError(
        f"This message is too long for the model: {longest:,} tokens, and {max_tokens:,} fit. "
        "Shorten it, or split it into several messages."
    )
