"""Prompting by example: how a model that was never taught to chat is made to hold a conversation.

It is given a document in which a person and an assistant talk, and goes on writing it
(arXiv 2005.14165, section 2: few-shot). The document is a chat template, so everything that renders
prompts renders this one; and since such a model does not end its turn by a token, its reply ends
where it begins to write the person's next line.
"""

from importlib.resources import files

from transformers import PreTrainedTokenizerBase

STOP = "\nUser:"
"""Text at which a reply is over."""


def few_shot_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """A chat template: the shipped example dialogues, then the conversation in the same form."""
    begin = tokenizer.bos_token if _begins_with_bos(tokenizer) else ""
    examples = files("learner.guard").joinpath("few_shot.txt").read_text(encoding="utf-8")
    document = f"{begin}{examples.strip()}\n"
    return (
        "{{ " + _quoted(document) + " }}"
        "{% for message in messages %}"
        "{% if message['role'] == 'system' %}{{ message['content'] + '\\n' }}"
        "{% elif message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\\n' }}"
        "{% else %}{{ 'Assistant: ' + message['content'] + '\\n' }}{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
    )


def before_stop(text: str) -> str | None:
    """The reply in ``text`` once its end is written, None while it goes on."""
    place = text.find(STOP)
    return None if place < 0 else text[:place].rstrip()


def shown(text: str) -> str:
    """What of a running reply can be shown: nothing that may yet become its end."""
    for length in range(min(len(STOP) - 1, len(text)), 0, -1):
        if text.endswith(STOP[:length]):
            return text[:-length]
    return text


def _begins_with_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    ids = tokenizer("a")["input_ids"]
    return tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id


def _quoted(text: str) -> str:
    """As a Jinja string."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
