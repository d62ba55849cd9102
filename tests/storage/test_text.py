"""Text before it meets SQLite and the tokenizer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.text import TITLE_CHARACTERS, clean_text, storable_text, title_of
from tests.storage.builders import World, completion

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)  # surrogates, too


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("plain", "plain"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("win\r\nmac\rend", "win\nmac\nend"),
        ("nul\x00bell\x07del\x7fesc\x1b[0m", "nulbelldelesc[0m"),
        ("lone \ud83d half", "lone \ufffd half"),
        ("e\u0301", "\u00e9"),
        ("\U0001f600 stays, \u202e shown as it is", "\U0001f600 stays, \u202e shown as it is"),
    ],
)
def test_typed_text_becomes_harmless_and_nothing_more(typed: str, kept: str) -> None:
    assert clean_text(typed) == kept


@given(ANY_TEXT)
def test_cleaning_twice_is_cleaning_once_and_always_encodes(text: str) -> None:
    once = clean_text(text)
    assert clean_text(once) == once
    assert once.encode().decode() == once
    assert not any(ord(c) < 32 and c not in "\n\t" for c in once)


@given(ANY_TEXT)
def test_a_reply_keeps_every_character_but_lone_surrogates(text: str) -> None:
    kept = storable_text(text)
    assert len(kept) == len(text)
    assert all(a == b or "\ud800" <= a <= "\udfff" for a, b in zip(text, kept, strict=True))


@given(ANY_TEXT)
def test_a_title_is_one_short_line(text: str) -> None:
    title = title_of(clean_text(text))
    assert len(title) <= TITLE_CHARACTERS
    assert title == " ".join(title.split())


@pytest.mark.parametrize("text", ["nul\x00inside", "lone \udfff", "\u202ebidi", "\x1b[2J", ""])
def test_any_reply_of_a_model_comes_back_from_the_store(world: World, text: str) -> None:
    turn = world.log.reply(world.prompt().id, completion(text))
    assert turn.message.content == storable_text(text)


@pytest.mark.parametrize("text", ["nul\x00inside", "lone \ud800", "e\u0301", "x" * 100_000])
def test_any_message_of_a_person_comes_back_clean(world: World, text: str) -> None:
    assert world.prompt(text=text).message.content == clean_text(text)
