"""The tables of sentences hold what the code says, in every language, with the same values."""

import ast
import re
import sqlite3
import string
from pathlib import Path

import pytest

import chat_app
import learner
import storage
from chat_app import language, wording
from chat_app.errors import TROUBLES, ChatError, sentences
from chat_app.language import Words, speak, table, tr, tr_n, tr_told, upper_first
from chat_app.reply_writer import _went_back
from storage.errors import DiskFullError, UnansweredError, UnknownTurnError
from storage.records import Choice
from storage.sqlite import _MEANINGS

PAGE = Path(chat_app.__file__).parent
BELOW = (Path(storage.__file__).parent, Path(learner.__file__).parent)
OTHERS = [name for name in language.languages() if name != language.ENGLISH]


@pytest.fixture
def german():
    speak("de")
    yield
    speak("en")


def said(folder):
    """Every sentence that the code marks: the literal arguments of ``tr``, ``tr_n``, ``N_``."""
    marked = {"tr": 1, "N_": 1, "tr_n": 2}
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                for argument in node.args[: marked.get(node.func.id, 0)]:
                    if isinstance(argument, ast.Constant):
                        found.add(argument.value)
    return found


def raised(folder):
    """The sentences of errors, with places where they have values, by their shape alone."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                message = node.exc.args[0]
                if isinstance(message, ast.Constant):
                    found.add(str(message.value))
                if isinstance(message, ast.JoinedStr):
                    found.add(
                        "".join(
                            part.value if isinstance(part, ast.Constant) else "{}"
                            for part in message.values
                        )
                    )
    return found


def places(sentence):
    """The values that a sentence names."""
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}


def shape(sentence):
    parts = string.Formatter().parse(sentence)
    return "".join(text + ("" if name is None else "{}") for text, name, _, _ in parts)


UNSAID = frozenset(
    {"Like", "Dislike", "English", "Deutsch", "Enter", "Shift+Enter", "Esc", "Enter, S, U, N"}
    | {"Ctrl+Shift+O", "Ctrl+K", "Ctrl+/"}  # keys as they stand on the keyboard
    | {"Look for news", "Listen"}  # buttons that only page.js presses
)
"""What the page holds and is the same in every language."""
CODE = re.compile(r"=>|<\w|</|^curl |\"$")
WORDS = re.compile(r"[a-z]{2,}\W*\s\W*[A-Za-z]{2}|^\W*[A-Z][a-z]+")


def unmarked(file):
    """The literals of a file that read like words for a person, and that nothing looks up."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    other = set()  # marked, or for no person
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="tr" | "tr_n" | "N_")):
                other.update(node.args)
            case ast.Expr(value=ast.Constant()):  # a docstring
                other.add(node.value)
            case ast.Dict():
                other.update(node.keys)
            case ast.keyword(arg="js" | "elem_classes"):
                other.update(ast.walk(node.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in other:
            said = node.value.strip()
            if WORDS.search(said) and not CODE.search(said) and said not in UNSAID:
                yield f"{file.name}:{node.lineno} {said}"


@pytest.mark.parametrize("other", OTHERS)
def test_every_sentence_of_the_page_is_in_every_table(other):
    assert sorted(said(PAGE) - table(other).keys()) == []


@pytest.mark.parametrize("other", OTHERS)
def test_no_table_holds_what_nobody_says(other):
    below = {one for folder in BELOW for one in raised(folder)}
    rest = [one for one in table(other).keys() - said(PAGE) if shape(one) not in below]
    assert sorted(rest) == []


@pytest.mark.parametrize("other", OTHERS)
def test_the_values_of_a_sentence_are_the_same_in_every_language(other):
    for english, translated in table(other).items():
        assert places(english) == places(translated), english
        assert translated.strip(), english
        for end in (english[-1:], "\n"):
            if end in ".?!:\n":
                assert english.endswith(end) == translated.endswith(end), english


def test_sentences_are_found_with_their_values(german):
    assert tr("Learned in version {round}, live.", round=3) == "Gelernt in Version 3, aktiv."
    assert tr_n("{n} choice", "{n} choices", 1) == "1 Auswahl"
    assert tr_n("{n} choice", "{n} choices", 2) == "2 Auswahlen"
    assert tr("a sentence that no table has") == "a sentence that no table has"
    assert wording.CHOICE_NAMES[Choice.TIE] == "Etwa gleich gut"
    assert dict(wording.CHOICE_NAMES)[Choice.TIE] == "Etwa gleich gut"


def test_what_the_store_refuses_is_told_in_the_language_of_the_page(german):
    sentence = "This pair was not answered yet: pick a reply first."
    with pytest.raises(ChatError, match="noch nicht beantwortet"), sentences():
        raise UnansweredError(sentence)
    with pytest.raises(ChatError, match="Die Nachricht 7 gibt es nicht"), sentences():
        raise UnknownTurnError("There is no message 7 (any more).")
    assert tr_told("Something new from below.") == "Something new from below."
    speak("en")
    assert tr_told(sentence) == sentence


def test_troubles_of_the_disk_are_told_as_the_store_words_them(german):
    told = {sentence.removesuffix(" ({error})") for sentence in TROUBLES}
    assert told <= {sentence for _, sentence in _MEANINGS.values()}
    with pytest.raises(ChatError, match="Die Platte ist voll"), sentences():
        raise DiskFullError(f"{_MEANINGS[sqlite3.SQLITE_FULL][1]} (database or disk is full)")


def test_a_version_that_cannot_be_loaded_is_told_in_the_language_of_the_page(german):
    told = "Version 3 konnte nicht geladen werden, darum spricht wieder Version 2."
    assert _went_back(3, 2).startswith(told)
    assert "wieder das untrainierte Modell" in _went_back(3, 0)
    speak("en")
    assert "so version 2 speaks again" in _went_back(3, 2)


def test_the_list_of_keys_is_told_in_the_language_of_the_page(german):
    same = {word for row in wording.KEYS for word in row if tr(word) == word}
    assert same == {"Enter", "Esc", "0", "9", "E", "S", "U", "1, 2", "Enter, S, U, N"}


def test_numbers_are_written_as_the_language_of_the_page_does(german):
    assert tr_n("{n:,} choice", "{n:,} choices", 1_234_567) == "1.234.567 Auswahlen"
    assert tr("{size:.1f} MB", size=58.25) == "58,2 MB"
    assert tr("Version {version} is live already.", version="1.5, x").startswith("Version 1.5, x")
    speak("en")
    assert tr_n("{n:,} choice", "{n:,} choices", 1_234) == "1,234 choices"


def test_a_language_without_a_table_is_refused():
    with pytest.raises(ValueError, match="known are en, de"):
        speak("tlh")
    assert language.spoken() == "en"


@pytest.mark.parametrize(
    ("system", "spoken"), [("de_DE", "de"), ("fr_FR", "en"), (None, "en"), ("de_AT", "de")]
)
def test_auto_follows_the_system_where_it_can(monkeypatch, system, spoken):
    monkeypatch.setattr("locale.getlocale", lambda: (system, "UTF-8"))
    speak("auto")
    assert language.spoken() == spoken
    speak("en")


def test_a_table_of_words_is_read_in_the_language_of_the_moment():
    words = Words({1: "Skipped", 2: ""})
    assert (words[1], words[2], len(words), list(words)) == ("Skipped", "", 2, [1, 2])
    speak("de")
    assert words[1] == "Übersprungen"
    speak("en")


def test_only_the_first_letter_grows():
    assert upper_first("das Grundmodell") == "Das Grundmodell"
    assert upper_first("") == ""


def test_nothing_on_the_page_is_said_in_english_alone():
    files = [*PAGE.glob("ui_*.py"), *PAGE.glob("wording*.py")]
    elsewhere = {"ui_server.py"}  # it speaks to whoever starts it
    found = [one for file in files if file.name not in elsewhere for one in unmarked(file)]
    assert found == []
