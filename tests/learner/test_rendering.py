"""What of a conversation fits the model."""

import pytest

from learner import rendering
from learner.errors import PromptFormError, PromptTooLongError
from learner.rendering import prompt_ids, render
from storage.records import Message, Role
from tests.learner.conftest import user
from tests.tiny import CHATML, byte_tokenizer

ROLES = (Role.USER, Role.ASSISTANT)


def chat(exchanges: int) -> list[Message]:
    """Of uneven lengths, ending with a person's message."""
    said = [
        Message(role=ROLES[n % 2], content=f"{n} " + "word " * (1 + 7 * n % 13))
        for n in range(2 * exchanges + 1)
    ]
    return [Message(role=Role.SYSTEM, content="Be kind."), *said]


def one_by_one(tokenizer, messages, max_tokens):
    """The first opening by a person that fits, looked for as a reader would."""
    system, turns = messages[:1], messages[1:]
    for dropped in range(0, len(turns), 2):
        ids = prompt_ids(tokenizer, [*system, *turns[dropped:]])
        if len(ids) <= max_tokens:
            return ids, dropped
    return None


def test_the_oldest_turns_that_do_not_fit_are_left_out(engine):
    tokenizer, messages = engine.backbone.tokenizer, chat(12)
    whole = len(prompt_ids(tokenizer, messages))
    least = len(prompt_ids(tokenizer, [messages[0], messages[-1]]))
    for max_tokens in range(least, whole + 2, 5):
        found = render(tokenizer, messages, max_tokens)
        assert (found.token_ids, found.dropped_messages) == one_by_one(
            tokenizer, messages, max_tokens
        )
    with pytest.raises(PromptTooLongError, match=f"{least:,} tokens, and {least - 1:,} fit"):
        render(tokenizer, messages, least - 1)


def test_a_chat_that_fits_is_rendered_once_and_a_long_one_a_few_times(engine, monkeypatch):
    tokenizer, messages = engine.backbone.tokenizer, chat(200)
    looks = []

    def counted(*given):
        looks.append(None)
        return prompt_ids(*given)

    monkeypatch.setattr(rendering, "prompt_ids", counted)
    render(tokenizer, messages, 1_000_000)
    assert len(looks) == 1
    looks.clear()
    assert render(tokenizer, messages, 300).dropped_messages > 300
    assert len(looks) <= 10  # 201 places to begin


def test_a_chat_that_no_person_opens_is_refused(engine):
    lost = [Message(role=Role.ASSISTANT, content="Hello.")]
    with pytest.raises(PromptTooLongError):
        render(engine.backbone.tokenizer, lost, 100)


ALTERNATING = (
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/...') }}{% endif %}"
    "{% endfor %}"
) + CHATML


def test_a_conversation_that_the_template_refuses_is_said_with_its_reason():
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = ALTERNATING
    assert render(tokenizer, user("Hi", "Hello.", "And now?"), 500).token_ids
    twice = [*user("Hi"), *user("Are you there?")]
    with pytest.raises(PromptFormError, match="must alternate"):
        render(tokenizer, twice, 500)
    told = [Message(role=Role.SYSTEM, content="Be kind."), *user("Hi")]
    with pytest.raises(PromptFormError, match="choose another model"):
        prompt_ids(tokenizer, told)
