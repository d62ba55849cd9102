"""Text of people and models on its way to a Markdown component.

The component sanitises, so nothing here is needed for safety; it is needed for honesty. A sanitiser
*drops* what it does not like, and "What does <div> do?" would be shown as "What does do?".
"""

import re

# Code keeps its characters: Markdown escapes them itself there. A fence may still be open while a
# reply streams; it then runs to the end of the text.
_CODE = re.compile(r"(```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]+`)", re.DOTALL)


def displayed(text: str) -> str:
    """``text`` as Markdown in which every tag outside of code is shown, letter by letter."""
    parts = _CODE.split(text)
    return "".join(
        part if place % 2 else part.replace("<", "&lt;") for place, part in enumerate(parts)
    )


def typed(shown: str) -> str:
    """The text of which ``shown`` is what ``displayed`` made: for what is edited on the page."""
    parts = _CODE.split(shown)
    return "".join(
        part if place % 2 else part.replace("&lt;", "<") for place, part in enumerate(parts)
    )
