"""What became of an answer, as the chat shows it: among all else, whether it counts."""

import pytest

from storage.demonstrations import DemonstrationLog
from storage.receipts import ReceiptReader
from tests.storage.builders import World, completion


@pytest.mark.parametrize("kind", ["taken back", "left out", "chat switched off", "counts"])
def test_an_answer_counts_unless_something_keeps_it_from_teaching(world: World, kind: str) -> None:
    asked, other = world.ask(), world.ask()
    for one in (asked, other):
        world.answer(one)
    match kind:
        case "taken back":
            world.feedback.withdraw(asked.token)
        case "left out":
            world.feedback.exclude(asked.token)
        case "chat switched off":
            world.log.set_learn(asked.conversation_id, False)
    prompts = [one.first.prompt_turn_id for one in (asked, other)]
    found, beside = ReceiptReader(world.store).of(prompts)
    assert (found.token, found.counts) == (asked.token, kind == "counts")
    assert beside.counts


def test_a_reply_in_a_persons_words_counts_once_the_model_has_read_it(world: World) -> None:
    written = DemonstrationLog(world.store)
    reply = world.log.reply(world.prompt().id, completion("theirs"))
    written.edit(reply.id, "mine")
    receipts = ReceiptReader(world.store)
    assert [one.counts for one in receipts.of([reply.parent_id])] == [False]
    [unread] = written.unread()
    written.read(unread.id, completion("mine"))
    assert [one.counts for one in receipts.of([reply.parent_id])] == [True]
