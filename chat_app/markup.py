"""Text of people and models on its way to a Markdown component.

The component sanitises, so nothing here is needed for safety; it is needed for honesty. A sanitiser
*drops* what it does not like, and "What does <div> do?" would be shown as "What does do?".
"""

import re
from collections.abc import Callable
from inspect import cleandoc

# Code keeps its characters: Markdown escapes them itself there. A fence may still be open while a
# reply streams; it then runs to the end of the text. Lines indented by four are code after a blank
# one. page.js reads it back in the same way.
_CODE = re.compile(
    r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]+`|\n *\n {4}[^\n]*(?:(?:\n *)*\n {4}[^\n]*)*",
    re.DOTALL,
)
_BLANK = re.compile(r"\n *\n")
_LISTED = re.compile(r"^ *(?:[-+*]|\d+[.)])(?: |$)", re.MULTILINE)
_MARKS = re.compile(r"[^\w\s]|_")
_OUTDENTED = re.compile(r"\n*[^ \n]")


def displayed(text: str) -> str:
    """``text`` as Markdown in which every tag outside of code is shown, letter by letter."""
    # As the component would, which could take the indent away that makes code of a line.
    while (clean := cleandoc(text)) != text:
        text = clean
    return _outside_code(text, lambda part: part.replace("<", "&lt;"))


def literal(text: str) -> str:
    """``text`` on one line of Markdown, letter by letter: nothing in it is markup."""
    return _MARKS.sub(lambda mark: f"&#{ord(mark[0])};", " ".join(text.split()))


def headline(text: str, instead: str) -> str:
    """A message as a heading; one that is code or has lines stands below ``instead``."""
    shown = displayed(text)
    one_line = "\n" not in shown.strip() and "```" not in shown and "~~~" not in shown
    return f"## {shown}" if one_line else f"## {instead}\n\n{shown}"


def typed(shown: str) -> str:
    """The text of which ``shown`` is what ``displayed`` made: for what is edited on the page."""
    return _outside_code(shown, lambda part: part.replace("&lt;", "<"))


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    parts: list[str] = []
    done = at = seen = 0
    listed = False
    while found := _CODE.search(text, at):
        if found[0].startswith("\n"):
            listed, seen = _in_list(text[seen : found.start()], listed), found.start()
            if listed:
                at = found.start() + 1
                continue
        parts += [change(text[done : found.start()]), found[0]]
        done = at = found.end()
    return "".join([*parts, change(text[done:])])


def _in_list(text: str, listed: bool) -> bool:
    """Whether an indented line after ``text`` may go on with an item of a list, and be no code.

    ``listed`` says it of what is before ``text``.
    """
    for block in _BLANK.split(text):
        if _LISTED.search(block):
            listed = True
        elif _OUTDENTED.match(block):
            listed = False
    return listed
