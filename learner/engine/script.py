"""What the scripted reply maker says: four canned replies to a message."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from storage.records import Message, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    word: str
    """Lower case; the first topic whose word is in the message answers it."""
    replies: tuple[str, str, str, str]


TOPICS = (
    Topic(
        word="sky",
        replies=(
            "Air scatters blue light far more than red light. So blue reaches your eyes from every "
            "direction, and the whole sky looks blue.",
            "Sunlight holds all colours. On its way through the air it meets tiny molecules that "
            "throw the short, blue waves in every direction and let the long, red ones pass. "
            "Wherever you look, some of that scattered blue comes towards you.\n\nAt sunset the "
            "light has crossed much more air: most of the blue is gone, and red is what is left.",
            "In three steps:\n\n1. Sunlight is a mix of colours.\n2. Air molecules scatter the "
            "blue part most.\n3. That scattered light comes to you from all over the sky.",
            "Good question! It is called *Rayleigh scattering*: small molecules bend blue light "
            "about five times as much as red light.",
        ),
    ),
    Topic(
        word="rainy",
        replies=(
            "Bake something slow, sort the photographs of last year, and watch the film you keep "
            "putting off.",
            "Here are three ideas:\n\n- **Cook** a soup that takes all afternoon.\n- **Walk** in "
            "the rain for twenty minutes, then have a hot bath.\n- **Write** a letter by hand to "
            "somebody who does not expect one.",
            "A rainy Sunday is a gift. Begin with a long breakfast, read one chapter more than you "
            "meant to, and ask somebody over for a board game in the evening.",
            "Museum, cinema, or a nap. All three if the rain keeps up.",
        ),
    ),
    Topic(
        word="neighbo",
        replies=(
            "Dear Anna,\n\nthank you for looking after the plants while we were away. They have "
            "never looked better.\n\nWarm regards",
            "Dear Anna,\n\nwe came home to green leaves, fresh post and a warm feeling. Thank you "
            "so much for taking care of everything. Next time it is our turn, and there will be "
            "cake.\n\nYours, from next door",
            "Hi Anna, thanks a lot for your help last week! Coffee on us soon?",
            "Dear neighbour, please accept my sincere thanks for your kind assistance.",
        ),
    ),
    Topic(
        word="shorter",
        replies=(
            "In one line: less is enough.",
            "Of course. Here it is in one sentence: the short version says the same, only sooner.",
            "Sure: short and done.",
            "Shorter it is.",
        ),
    ),
)

OTHERWISE = (
    "I am a script that shows how this page works, so I only know a few topics. Try the sky, a "
    "rainy Sunday or a note to a neighbour.",
    "This is the demo: no model is running. Ask me about the sky, a rainy Sunday or a note to a "
    "neighbour, and I will show you two replies to pick from.",
    "No model is loaded here. The examples above get a proper reply.",
    "I have no script for that one.",
)


def candidate_texts(prompt: Sequence[Message]) -> tuple[str, str, str, str]:
    """The four replies to the last message of ``prompt``."""
    said = [message.content.strip() for message in prompt if message.role is Role.USER]
    last = said[-1]
    if repeat := re.fullmatch(r"repeat after me:\s*(.+)", last, re.IGNORECASE | re.DOTALL):
        text = repeat[1]
        return text, f"You said: {text}", f"{text}\n\nThere it is.", f"Here you are.\n\n{text}"
    if count := re.fullmatch(r"count to (\d{1,4})", last, re.IGNORECASE):
        up = [str(number) for number in range(1, int(count[1]) + 1)]
        down = up[::-1]
        return " ".join(up), " ".join(down), ", ".join(up), ", ".join(down)
    if last.lower().startswith("what did i say first"):
        return (
            f"You began with: {said[0]}",
            f"Your first message was: {said[0]}",
            f"“{said[0]}”",
            f"It was this: {said[0]}",
        )
    for topic in TOPICS:
        if topic.word in last.lower():
            return topic.replies
    return OTHERWISE
