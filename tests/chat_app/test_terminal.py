"""The chat in a terminal: what its keys store, what is shown in which order, how it ends."""

from collections.abc import Callable
from contextlib import nullcontext
from threading import Event

import pytest

from chat_app.language import speak
from chat_app.progress import no_learner
from chat_app.service import ChatService
from chat_app.terminal import TerminalChat, plain
from learner.engine.scripted import ScriptedAsking, ScriptedReplyMaker
from storage.records import Choice, FinishReason
from tests.chat_app.conftest import CONFIG, logs_of
from tests.chat_app.makers import FailingReplyMaker, GatedReplyMaker, HeldReplyMaker, scripted
from tests.storage.builders import World

SKY = "Why is the sky blue?"


@pytest.fixture
def typed():
    """Let a person type these lines into the chat of a service; return what they see."""

    def talk(service, *lines: str | Callable[[], str], **more: object) -> str:
        shown: list[str] = []
        waiting = iter(lines)

        def read(prompt: str) -> str:
            shown.append(prompt)
            line = next(waiting, None)
            if line is None:
                raise EOFError
            line = line() if callable(line) else line
            shown.append(line + "\n")
            return line

        TerminalChat(service, read=read, write=shown.append, candidates=4, **more).run()
        service.drain()
        return "".join(shown)

    return talk


@pytest.fixture
def service(serve):
    return serve(scripted(ScriptedAsking.ALWAYS))


def test_a_pair_is_shown_in_its_order_and_a_key_picks(service, world, typed):
    seen = typed(service, SKY, "2", "/quit", "never read")
    [pick] = world.feedback.preferences()
    pair = pick.comparison
    assert pick.choice is Choice.SECOND
    first, second = (
        f"Reply {n} ---\n{one.completion.text}\n" for n, one in ((1, pair.first), (2, pair.second))
    )
    assert seen.index(first) < seen.index(second) < seen.index("[1/2/t/b/s] > ")
    assert seen.count(pair.first.completion.text) == seen.count(pair.second.completion.text) == 1
    assert "Saved: Reply 2 is better." in seen and "never read" not in seen
    assert world.log.path(pair.conversation_id)[-1].candidate_id == pair.second.id


@pytest.mark.parametrize(
    ("key", "choice"),
    [("1", Choice.FIRST), ("T", Choice.TIE), ("b", Choice.BOTH_BAD), ("s", Choice.SKIP)],
)
def test_every_key_answers_and_u_takes_back(service, world, typed, key, choice):
    typed(service, SKY, key)
    rows = world.store.read().execute("SELECT choice FROM preferences ORDER BY seq").fetchall()
    assert [row[0] for row in rows] == [choice]
    seen = typed(service, SKY, key, "u", "2", "u", "s")
    rows = world.store.read().execute("SELECT choice FROM preferences ORDER BY seq").fetchall()
    assert [row[0] for row in rows[1:]] == [choice, "withdrawn", "second", "withdrawn"]
    assert "Answer anew" in seen and "Taken back. It teaches nothing." in seen


def test_writing_on_skips_and_a_key_without_a_question_is_a_message(service, world, typed):
    seen = typed(service, SKY, "and at night?", "1", "1", "2", "/undo")
    said = world.store.read().execute(
        "SELECT body FROM turns JOIN texts USING (text_id) WHERE role = 'user' ORDER BY turn_id"
    )
    assert [row[0] for row in said] == [SKY, "and at night?", "1"]
    assert "Skipped." in seen
    # The first "1" answered, the second was said, "2" answered that one, and was taken back.
    rows = world.store.read().execute("SELECT choice FROM preferences ORDER BY seq").fetchall()
    assert [row[0] for row in rows] == ["skip", "first", "second", "withdrawn"]


def test_a_better_one_is_taken_back_whole_and_the_question_asked_again(service, world, typed):
    seen = typed(service, SKY, "/better Scattering.", "u", "s")
    assert world.feedback.preferences() == []
    assert "Answer anew" in seen and seen.count("Taken back. It teaches nothing.") == 1
    seen = typed(service, SKY, "/better Scattering.", "/undo", "2", "u", "s")
    assert "Saved: Reply 2 is better." in seen
    assert world.feedback.preferences() == []


def test_what_is_kept_is_what_the_page_keeps(service, world, typed, tmp_path):
    typed(service, SKY, "1", "Three ideas for a rainy day", "t", "u", "2")
    there = World.open(tmp_path / "there")
    with there.store:
        page = ChatService(logs_of(there), scripted(ScriptedAsking.ALWAYS), CONFIG, no_learner)
        chat = page.new_conversation()
        for text, answers in (
            (SKY, [Choice.FIRST]),
            ("Three ideas for a rainy day", [Choice.TIE, None, Choice.SECOND]),
        ):
            page.say(chat.id, text)
            page.drain()
            token = page.view(chat.id).question.token
            for number, choice in enumerate(answers):
                if choice is None:
                    page.undo(token)
                elif number:
                    page.change(token, choice)
                else:
                    page.choose(token, choice)
        page.drain()
        assert kept(world) == kept(there)
        page.close()


def kept(world):
    """All that the log says of what was said, shown and chosen, without times and drawn keys."""
    tables = {
        "turns": "turn_id, conversation_id, parent_id, role, text_id, candidate_id, state",
        "candidates": "candidate_id, prompt_turn_id, version, seed, params_json, finish, author",
        "texts": "text_id, body",
        "conversations": "conversation_id, title, learn, purpose, head_turn_id",
        "comparisons": "comparison_id, first_id, second_id, reason, propensity, disagreement",
        "preferences": "seq, comparison_id, user_id, choice, supersedes",
    }
    db = world.store.read()
    return {
        table: db.execute(f"SELECT {columns} FROM {table}").fetchall()  # noqa: S608 - literals
        for table, columns in tables.items()
    }


def test_ctrl_c_stops_a_reply_and_what_there_was_is_kept(serve, world, typed):
    service = serve(HeldReplyMaker(words=12))
    watch, pressed = service.watch, Event()

    def watched(chat):
        for draft in watch(chat):
            if draft.texts:
                pressed.set()
            yield draft

    service.watch = watched
    seen = typed(service, "Count to 200", "/quit", interrupts=lambda: nullcontext(pressed))
    assert "This reply was stopped before its end." in seen
    [row] = world.store.read().execute("SELECT finish, candidate_id FROM candidates").fetchall()
    assert row[0] == FinishReason.ABORTED


STOPPED_AT_ONCE = "This reply was stopped before its first word: /retry writes it."


def test_a_reply_stopped_before_its_first_word_is_told_and_can_be_tried_again(serve, typed):
    service = serve(replies := GatedReplyMaker())
    (pressed := Event()).set()

    def go() -> str:
        pressed.clear()
        replies.gate.set()
        return "/retry"

    seen = typed(service, "Count to 3", "/retry", go, interrupts=lambda: nullcontext(pressed))
    assert seen.count("Count to 3") == 1  # nothing of one's own is told as a reply
    assert seen.count(STOPPED_AT_ONCE) == 2 and "1" in seen.rpartition(STOPPED_AT_ONCE)[2]


def test_another_reply_stopped_before_its_first_word_is_not_told_as_written(serve, typed):
    service = serve(replies := GatedReplyMaker())
    replies.gate.set()
    pressed = Event()

    def stop() -> str:
        replies.gate.clear()
        pressed.set()
        return "/retry"

    seen = typed(service, "Count to 3", stop, interrupts=lambda: nullcontext(pressed))
    assert seen.rpartition("/retry\n")[2].strip().startswith(STOPPED_AT_ONCE)
    [chat] = service.shelf.list()
    assert len(service.view(chat.id).turns) == 2


def test_what_cannot_be_done_is_a_sentence_and_the_chat_goes_on(service, world, typed):
    seen = typed(
        service, "/retry", "/undo", "/better mine", "/fly", "x" * 100_000, "", "/help",
        SKY, "/retry", "/better Scattering.", "/new", "/undo",
    )  # fmt: skip
    for told in (
        "There is no message to reply to yet.",
        "There is no choice to take back",
        "No question is open",
        "/fly is no command",
        "Nothing was sent",
        "/better TEXT",
        "Pick one of the two replies first",
        "Saved: you wrote a better one.",
        "A new chat.",
    ):
        assert told in seen
    assert len(world.log.list()) == 1


def test_a_reply_that_failed_is_told_and_tried_again(serve, typed):
    service = serve(replies := FailingReplyMaker(RuntimeError("no")))

    def mended() -> str:
        replies.error = None
        return "/retry"

    seen = typed(service, "Count to 3", mended)
    assert "This reply failed." in seen and "3" in seen.rpartition("/retry")[2]


def test_a_line_goes_on_in_the_next_one(serve, world, typed):
    typed(serve(scripted()), "Repeat after me: one\\", "two")
    [chat] = world.log.list()
    assert world.log.path(chat.id)[0].message.content.endswith("one\ntwo")


def test_another_version_is_told_before_it_speaks(serve, world, typed):
    service = serve(scripted())

    def learned() -> str:
        world.learn([world.pick()])
        return "Count to 4"

    seen = typed(service, "Count to 3", learned, "Count to 5")
    assert seen.count("Version 1 speaks from the next reply on.") == 1


def test_a_reply_obeys_nobody_in_the_terminal(serve, typed):
    evil = "\x1b]0;mine\x07\x1b[2J\x9b31mred\r"
    seen = typed(serve(scripted()), f"Repeat after me: {evil} ünd 日本 👩‍👧")
    shown = seen.rpartition(evil)[2]
    assert not set(shown) & set("\x1b\x07\x9b\r") and "ünd 日本 👩‍👧" in shown
    assert plain("a\tb\nc") == "a\tb\nc"


def test_what_is_being_done_goes_again_in_a_terminal(serve, world, typed):
    service = serve(ScriptedReplyMaker(ScriptedAsking.ALWAYS, words_per_s=60.0))
    assert "\x1b" not in typed(service, SKY)
    before = len(world.log.list())
    for message in (SKY, "Three ideas for a rainy day", "A note to a neighbour", "Shorter"):
        seen = typed(service, message, "s", is_terminal=True)
        shown = as_shown(seen)
        pair = world.feedback.preferences()[-1].comparison
        for reply in (pair.first, pair.second):
            assert reply.completion.text in shown, "a line of a reply was taken back"
        assert "\r\x1b[K" in seen and seen.count("Drafting 4 replies…") <= 1
        assert "Drafting" not in shown and "Writing two" not in shown
    assert len(world.log.list()) == before + 4


def as_shown(written):
    """What is left on the screen: what stands in a line before it is cleared is gone."""
    return "\n".join(line.rpartition("\r\x1b[K")[2] for line in written.split("\n"))


def test_it_speaks_german(service, typed):
    speak("de")
    try:
        seen = typed(service, SKY, "1", "/help")
    finally:
        speak("en")
    assert "Antwort 1" in seen and "Gespeichert" in seen and "/quit         beenden" in seen
