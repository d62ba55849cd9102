"""Trees of turns, what is shown of them, and what is erased."""

from dataclasses import replace

import pytest

from storage import search_index
from storage.conversation_rows import is_held_out, random_key
from storage.conversations import ConversationLog
from storage.errors import InvariantError, UnknownConversationError, UnknownTurnError
from storage.rankings import RankingLog
from storage.records import (
    Choice,
    ConversationId,
    FinishReason,
    Message,
    Purpose,
    Role,
    TurnId,
    TurnState,
)
from tests.storage.builders import QUESTION, World, completion

NOBODY = 999


def said(world: World, conversation_id: ConversationId) -> list[str]:
    return [turn.message.content for turn in world.log.path(conversation_id)]


def test_a_conversation_begins_empty_and_is_found_by_id_and_key(world: World) -> None:
    conversation = world.log.start()
    assert conversation.title == ""
    assert conversation.learn
    assert world.log.path(conversation.id) == []
    assert world.log.get(conversation.id) == world.log.by_key(conversation.key) == conversation
    assert world.log.by_key("no such key") is None


def test_conversations_are_listed_newest_first_up_to_a_limit(world: World) -> None:
    ids = [world.log.start().id for _ in range(4)]
    assert [one.id for one in world.log.list()] == ids[::-1]
    assert [one.id for one in world.log.list(limit=2)] == ids[:1:-1]


def test_the_first_message_titles_the_conversation_and_a_name_given_stays(world: World) -> None:
    conversation = world.log.start()
    world.log.say(conversation.id, "  Why is\nthe sky  blue?  ")
    world.log.say(conversation.id, "And at night?")
    assert world.log.get(conversation.id).title == "Why is the sky blue?"
    world.log.rename(conversation.id, "Sky\x00")
    world.log.say(conversation.id, "And on Mars?")
    assert world.log.get(conversation.id).title == "Sky"


def test_messages_and_replies_grow_the_path_that_is_shown(world: World) -> None:
    conversation = world.log.start()
    question = world.log.say(conversation.id, "hello")
    reply = world.log.reply(question.id, completion("hi"))
    world.log.say(conversation.id, "bye")
    assert said(world, conversation.id) == ["hello", "hi", "bye"]
    assert reply.parent_id == question.id
    assert reply.state is TurnState.FINAL
    assert world.log.messages(reply.id) == (
        Message(role=Role.USER, content="hello"),
        Message(role=Role.ASSISTANT, content="hi"),
    )


def test_a_reply_that_was_stopped_stays_and_is_marked(world: World) -> None:
    reply = world.log.reply(world.prompt().id, completion("hal", finish=FinishReason.ABORTED))
    assert reply.state is TurnState.ABORTED
    assert said(world, reply.conversation_id) == ["hello", "hal"]


def test_a_retry_is_a_sibling_and_both_stay(world: World) -> None:
    question = world.prompt()
    first = world.log.reply(question.id, completion("first try"))
    second = world.log.reply(question.id, completion("second try"))
    assert said(world, question.conversation_id) == ["hello", "second try"]
    assert world.log.siblings(second.id) == world.log.siblings(first.id) == [first, second]
    world.log.rewind(question.conversation_id, first.id)
    assert said(world, question.conversation_id) == ["hello", "first try"]


def test_the_first_message_can_be_said_anew(world: World) -> None:
    question = world.prompt()
    world.log.reply(question.id, completion())
    world.log.rewind(question.conversation_id, None)
    assert said(world, question.conversation_id) == []
    other = world.log.say(question.conversation_id, "hello again")
    assert world.log.siblings(other.id) == [question, other]
    assert said(world, question.conversation_id) == ["hello again"]


def test_roots_of_other_conversations_are_no_siblings(world: World) -> None:
    turn = world.prompt()
    world.prompt()
    assert world.log.siblings(turn.id) == [turn]


def test_a_reply_that_comes_late_is_kept_but_moves_no_head(world: World) -> None:
    question = world.prompt()
    world.log.say(question.conversation_id, "never mind")
    late = world.log.reply(question.id, completion("late"))
    assert said(world, question.conversation_id) == ["hello", "never mind"]
    assert late in world.log.siblings(late.id)


def test_a_question_takes_the_place_of_the_reply_that_is_shown(world: World) -> None:
    prompt = world.prompt()
    reply = world.log.reply(prompt.id, completion("first try"))
    asked = world.ask(prompt)
    assert said(world, prompt.conversation_id) == ["hello"]
    assert world.feedback.open_question(prompt.conversation_id) == asked
    world.log.rewind(prompt.conversation_id, reply.id)
    world.log.say(prompt.conversation_id, "going on")
    world.ask(prompt)  # one that comes late
    assert said(world, prompt.conversation_id) == ["hello", "first try", "going on"]


def test_a_question_keeps_both_replies_as_shown_and_moves_no_head(world: World) -> None:
    turn = world.prompt()
    one, two = completion("one", seed=1), completion("two", seed=2)
    comparison = world.log.ask(turn.id, one, two, QUESTION)
    assert (comparison.first.completion, comparison.second.completion) == (one, two)
    assert comparison.question == QUESTION
    assert comparison.prompt == (Message(role=Role.USER, content="hello"),)
    assert (comparison.prompt_turn_id, comparison.conversation_id) == (
        turn.id,
        turn.conversation_id,
    )
    assert len(comparison.token) >= 32
    assert world.feedback.comparison(comparison.token) == comparison
    assert world.log.path(turn.conversation_id) == [turn]


def test_candidates_come_back_as_they_were_sampled(world: World) -> None:
    turn = world.prompt()
    sampled = [completion("a"), completion("b", feature=None), completion("", seed=2**62)]
    assert [one.completion for one in world.log.add_candidates(turn.id, sampled)] == sampled
    assert world.log.path(turn.conversation_id) == [turn]


def test_a_hidden_style_is_kept_and_rows_without_one_say_nothing_of_it(world: World) -> None:
    turn = world.prompt()
    sampled = [completion("plain"), replace(completion("told"), style="short")]
    ids = [one.id for one in world.log.add_candidates(turn.id, sampled)]
    assert [one.completion for one in world.log.candidates(ids).values()] == sampled
    params = [row["params_json"] for row in world.store.read().query("SELECT * FROM candidates")]
    assert ["style" in one for one in params] == [False, True]


def test_a_question_with_one_bad_half_leaves_no_half(world: World) -> None:
    turn = world.prompt()
    with pytest.raises(InvariantError):
        world.log.ask(turn.id, completion(), completion(version=7), QUESTION)
    assert world.store.read().table("candidates").count == 0
    assert world.store.read().table("texts").count == 1


def test_who_never_existed_is_told_so(world: World) -> None:
    here, elsewhere = world.prompt(), world.prompt()
    nobody, nowhere = ConversationId(NOBODY), TurnId(NOBODY)
    for call in (
        lambda: world.log.get(nobody),
        lambda: world.log.path(nobody),
        lambda: world.log.say(nobody, "hello?"),
        lambda: world.log.rename(nobody, "x"),
        lambda: world.log.set_learn(nobody, False),
        lambda: world.log.rewind(nobody, None),
        lambda: world.log.erase(nobody),
    ):
        with pytest.raises(UnknownConversationError, match="999"):
            call()
    for call in (
        lambda: world.log.messages(nowhere),
        lambda: world.log.siblings(nowhere),
        lambda: world.log.reply(nowhere, completion()),
        lambda: world.log.add_candidates(nowhere, [completion()]),
        lambda: world.log.rewind(here.conversation_id, nowhere),
        lambda: world.log.rewind(here.conversation_id, elsewhere.id),
    ):
        with pytest.raises(UnknownTurnError):
            call()


def test_what_is_held_out_follows_from_the_key_and_is_a_tenth() -> None:
    keys = [random_key() for _ in range(4000)]
    share = sum(map(is_held_out, keys)) / len(keys)
    assert 0.07 < share < 0.13  # six standard deviations
    assert [is_held_out(key) for key in keys] == [is_held_out(key) for key in keys]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("held_out", [False, True])
def test_a_conversation_is_held_out_as_its_key_says(world: World, held_out: bool) -> None:
    conversation = world.start(held_out=held_out)
    assert conversation.held_out == is_held_out(conversation.key) == held_out
    assert world.log.get(conversation.id).held_out == held_out


def test_a_key_is_not_given_twice(world: World) -> None:
    log = ConversationLog(world.store, new_key=lambda: "k" * 32)
    log.start()
    with pytest.raises(InvariantError, match="UNIQUE"):
        log.start()


def test_learning_from_a_conversation_is_switched_off_and_on(world: World) -> None:
    quiet = world.log.start(learn=False)
    assert not quiet.learn
    world.log.set_learn(quiet.id, True)
    assert world.log.get(quiet.id).learn


OFF = "INSERT INTO comparison_search (comparison_search, rank) VALUES ('secure-delete', 0)"


def test_a_ranking_that_a_kill_left_without_answers_is_erased(world: World) -> None:
    """It is in no list and no search, so nobody could delete it."""
    lost = world.log.start(purpose=Purpose.RANKING)
    world.log.say(lost.id, "xylophone-canary")
    asked = world.log.start(purpose=Purpose.RANKING)
    turn = world.log.say(asked.id, "Why is the sky blue?")
    added = world.log.add_candidates(turn.id, [completion("one"), completion("two")])
    RankingLog(world.store).ask(turn.id, [one.id for one in added])
    chat = world.prompt(text="A chat is no ranking")
    world.log.erase_without_slate()
    assert "xylophone-canary" not in everything(world)
    assert world.log.messages(turn.id) and world.log.messages(chat.id)
    with pytest.raises(UnknownConversationError):
        world.log.get(lost.id)


@pytest.mark.parametrize("sqlite", ["3.40.1", "3.53.0"])
def test_words_leave_the_search_whatever_sqlite_made_the_file(
    world: World, sqlite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 3.42 the index keeps them until a merge; a file of then keeps doing so later."""
    canary = "xylophone-canary"
    with world.store.write() as db:
        db.execute(OFF)
    turns = [world.prompt(text=f"{word} question") for word in (canary, "marimba", "celesta")]
    for turn in turns:
        world.log.ask(turn.id, completion("one"), completion("two"), QUESTION)
    monkeypatch.setattr(search_index, "_version", lambda _: tuple(map(int, sqlite.split("."))))
    if sqlite == "3.53.0":
        with world.store.write() as db:
            search_index.keep_clean(db)
    world.log.erase(turns[0].conversation_id)
    assert canary.split("-", maxsplit=1)[0] not in everything(world)
    assert "celesta" in everything(world)


def test_an_erased_conversation_is_in_no_list_and_in_no_file(world: World) -> None:
    canary = "xylophone-canary"
    world.pick()
    turn = world.prompt(text=f"{canary} question")
    comparison = world.log.ask(turn.id, completion(f"{canary} 1"), completion(canary), QUESTION)
    world.answer(comparison)
    world.log.say(turn.conversation_id, f"{canary} again")
    assert canary in everything(world)

    world.log.erase(turn.conversation_id)

    assert canary not in everything(world)
    assert world.log.by_key(world.log.list()[0].key) is not None
    assert turn.conversation_id not in [one.id for one in world.log.list()]
    with pytest.raises(UnknownConversationError):
        world.log.get(turn.conversation_id)
    with pytest.raises(UnknownTurnError):
        world.log.messages(turn.id)
    world.feedback.verify_chain()


def test_what_was_being_written_when_its_conversation_was_erased_is_not_kept(world: World) -> None:
    comparison = world.ask()
    world.log.erase(comparison.conversation_id)
    texts = world.store.read().table("texts").count
    with pytest.raises(UnknownTurnError):
        world.log.reply(comparison.prompt_turn_id, completion("late"))
    with pytest.raises(UnknownTurnError):
        world.log.add_candidates(comparison.prompt_turn_id, [completion("late")])
    with pytest.raises(Exception, match="not known here"):
        world.answer(comparison, Choice.FIRST)
    assert world.store.read().table("texts").count == texts


def everything(world: World) -> str:
    """Every byte that the store keeps, its log included."""
    files = sorted(world.folder.root.glob("twofold.db*"))
    return "".join(path.read_bytes().decode("latin-1") for path in files)


def test_search_finds_every_word_in_titles_and_branches(world: World) -> None:
    tea, sky = world.log.start(), world.log.start()
    prompt = world.log.say(tea.id, "How long does green tea brew?")
    world.log.reply(prompt.id, completion("Two minutes, 100% leaf."))
    world.log.say(sky.id, "Why is the sky blue_ish?")
    world.log.rename(sky.id, "Colours")
    for words, found in (
        ("TEA minutes", [tea.id]),
        ("colours", [sky.id]),
        ("why", [sky.id]),
        ("100%", [tea.id]),
        ("0%2", []),
        ("e_ish", [sky.id]),
        ("e_i_h", []),
        ("tea sky", []),
        ("", [sky.id, tea.id]),
    ):
        assert [one.id for one in world.log.search(words)] == found, words
    world.log.erase(tea.id)
    assert world.log.search("tea") == []


def test_a_search_takes_whatever_is_pasted_in(world: World) -> None:
    chat = world.log.start()
    text = " ".join(f"word{number}" for number in range(1_500)) + " " + "long" * 20_000
    world.log.say(chat.id, text)
    for pasted in (text, "long" * 20_000, "word1 " * 5_000):
        assert world.log.search(pasted) == [world.log.get(chat.id)]
    assert world.log.search("word1 absent") == []


def test_instructions_open_a_conversation_and_are_no_title(world: World) -> None:
    conversation = world.log.start(instructions=" Be brief. ")
    turn = world.log.say(conversation.id, "hello")
    assert [m.role for m in world.log.messages(turn.id)] == [Role.SYSTEM, Role.USER]
    assert said(world, conversation.id) == ["Be brief.", "hello"]
    assert world.log.get(conversation.id).title == "hello"


def test_a_temporary_conversation_is_in_no_list_and_leaves_nothing_to_match(world: World) -> None:
    kept = world.log.start()
    conversation = world.log.start(temporary=True)
    assert conversation.temporary and not conversation.learn and not kept.temporary
    prompt = world.log.say(conversation.id, "secret")
    world.log.reply(prompt.id, completion("secret reply"))
    assert world.log.list() == [kept] and world.log.search("secret") == []
    assert world.log.by_key(conversation.key) == world.log.get(conversation.id)
    world.log.erase_temporary()
    world.log.erase_temporary()
    assert world.log.by_key(conversation.key) is None and world.log.list() == [kept]
    users = list(world.store.read().table("users").rows_where("status = 'erased'"))
    assert [user["salt"] for user in users] == [None]
    world.store.checkpoint()
    assert b"secret" not in world.folder.database.read_bytes()
    world.feedback.verify_chain()
