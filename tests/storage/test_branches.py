"""Branches: nothing is overwritten, and every one of them can be shown again."""

import pytest

from storage.branches import BranchLog
from storage.errors import UnknownTurnError
from tests.storage.builders import World, completion


@pytest.fixture
def branches(world: World) -> BranchLog:
    return BranchLog(world.store)


def shown(world, chat):
    return [turn.message.content for turn in world.log.path(chat.id)]


def test_a_message_said_instead_is_a_branch_of_its_own(world, branches):
    chat = world.start()
    first = world.log.say(chat.id, "one")
    world.log.reply(first.id, completion("reply to one"))
    world.log.say(chat.id, "two")
    other = branches.say_instead(first.id, "uno")
    world.log.reply(other.id, completion("reply to uno"))
    assert shown(world, chat) == ["uno", "reply to uno"]
    ends = branches.branches(chat.id)
    assert len(ends) == 2 and ends[1] == other.id
    branches.show(ends[0])
    assert shown(world, chat) == ["one", "reply to one", "two"]
    branches.show(ends[1])
    assert shown(world, chat) == ["uno", "reply to uno"]


def test_a_message_in_the_middle_can_be_said_anew(world, branches):
    chat = world.start()
    first = world.log.say(chat.id, "one")
    world.log.reply(first.id, completion("reply"))
    second = world.log.say(chat.id, "two")
    branches.say_instead(second.id, "zwei")
    assert shown(world, chat) == ["one", "reply", "zwei"]
    assert len(branches.branches(chat.id)) == 2


def test_replies_are_siblings_and_no_branches(world, branches):
    chat = world.start()
    prompt = world.log.say(chat.id, "one")
    one = world.log.reply(prompt.id, completion("a"))
    two = world.log.reply(prompt.id, completion("b"))
    assert branches.branches(chat.id) == [prompt.id]
    assert branches.replies_to(prompt.id) == [one.id, two.id]
    branches.show(one.id)
    assert shown(world, chat) == ["one", "a"]
    world.log.say(chat.id, "two")
    branches.show(two.id)
    branches.show(one.id)  # what was said after it comes with it
    assert shown(world, chat) == ["one", "a", "two"]


def test_only_what_is_there_can_be_shown_or_said_anew(world, branches):
    prompt = world.prompt()
    reply = world.log.reply(prompt.id, completion())
    with pytest.raises(UnknownTurnError, match="not one of yours"):
        branches.say_instead(reply.id, "text")
    world.log.erase(prompt.conversation_id)
    with pytest.raises(UnknownTurnError):
        branches.show(reply.id)
    with pytest.raises(UnknownTurnError):
        branches.say_instead(prompt.id, "text")
