"""What was forgotten trains nothing, and nobody who learned from it speaks."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlite_utils import Database

from storage import migrations, rounds
from storage.demonstrations import DemonstrationLog
from storage.dialogues import DialogueLog
from storage.errors import (
    NotServableError,
    UnknownComparisonError,
    UnknownConversationError,
    UnknownSlateError,
)
from storage.folder import DataFolder
from storage.forgetting import Forgetting
from storage.opinions import OpinionLog
from storage.pick_list import PickFilter, PickReader
from storage.rankings import RankingLog
from storage.records import (
    Choice,
    ComparisonId,
    ConversationId,
    PolicyVersionId,
    Purpose,
    RoundStatus,
    Thumb,
)
from storage.slates import Orders
from tests.storage.builders import World, completion, leave, write_adapter
from tests.storage.faults import WEIGHTS, flip


@pytest.fixture
def forgetting(world: World) -> Forgetting:
    return Forgetting(world.store, world.policies, world.log)


def pick(world: World):
    pair = world.ask()
    return pair, world.answer(pair).preference_id


def test_who_speaks_after_a_forgetting_is_read_in_full(world, forgetting) -> None:
    for _ in range(2):
        world.learn([pick(world)[1]])
    pair, last = pick(world)
    world.learn([last])
    flip(world.folder.rounds / "r000002" / WEIGHTS)
    done = forgetting.forget([pair.id], reason="the person asked")
    assert (done.versions, done.live) == ((3,), 1)
    assert world.policies.current().id == 1
    assert world.policies.servable() == [0, 1]


def test_the_policy_goes_back_to_the_last_version_that_had_not_seen_it(world, forgetting) -> None:
    _, one = pick(world)
    world.learn([one])
    pair, two = pick(world)
    world.learn([two])
    _, three = pick(world)
    world.learn([three])
    assert world.policies.current().id == 3
    done = forgetting.forget([pair.id], reason="the person asked")
    assert (done.versions, done.live) == ((2, 3), 1)
    assert world.policies.current().id == 1
    assert [answer.id for answer in world.feedback.preferences()] == [one, three]
    assert [answer.id for answer in world.feedback.unlearned()] == [three]  # learned anew
    for version in (2, 3):
        assert not (world.folder.rounds / f"r{version:06d}").exists()
        with pytest.raises(NotServableError):
            world.policies.activate(version, reason="please")
    assert world.policies.servable() == [0, 1]
    assert forgetting.forget([pair.id], reason="again").versions == ()
    rounds.sweep(world.policies)  # a later start finds nothing to mend
    assert world.policies.current().id == 1
    time.sleep(0.01)
    world.leave(replace(world.report([three]), seconds=0.0))  # begun after the forgetting
    rounds.collect(world.policies)
    assert world.policies.current().id == 4
    world.feedback.verify_chain()


def test_an_answer_without_a_winner_was_seen_by_the_judges_of_later_rounds(
    world, forgetting
) -> None:
    tie = world.ask()
    world.answer(tie, Choice.TIE)
    _, one = pick(world)
    world.learn([one])
    assert forgetting.versions_that_saw([tie.id]) == [1]
    assert forgetting.forget([tie.id], reason="").live == 0


def test_a_held_out_answer_was_seen_by_nobody(world, forgetting) -> None:
    pair = world.ask(world.prompt(held_out=True))
    world.answer(pair)
    _, one = pick(world)
    world.learn([one])
    assert forgetting.forget([pair.id], reason="").versions == ()
    assert world.policies.current().id == 1
    assert world.feedback.held_out() == []


def test_a_pick_of_another_branch_leaves_the_live_one_alone(world, forgetting) -> None:
    pair, one = pick(world)
    world.learn([one])
    world.policies.activate(0, reason="back")
    _, two = pick(world)
    world.learn([two])
    # Version 2 was made later, and its judges knew the pick: it is seen, too.
    assert forgetting.versions_that_saw([pair.id]) == [1, 2]


def test_a_round_that_ran_meanwhile_is_not_kept(world, forgetting) -> None:
    pair, one = pick(world)
    world.leave(world.report([one]))
    forgetting.forget([pair.id], reason="")
    [report] = rounds.collect(world.policies)
    assert report.status is RoundStatus.FAILED and "forgotten" in report.reason
    assert world.policies.versions()[-1].id == world.policies.current().id == 0
    assert left(world) == ["r000001/MANIFEST.json", "r000001/report.json"]


def left(world: World) -> list[str]:
    """The files of all rounds."""
    files = (path for path in world.folder.rounds.rglob("r0*/**/*") if path.is_file())
    return sorted(path.relative_to(world.folder.rounds).as_posix() for path in files)


def test_a_round_is_not_kept_however_long_ago_it_read_what_was_forgotten(world, forgetting) -> None:
    pair, one = pick(world)
    before = world.policies.forgotten()
    forgetting.forget([pair.id], reason="")
    time.sleep(0.01)
    report = replace(world.report([one]), seconds=0.0)
    folder = leave(world.folder.rounds, report, write_adapter, forgotten=before)
    (folder / "adapter" / "adapter_config.json").unlink()  # a kill while the adapter was deleted
    [report] = rounds.collect(world.policies)
    assert report.status is RoundStatus.FAILED
    assert left(world) == ["r000001/MANIFEST.json", "r000001/report.json"]


def test_a_start_deletes_what_a_kill_left_of_what_was_forgotten(
    world, forgetting, monkeypatch
) -> None:
    pair, one = pick(world)
    world.learn([one])

    def killed(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("storage.forgetting.delete_forgotten", killed)
    with pytest.raises(KeyboardInterrupt):
        forgetting.forget([pair.id], reason="")
    assert world.policies.current().id == 0 and left(world)
    rounds.sweep(world.policies)
    assert left(world) == []


def test_the_files_of_a_version_go_though_it_was_rejected_before(world, forgetting) -> None:
    pair, one = pick(world)
    world.learn([one])
    world.policies.reject(PolicyVersionId(1), reason="rude")
    assert forgetting.versions_that_saw([pair.id]) == []  # there is nothing left to be asked
    assert forgetting.forget([pair.id], reason="").versions == ()
    assert left(world) == []


def test_a_deleted_chat_takes_its_lessons_along_only_if_asked_to(world, forgetting) -> None:
    pair, one = pick(world)
    world.learn([one])
    other, two = pick(world)
    world.learn([two])
    done = forgetting.delete_conversation(other.conversation_id, unlearn=False)
    assert (done.versions, done.live) == ((), 2)
    done = forgetting.delete_conversation(pair.conversation_id, unlearn=True)
    assert (done.versions, done.live) == ((1, 2), 0)
    assert world.feedback.preferences() == []
    with pytest.raises(UnknownConversationError):
        forgetting.delete_conversation(pair.conversation_id, unlearn=True)


def test_what_is_not_known_is_not_forgotten(world, forgetting) -> None:
    pair, one = pick(world)
    world.learn([one])
    with pytest.raises(UnknownComparisonError):
        forgetting.forget([pair.id, ComparisonId(99)], reason="")
    assert world.policies.current().id == 1  # and nothing of the rest either


def test_a_tainted_version_is_refused_by_name(world, forgetting) -> None:
    pair, one = pick(world)
    world.learn([one])
    with world.store.write() as db:
        world.policies.ban(db, [world.policies.current().id], "tainted", "because")
    with pytest.raises(NotServableError):
        world.policies.activate(1, reason="please")
    assert pair.id


def ranked(world: World):
    rankings = RankingLog(world.store)
    pair = world.ask()
    slate = rankings.ask(pair.prompt_turn_id, [pair.first.id, pair.second.id])
    rankings.rank(slate.token, Orders(overall=(1, 2), criteria={}), decision_ms=1)
    return slate


def test_a_ranking_was_seen_by_every_version_made_after_it(world, forgetting) -> None:
    _, one = pick(world)
    world.learn([one])
    time.sleep(0.01)
    slate = ranked(world)
    assert forgetting.versions_that_saw_ranking(slate.id) == []
    _, two = pick(world)
    world.learn([two])
    assert forgetting.versions_that_saw_ranking(slate.id) == [2]
    assert forgetting.versions_that_saw_chat(slate.conversation_id) == [2]
    done = forgetting.forget_ranking(slate.id, reason="the person asked")
    assert (done.versions, done.live) == ((2,), 1)
    assert RankingLog(world.store).rankings() == []
    assert forgetting.forget_ranking(slate.id, reason="again").versions == ()
    with pytest.raises(UnknownSlateError):
        forgetting.forget_ranking(99, reason="")
    world.feedback.verify_chain()


@pytest.mark.parametrize("ranking", [True, False])
def test_a_deleted_chat_takes_its_ranking_or_its_dialogue_along(world, forgetting, ranking) -> None:
    if ranking:
        chat = ranked(world).conversation_id
    else:
        chat = world.start(purpose=Purpose.TEACHING).id
        DemonstrationLog(world.store).reply(world.log.say(chat, "hello").id, "good day")
        DialogueLog(world.store).finish(chat)
    _, one = pick(world)
    world.learn([one])
    assert forgetting.versions_that_saw_chat(chat) == [1]
    assert forgetting.delete_conversation(chat, unlearn=True).versions == (1,)
    assert DialogueLog(world.store).counts().dialogues == 0
    assert RankingLog(world.store).rankings() == []
    table = "forgotten_slates" if ranking else "forgotten_dialogues"
    assert world.store.read().table(table).count == 1


def test_a_round_that_ran_while_a_ranking_was_forgotten_is_not_kept(world, forgetting) -> None:
    slate = ranked(world)
    _, one = pick(world)
    world.leave(world.report([one]))
    forgetting.forget_ranking(slate.id, reason="")
    [report] = rounds.collect(world.policies)
    assert report.status is RoundStatus.FAILED and "forgotten" in report.reason


def thumbed(world: World, **kind: bool) -> ConversationId:
    """A chat without a choice: one reply, with a thumb that was taken back."""
    prompt = world.prompt(**kind)
    reply = world.log.reply(prompt.id, completion("private"))
    for thumb in (Thumb.DOWN, Thumb.NONE):
        OpinionLog(world.store).rate(reply.id, thumb)
    return prompt.conversation_id


def drafted(world: World, **kind: bool) -> ConversationId:
    """A chat without a choice: one reply, and a draft that nobody saw."""
    prompt = world.prompt(**kind)
    world.log.reply(prompt.id, completion("private"))
    world.log.add_candidates(prompt.id, [completion("a draft")])
    return prompt.conversation_id


def learn_elsewhere(world: World) -> None:
    """A lesson of a pick in another chat."""
    world.learn([world.pick()])
    time.sleep(0.01)


@pytest.mark.parametrize("chat", [thumbed, drafted])
def test_a_chat_without_a_choice_was_seen_by_every_version_made_after_it(
    world, forgetting, chat
) -> None:
    learn_elsewhere(world)
    one = chat(world)
    assert forgetting.versions_that_saw_chat(one) == []
    learn_elsewhere(world)
    assert forgetting.versions_that_saw_chat(one) == [2]
    done = forgetting.delete_conversation(one, unlearn=True)
    assert (done.versions, done.live) == ((2,), 1)


def edited(world: World, **kind: bool) -> ConversationId:
    """A chat whose one reply the person wrote better."""
    reply = world.log.reply(world.prompt(**kind).id, completion("private"))
    DemonstrationLog(world.store).edit(reply.id, "private and better")
    return reply.conversation_id


def test_an_edit_in_a_chat_that_never_taught_costs_no_version(world, forgetting) -> None:
    one = edited(world, learn=False)
    learn_elsewhere(world)
    [pair] = PickReader(world.store).page(PickFilter(words="better"))
    assert forgetting.versions_that_saw([pair.id]) == []
    done = forgetting.delete_conversation(one, unlearn=True)
    assert (done.versions, done.live) == ((), 1)


def test_an_edit_in_a_chat_that_taught_until_it_was_switched_off_was_seen(
    world, forgetting
) -> None:
    one = edited(world)
    learn_elsewhere(world)
    world.log.set_learn(one, False)
    [pair] = PickReader(world.store).page(PickFilter(words="better"))
    assert forgetting.versions_that_saw([pair.id]) == [1]
    assert forgetting.delete_conversation(one, unlearn=True).versions == (1,)


def test_a_chat_that_never_taught_was_seen_by_nobody(world, forgetting) -> None:
    never = ({"held_out": True}, {"learn": False})
    prompt = world.prompt()
    world.log.reply(prompt.id, completion("the only one"))
    chats = [
        prompt.conversation_id,
        *(chat(world, **kind) for chat in (thumbed, drafted) for kind in never),
        world.log.start(temporary=True).id,
    ]
    learn_elsewhere(world)
    assert [forgetting.versions_that_saw_chat(one) for one in chats] == [[]] * len(chats)


@pytest.mark.parametrize("chat", [thumbed, drafted])
def test_switching_learning_off_does_not_undo_what_was_learned(world, forgetting, chat) -> None:
    one = chat(world)
    learn_elsewhere(world)
    world.log.set_learn(one, False)
    assert forgetting.versions_that_saw_chat(one) == [1]


@pytest.mark.parametrize("chat", [thumbed, drafted])
@pytest.mark.parametrize(("seen", "unlearn", "kept"), [(0, 0, 0), (0, 1, 0), (1, 0, 1), (1, 1, 0)])
def test_a_round_that_ran_while_a_chat_was_deleted_is_kept_only_where_the_person_said_so(
    world, forgetting, chat, seen, unlearn, kept
) -> None:
    one = chat(world)
    if seen:
        learn_elsewhere(world)
    world.leave(world.report([world.pick()]))
    forgetting.delete_conversation(one, unlearn=bool(unlearn))
    [report] = rounds.collect(world.policies)
    assert (report.status is RoundStatus.ACCEPTED) == bool(kept)


def test_a_temporary_chat_that_ends_costs_no_round(world, forgetting) -> None:
    chat = world.log.start(temporary=True)
    world.leave(world.report([world.pick()]))
    forgetting.delete_conversation(chat.id, unlearn=False)
    [report] = rounds.collect(world.policies)
    assert report.status is RoundStatus.ACCEPTED


def older(root: Path) -> Database:
    """A database from before anybody noted what was taught and which files are to be gone."""
    db = Database(DataFolder(root).database)
    migrations.migrations.apply(db, stop_before="m011")
    return db


def test_of_an_older_file_every_chat_may_have_taught_that_is_not_temporary(tmp_path: Path) -> None:
    db = older(tmp_path)
    for learn, user in ((1, "local-person"), (0, "local-person"), (0, "temporary-1")):
        db.execute(
            "INSERT OR IGNORE INTO users VALUES (?, NULL, zeroblob(16), 'active', 0)", [user]
        )
        db.execute(
            """
            INSERT INTO conversations (key, user_id, learn, held_out, created_ms)
            VALUES (hex(randomblob(16)), ?, ?, 0, 0)
            """,
            [user, learn],
        )
    db.conn.commit()
    db.close()
    with (world := World.open(tmp_path)).store:
        assert list(world.store.read().table("taught_once").rows) == [{"conversation_id": 2}]


def test_of_an_older_file_the_rounds_are_known_that_learned_from_something_forgotten(
    tmp_path: Path,
) -> None:
    db = older(tmp_path)
    reasons = ["learned from a deleted chat", "r000002 was exchanged", "because"]
    for number, reason in enumerate(reasons, start=1):
        add_version(db, number, "tainted" if number < 3 else "ready", reason)
    add_round(db, 4, "failed", "Something was forgotten while it was made, so it is not kept.")
    add_round(db, 5, "failed", "r000005 lacks or adds adapter/adapter_config.json.")
    db.conn.commit()
    db.close()
    with (world := World.open(tmp_path)).store:
        assert world.policies.forgotten_rounds() == [1, 4]


def add_round(db: Database, number: int, status: str, reason: str) -> None:
    db.execute(
        "INSERT INTO rounds VALUES (?, 0, ?, 0, 'online_dpo', 0, ?, '{}', '{}', 0, ?, 0)",
        [number, status, reason, "a" * 64],
    )


def add_version(db: Database, number: int, state: str, reason: str) -> None:
    add_round(db, number, "accepted", "")
    sha = "a" * 64
    db.execute("INSERT INTO policy_versions VALUES (?, 0, ?, ?, 0)", [number, sha, sha])
    db.execute(
        "INSERT INTO version_states (version, state, reason, created_ms) VALUES (?, ?, ?, 0)",
        [number, state, reason],
    )


def test_what_was_discarded_is_deleted_with_what_is_forgotten(world, forgetting) -> None:
    """Nobody can tell what it had learned from."""
    pair, one = pick(world)
    leave(world.folder.rounds, world.report([one]), write_adapter, database="of another one")
    rounds.collect(world.policies)
    assert list((world.folder.rounds / "trash").iterdir())
    forgetting.forget([pair.id], reason="")
    assert not (world.folder.rounds / "trash").exists()
