"""Messages and replies: what is stored when, who may watch, and how a reply ends early."""

import errno
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from chat_app.config import ServiceConfig
from chat_app.errors import ChatError
from chat_app.progress import no_learner
from chat_app.reply_job import ReplyJob
from chat_app.reply_writer import SAID_NOTHING
from chat_app.service import ChatService
from learner.engine.scripted import ScriptedAsking, ScriptedReplyMaker
from learner.errors import AdapterLoadError, PromptTooLongError
from learner.protocols import Draft, Stage
from storage.errors import DiskFullError
from storage.forgetting import Forgetting
from storage.records import BASE_VERSION, ConversationId, Role, TurnId, TurnState
from tests.chat_app.conftest import CONFIG, logs_of
from tests.chat_app.makers import (
    BaseOnlyReplyMaker,
    FailingReplyMaker,
    ForgetfulReplyMaker,
    GatedReplyMaker,
    HurriedReplyMaker,
    SlowReplyMaker,
    scripted,
)
from tests.storage.builders import World
from tests.storage.faults import WEIGHTS


def texts(service, conversation):
    return [turn.message.content for turn in service.view(conversation.id).turns]


def test_a_message_gets_a_reply_and_the_next_one_knows_the_first(serve):
    service = serve(scripted())
    chat = service.new_conversation()
    service.say(chat.id, "Why is the sky blue?")
    service.drain()
    service.say(chat.id, "What did I say first?")
    service.drain()
    assert "Why is the sky blue?" in texts(service, chat)[3]


class Silent(ScriptedReplyMaker):
    """Ends its reply at once."""

    def reply(self, prompt, version, seed, emit, cancel, **wishes):
        plan = super().reply(prompt, version, seed, emit, cancel, **wishes)
        return replace(plan, shown=(replace(plan.shown[0], text=""),))


def test_a_reply_without_a_word_comes_with_one_on_what_to_do(serve):
    service = serve(Silent(ScriptedAsking.NEVER, words_per_s=0.0))
    chat = service.new_conversation()
    service.say(chat.id, "Why is the sky blue?")
    service.drain()
    assert service.view(chat.id).notices == (SAID_NOTHING,)
    assert texts(service, chat)[1:] == [""]


def test_a_message_is_stored_before_the_model_is_called(serve, world):
    maker = GatedReplyMaker()
    service = serve(maker)
    chat = service.new_conversation()
    service.say(chat.id, "Count to 3")
    assert maker.begun.wait(5)
    assert [turn.message.content for turn in world.log.path(chat.id)] == ["Count to 3"]
    maker.gate.set()


def test_a_crash_before_the_reply_shows_as_interrupted_and_retry_writes_it(serve, world):
    chat = world.log.start()
    world.log.say(chat.id, "Count to 3")  # all that a server killed here leaves behind
    service = serve(scripted())
    view = service.view(chat.id)
    assert view.interrupted and not view.running and view.failed is None
    service.retry(chat.id)
    service.drain()
    view = service.view(chat.id)
    assert not view.interrupted
    assert [turn.message.role for turn in view.turns] == [Role.USER, Role.ASSISTANT]


def test_two_watchers_see_the_same_reply_to_its_end(serve):
    maker = GatedReplyMaker()
    service = serve(maker)
    chat = service.new_conversation()
    service.say(chat.id, "Count to 50")
    with ThreadPoolExecutor(2) as pool:
        watching = [pool.submit(lambda: list(service.watch(chat.id))) for _ in range(2)]
        assert maker.begun.wait(5)
        maker.gate.set()
        for drafts in (one.result(10) for one in watching):
            assert drafts[-1].stage is Stage.DONE
            assert drafts[-1].texts == (texts(service, chat)[1],)
    assert list(service.watch(chat.id)) == []


def test_a_slow_watcher_gets_the_newest_draft_and_not_a_backlog():
    job = ReplyJob(ConversationId(1), TurnId(1), seed=0)
    watching = job.watch()
    assert next(watching).stage is Stage.WAITING
    for number in range(1000):
        job.emit(Draft(stage=Stage.STREAMING, texts=(str(number),)))
    assert next(watching).texts == ("999",)
    job.finish()
    assert [draft.stage for draft in watching] == [Stage.DONE]


def test_a_watcher_that_goes_away_leaves_the_reply_alone(serve):
    maker = GatedReplyMaker()
    service = serve(maker)
    chat = service.new_conversation()
    service.say(chat.id, "Count to 3")
    watching = service.watch(chat.id)
    next(watching)
    watching.close()
    maker.gate.set()
    service.drain()
    assert len(service.view(chat.id).turns) == 2


def test_a_message_while_a_reply_is_written_is_refused_and_not_stored(serve):
    maker = GatedReplyMaker()
    service = serve(maker)
    chat = service.new_conversation()
    service.say(chat.id, "Count to 3")
    with pytest.raises(ChatError, match="still being written"):
        service.say(chat.id, "and now?")
    with pytest.raises(ChatError, match="still being written"):
        service.retry(chat.id)
    assert texts(service, chat) == ["Count to 3"]
    maker.gate.set()


def test_of_messages_said_at_once_one_is_taken_and_the_others_are_refused(serve):
    maker = GatedReplyMaker()
    service = serve(maker)
    chat = service.new_conversation()

    def say(number):
        try:
            service.say(chat.id, f"Count to {number}")
        except ChatError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(say, range(8)))
    assert taken.count(True) == 1
    assert len(texts(service, chat)) == 1
    maker.gate.set()


def test_another_conversation_waits_for_its_turn(serve):
    maker = GatedReplyMaker()
    service = serve(maker)
    one, two = service.new_conversation(), service.new_conversation()
    service.say(one.id, "Count to 3")
    assert maker.begun.wait(5)
    service.say(two.id, "Count to 4")
    assert next(service.watch(two.id)).stage is Stage.WAITING
    maker.gate.set()
    service.drain()
    assert [len(texts(service, chat)) for chat in (one, two)] == [2, 2]


def test_stop_keeps_the_text_so_far_and_marks_it(serve):
    service = serve(SlowReplyMaker())
    chat = service.new_conversation()
    service.say(chat.id, "Count to 2000")
    for draft in service.watch(chat.id):
        if draft.texts and draft.texts[0]:
            service.stop(chat.id)
    reply = service.view(chat.id).turns[-1]
    assert reply.state is TurnState.ABORTED
    assert 0 < len(reply.message.content.split()) < 2000


def test_stop_before_any_text_leaves_a_message_to_retry(serve):
    maker = GatedReplyMaker()
    service = serve(maker)
    chat = service.new_conversation()
    service.say(chat.id, "Count to 3")
    assert maker.begun.wait(5)
    service.stop(chat.id)
    service.drain()
    assert service.view(chat.id).interrupted


def test_stop_while_waiting_frees_the_conversation_at_once(serve):
    maker = GatedReplyMaker()
    service = serve(maker)
    one, two = service.new_conversation(), service.new_conversation()
    service.say(one.id, "Count to 3")
    assert maker.begun.wait(5)
    service.say(two.id, "Count to 4")
    service.stop(two.id)
    assert service.view(two.id).interrupted
    maker.gate.set()
    service.drain()
    assert len(texts(service, two)) == 1


def test_stop_without_a_reply_does_nothing(serve):
    service = serve(scripted())
    service.stop(service.new_conversation().id)


def test_retry_writes_a_sibling_and_keeps_the_reply_before(serve, world):
    service = serve(scripted())
    chat = service.new_conversation()
    service.say(chat.id, "Why is the sky blue?")
    service.drain()
    before = service.view(chat.id).turns[-1]
    service.retry(chat.id)
    service.drain()
    after = service.view(chat.id).turns[-1]
    assert after.id != before.id and after.parent_id == before.parent_id
    assert before.id in [turn.id for turn in world.log.siblings(after.id)]


def test_retry_needs_a_message(serve):
    service = serve(scripted())
    with pytest.raises(ChatError, match="no message"):
        service.retry(service.new_conversation().id)


def test_a_failed_reply_says_so_and_the_chat_goes_on(serve):
    maker = FailingReplyMaker(RuntimeError("out of memory"))
    service = serve(maker)
    chat = service.new_conversation()
    service.say(chat.id, "Count to 3")
    service.drain()
    view = service.view(chat.id)
    assert view.interrupted and view.failed.startswith("This reply failed.")
    assert "out of memory" not in view.failed  # a person can do nothing with it; the log has it
    maker.error = None
    service.retry(chat.id)
    service.drain()
    view = service.view(chat.id)
    assert view.failed is None and len(view.turns) == 2


def test_a_failure_with_a_sentence_is_told_in_its_own_words(serve):
    service = serve(FailingReplyMaker(PromptTooLongError("Your message is too long for me.")))
    chat = service.new_conversation()
    service.say(chat.id, "Count to 3")
    service.drain()
    assert "Your message is too long for me." in service.view(chat.id).failed


def test_a_broken_version_hands_over_to_its_ancestor_with_a_notice(serve, world):
    world.learn([world.pick()])
    assert world.policies.current().id == 1
    service = serve(BaseOnlyReplyMaker())
    chat = service.new_conversation()
    service.say(chat.id, "Count to 3")
    service.drain()
    view = service.view(chat.id)
    assert view.turns[-1].message.role is Role.ASSISTANT
    assert world.policies.current().id == BASE_VERSION
    assert any("Version 1 could not be loaded" in notice for notice in view.notices)
    with pytest.raises(ChatError, match="rejected"):
        service.roll_back(1)


@pytest.mark.parametrize(
    "cause",
    [
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.EIO, "Input/output error"),
        MemoryError("Cannot allocate memory"),
    ],
)
def test_what_the_system_refuses_for_now_bans_no_version(serve, world, cause):
    for _ in range(3):
        world.learn([world.pick()])
    service = serve(BaseOnlyReplyMaker(cause))
    chat = service.new_conversation()
    service.say(chat.id, "Count to 3")
    service.drain()
    view = service.view(chat.id)
    assert view.turns[-1].message.role is Role.ASSISTANT
    assert world.policies.current().id == BASE_VERSION
    assert world.policies.servable() == [0, 1, 2, 3]
    assert "Version 3 cannot be loaded just now, so version 2 speaks" in view.notices[0]
    assert "Models page" in view.notices[0]
    service.roll_back(3)
    assert world.policies.current().id == 3


def test_a_version_whose_folder_is_away_steps_aside_until_it_is_back(serve, world):
    for _ in range(2):
        world.learn([world.pick()])
    folder, away = world.folder.rounds / "r000002", world.folder.root / "away"
    folder.rename(away)
    service = serve(BaseOnlyReplyMaker(FileNotFoundError(errno.ENOENT, "No such file")))
    chat = service.new_conversation()
    service.say(chat.id, "Count to 3")
    service.drain()
    assert service.view(chat.id).turns[-1].message.role is Role.ASSISTANT
    assert world.policies.servable() == [0, 1, 2]
    with pytest.raises(ChatError, match="put it back"):
        service.roll_back(2)
    away.rename(folder)
    service.roll_back(2)
    assert world.policies.current().id == 2


def test_a_file_that_is_missing_from_a_folder_is_no_refusal_of_the_system(serve, world):
    for _ in range(2):
        world.learn([world.pick()])
    (world.folder.rounds / "r000002" / WEIGHTS).unlink()
    service = serve(BaseOnlyReplyMaker(FileNotFoundError(errno.ENOENT, "No such file")))
    chat = service.new_conversation()
    service.say(chat.id, "Count to 3")
    service.drain()
    assert world.policies.servable() == [0, 1]


class ForgottenMeanwhile(ScriptedReplyMaker):
    """The person forgets what version 3 learned while it is loaded, so its files are gone."""

    def __init__(self, forget) -> None:
        super().__init__(ScriptedAsking.NEVER, words_per_s=0.0)
        self._forget = forget

    def reply(self, prompt, version, seed, emit, cancel, **wishes):
        if version.id == 3:
            self._forget()
            raise AdapterLoadError("no files", version=3) from FileNotFoundError("no files")
        return super().reply(prompt, version, seed, emit, cancel, **wishes)


def test_a_version_that_is_forgotten_as_a_reply_begins_hands_over(serve, world):
    for _ in range(2):
        world.learn([world.pick()])
    pair = world.ask()
    world.learn([world.answer(pair).preference_id])
    forgetting = Forgetting(world.store, world.policies, world.log)
    service = serve(ForgottenMeanwhile(lambda: forgetting.forget([pair.id], reason="asked")))
    chat = service.new_conversation()
    service.say(chat.id, "Count to 3")
    service.drain()
    view = service.view(chat.id)
    assert (view.failed, view.notices) == (None, ())
    assert view.turns[-1].message.role is Role.ASSISTANT
    assert world.policies.current().id == 2


def test_left_out_messages_are_told(serve):
    service = serve(ForgetfulReplyMaker())
    chat = service.new_conversation()
    service.say(chat.id, "Count to 3")
    service.drain()
    assert "The 4 oldest messages" in service.view(chat.id).notices[0]


@pytest.mark.parametrize("text", ["", "   ", "\n\t ", "\x00", " \x00\x01 "])
def test_a_message_without_words_is_refused(serve, text):
    service = serve(scripted())
    chat = service.new_conversation()
    with pytest.raises(ChatError, match="empty"):
        service.say(chat.id, text)
    assert texts(service, chat) == []


def test_a_message_that_is_too_long_is_refused_with_both_numbers(serve):
    service = serve(scripted())
    chat = service.new_conversation()
    with pytest.raises(ChatError, match=r"100,000 characters; at most 8,000"):
        service.say(chat.id, "x" * 100_000)
    service.say(chat.id, "x" * 8000)


@pytest.mark.parametrize(
    "text",
    ["half a pair \ud83d", "nul \x00 inside", "<script>alert(1)</script>", "\u202eright to left"],
)
def test_odd_text_is_taken_and_answered(serve, text):
    service = serve(scripted())
    chat = service.new_conversation()
    service.say(chat.id, text)
    service.drain()
    assert len(texts(service, chat)) == 2
    texts(service, chat)[0].encode()  # nothing that cannot be written down is kept


def test_a_full_disk_refuses_the_message_and_nothing_is_half_done(serve, world, monkeypatch):
    service = serve(scripted())
    chat = service.new_conversation()

    def full(*_):
        raise DiskFullError("The disk is full: your message was not saved.")

    monkeypatch.setattr(world.log, "say", full)
    with pytest.raises(ChatError, match="disk is full"):
        service.say(chat.id, "Count to 3")
    assert not service.view(chat.id).running
    monkeypatch.undo()
    service.say(chat.id, "Count to 3")


def test_an_unknown_key_is_a_sentence(serve):
    with pytest.raises(ChatError, match="not on this computer"):
        serve(scripted()).conversation("nobody")


def test_the_same_seed_writes_the_same_replies(tmp_path):
    def run(folder, seed):
        world = World.open(folder)
        config = ServiceConfig(model_name="a script", collect_every_s=0, seed=seed)
        service = ChatService(logs_of(world), scripted(), config, no_learner)
        chat = service.new_conversation()
        for text in ("Why is the sky blue?", "Three ideas for a rainy day", "a neighbour's note"):
            service.say(chat.id, text)
            service.drain()
        said = texts(service, chat)
        service.close()
        world.store.close()
        return said

    assert run(tmp_path / "a", 7) == run(tmp_path / "b", 7) != run(tmp_path / "c", 8)


def test_close_keeps_what_is_half_written(world):
    service = ChatService(logs_of(world), SlowReplyMaker(), CONFIG, no_learner)
    chat = service.new_conversation()
    service.say(chat.id, "Count to 2000")
    next(draft for draft in service.watch(chat.id) if draft.texts)
    service.close()
    assert world.log.path(chat.id)[-1].state is TurnState.ABORTED


def test_a_waiting_message_makes_the_unseen_candidates_end_early(serve, world):
    maker = HurriedReplyMaker()
    service = serve(maker)
    one, two = service.new_conversation(), service.new_conversation()
    service.say(one.id, "Count to 3")
    assert maker.finishing.wait(5)
    service.say(two.id, "Count to 3")
    service.drain()
    assert maker.hurried == [True, False]
