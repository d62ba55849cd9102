"""The ranking desk: answers are written, shuffled, kept, put in order, taken back."""

from threading import Event

import pytest

from chat_app.errors import ChatError
from chat_app.ranking import TOO_ALIKE
from learner.engine.scripted import ScriptedReplyMaker
from learner.errors import AdapterLoadError
from storage.imports import ImportedRanking, ImportLog
from storage.records import Message, Purpose, Role
from storage.slates import Criterion, Orders, RankingState
from tests.chat_app.makers import GatedReplyMaker, scripted
from tests.storage.builders import World, completion

SKY = "Why is the sky blue?"


class HeldReplyMaker(ScriptedReplyMaker):
    """Writes several answers only when ``gate`` is open; ``begun`` tells that it waits."""

    def __init__(self) -> None:
        super().__init__(words_per_s=0.0)
        self.gate, self.begun, self.wanted = Event(), Event(), []

    def several(self, prompt, version, n, seed, emit, cancel):
        self.wanted.append(n)
        self.begun.set()
        while not (self.gate.is_set() or cancel.is_set()):
            self.gate.wait(0.01)
        return super().several(prompt, version, n, seed, emit, cancel)


class SameReplyMaker(ScriptedReplyMaker):
    """Says one thing, whatever is wanted, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__(words_per_s=0.0)
        self.error = error

    def several(self, prompt, version, n, seed, emit, cancel):
        if self.error:
            raise self.error
        return super().several(prompt, version, n, seed, emit, cancel)[:1]


def order(*overall: int, **criteria) -> Orders:
    return Orders(overall=overall, criteria={Criterion(k): v for k, v in criteria.items()})


def written(service, answers=4, text=SKY):
    service.ranking.begin(text, answers)
    service.drain()
    return service.ranking.view().slate


def test_answers_are_written_and_ranked(serve, world: World) -> None:
    service = serve(scripted())
    slate = written(service, 9)
    texts = [one.completion.text for one in slate.answers]
    assert len(set(texts)) == 9 and slate.prompt[-1].content == SKY
    chat = service._logs.conversations.get(slate.conversation_id)
    assert chat.purpose is Purpose.RANKING and service.shelf.list() == []
    receipt = service.ranking.save(slate.token, order(*range(1, 10)))
    assert receipt.state is RankingState.RANKED
    view = service.ranking.view()
    assert (view.slate, view.ranking) == (None, None)
    assert service.ranking.view(slate.token).ranking.orders == order(*range(1, 10))
    assert service.ranking.counts().pairs == 36
    world.feedback.verify_chain()


def test_no_place_is_preferred(serve, world: World) -> None:
    service = serve(scripted())
    firsts = {
        written(service, text=f"The sky, {number}?").answers[0].completion.text
        for number in range(8)
    }
    assert len(firsts) > 1
    places = set()
    for _ in range(8):  # what was shown in the chat may stand anywhere
        turn = world.log.say(service.new_conversation().id, SKY)
        shown = world.log.reply(turn.id, completion("it is, is it?")).candidate_id
        service.ranking.begin_more(turn.conversation_id, turn.id, 3)
        service.drain()
        slate = service.ranking.view().slate
        places.add([one.id for one in slate.answers].index(shown))
    assert len(places) > 1


def test_a_restart_finds_the_slate_that_waits(serve) -> None:
    slate = written(serve(scripted()))
    assert serve(scripted()).ranking.view().slate == slate


def test_saving_again_changes_and_undo_takes_back(serve) -> None:
    service = serve(scripted())
    slate = written(service, 2)
    service.ranking.save(slate.token, order(1, 2))
    service.ranking.save(slate.token, order(2, 1, honesty=(1, 1)))
    [ranking] = service.ranking.list()
    assert ranking.orders == order(2, 1, honesty=(1, 1))
    service.ranking.undo(slate.token)
    assert service.ranking.view(slate.token).ranking.state is RankingState.WITHDRAWN
    service.ranking.save(slate.token, order(1, 2))
    assert service.ranking.counts().ranked == 1
    other = written(service, 2)
    service.ranking.skip(other.token)
    assert service.ranking.view().slate is None
    assert service.ranking.counts().skipped == 1
    with pytest.raises(ChatError, match="have changed"):
        service.ranking.save(other.token, order(1, 2, 3))


def test_one_slate_is_written_at_a_time_and_can_be_stopped(serve, world: World) -> None:
    replies = HeldReplyMaker()
    service = serve(replies)
    service.ranking.begin(SKY, 3)
    assert replies.begun.wait(10)
    assert service.ranking.view().writing.answers == 3
    with pytest.raises(ChatError, match="already"):
        service.ranking.begin(SKY, 3)
    service.ranking.stop()
    service.drain()
    view = service.ranking.view()
    assert (view.writing, view.slate, view.failed) == (None, None, "")
    assert world.store.read().table("conversations").count == 0  # nothing is left of it


def test_the_answers_of_a_chat_are_used_and_more_are_written(serve) -> None:
    replies = HeldReplyMaker()
    replies.gate.set()
    service = serve(replies)
    chat = service.new_conversation()
    turn = service.say(chat.id, SKY)
    service.drain()
    known = {one.completion.text for one in service._logs.rankings.known_answers(turn.id)}
    assert len(known) == 4  # one was shown, the others were drafted beside it
    service.ranking.begin_more(chat.id, turn.id, 6)
    service.drain()
    slate = service.ranking.view().slate
    assert replies.wanted == [2] and slate.conversation_id == chat.id
    texts = [one.completion.text for one in slate.answers]
    assert known < set(texts) or known == set(texts)
    service.ranking.skip(slate.token)
    service.ranking.begin_more(chat.id, turn.id, 2)
    service.drain()
    assert len(service.ranking.view().slate.answers) == 2 and replies.wanted == [2]


def test_too_few_different_answers_and_failures_are_told(serve) -> None:
    service = serve(SameReplyMaker())
    service.ranking.begin(SKY, 4)
    service.drain()
    assert service.ranking.view().failed == TOO_ALIKE
    broken = serve(SameReplyMaker(AdapterLoadError("no weights")))
    broken.ranking.begin(SKY, 4)
    broken.drain()
    assert broken.ranking.view().failed == "no weights"
    for text, answers, said in (("", 4, "empty"), (SKY, 1, "2 to 9"), (SKY, 10, "2 to 9")):
        with pytest.raises(ChatError, match=said):
            service.ranking.begin(text, answers)


def test_the_judges_know_a_ranking_at_once_and_forget_it_as_fast(serve, world: World) -> None:
    replies = GatedReplyMaker()
    service = serve(replies)
    turn = world.prompt(text=SKY)  # of a chat that is not held out
    service.ranking.begin_more(turn.conversation_id, turn.id, 3)
    service.drain()
    slate = service.ranking.view().slate
    service.ranking.save(slate.token, order(1, 2, 3))
    service.drain()
    assert replies.orders[-1] == [order(1, 2, 3)]
    service.ranking.undo(slate.token)
    service.drain()
    assert replies.orders[-1] == []
    service.ranking.save(slate.token, order(3, 2, 1))
    service.ranking.forget(slate.token)
    service.drain()
    assert replies.orders[-1] == []


def test_a_forgotten_ranking_teaches_nothing(serve, world: World) -> None:
    service = serve(scripted())
    turn = world.prompt(text=SKY)  # of a chat that is not held out
    service.ranking.begin_more(turn.conversation_id, turn.id, 4)
    service.drain()
    slate = service.ranking.view().slate
    service.ranking.save(slate.token, order(1, 2, 3, 4))
    world.learn([world.pick()])
    assert service.ranking.versions_that_saw(slate.token) == [1]
    assert service.ranking.forget(slate.token).live == 0
    assert service._logs.rankings.rankings() == []


PRIVATE = "a message that nobody wants to keep"


def on_disk(world: World, text: str) -> bool:
    return any(text.encode() in file.read_bytes() for file in world.folder.root.glob("twofold.db*"))


@pytest.mark.parametrize("ranked", [True, False])
def test_a_message_is_deleted_with_its_answers_before_and_after_it_is_ranked(
    serve, world: World, ranked: bool
) -> None:
    service = serve(scripted())
    slate = written(service, 2, PRIVATE)
    if ranked:
        service.ranking.save(slate.token, order(1, 2))
    assert service.ranking.view(slate.token).deletable
    assert on_disk(world, PRIVATE)
    assert service.ranking.delete(slate.token, unlearn=False).versions == ()
    service.drain()
    assert not on_disk(world, PRIVATE)
    assert service.ranking.list() == [] and service.ranking.view().slate is None
    with pytest.raises(ChatError):
        service.ranking.delete(slate.token, unlearn=False)
    world.feedback.verify_chain()


@pytest.mark.parametrize("unlearn", [True, False])
def test_a_ranking_out_of_a_file_is_deleted_with_its_lessons_if_asked_to(
    serve, world: World, unlearn: bool
) -> None:
    service = serve(scripted())
    ImportLog(world.store).add(
        [
            ImportedRanking(
                prompt=(Message(role=Role.USER, content=PRIVATE),),
                answers=(completion("one"), completion("two")),
                orders=order(2, 1),
                token=None,
                held_out=False,
                decision_ms=0,
                row_sha256="a" * 64,
                meta_json="{}",
            )
        ]
    )
    world.learn([world.pick()])
    [ranking] = service.ranking.list()
    token = ranking.slate.token
    assert service.ranking.view(token).deletable
    assert service.ranking.versions_that_saw_answers(token) == [1]
    done = service.ranking.delete(token, unlearn=unlearn)
    assert (done.versions, done.live) == (((1,), 0) if unlearn else ((), 1))
    assert not on_disk(world, PRIVATE)


def test_a_message_of_a_chat_goes_with_its_chat_only(serve, world: World) -> None:
    service = serve(scripted())
    turn = world.prompt(text=SKY)
    service.ranking.begin_more(turn.conversation_id, turn.id, 2)
    service.drain()
    view = service.ranking.view()
    assert not view.deletable
    with pytest.raises(ChatError, match="delete the chat"):
        service.ranking.delete(view.slate.token, unlearn=False)
    assert [one.title for one in service.shelf.list()] == [SKY]
