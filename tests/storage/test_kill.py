"""kill -9 at any moment: what was acknowledged is there, nothing is there twice or by half.

More kills before a release: ``KILLS=1000 pytest tests/storage/test_kill.py``.
"""

import os
import random
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path

import pytest

from storage import rounds
from storage.records import BASE_VERSION, Choice
from storage.sqlite import fetch
from tests.storage.builders import World
from tests.storage.children import answer_for_ever, learn_for_ever

KILLS = int(os.environ.get("KILLS", "20"))

# A kill takes a tenth of a second; on a machine that is busy otherwise, many times that.
pytestmark = pytest.mark.timeout(60 + 20 * KILLS)


def killed(
    processes: BaseContext, target: Callable[[Path, Connection], None], root: Path, after_s: float
) -> list[bytes]:
    """Start a child, kill it ``after_s`` seconds after its first word; return all its words."""
    listener, speaker = processes.Pipe(duplex=False)
    child = processes.Process(target=target, args=(root, speaker))
    child.start()
    speaker.close()
    said = [listener.recv_bytes()]
    time.sleep(after_s)
    child.kill()
    child.join()
    with listener:
        while True:
            try:
                said.append(listener.recv_bytes())
            except EOFError:
                return said


def test_every_acknowledged_answer_survives_and_a_retry_doubles_none(
    processes: BaseContext, root: Path
) -> None:
    dice = random.Random(7)  # noqa: S311 - not for secrets
    asked: set[str] = set()
    saved: set[str] = set()
    for _ in range(KILLS):
        said = killed(processes, answer_for_ever, root, dice.uniform(0, 0.05))
        asked |= {word[1:].decode() for word in said if word.startswith(b"?")}
        saved |= {word[1:].decode() for word in said if word.startswith(b"!")}
        with (world := World.open(root)).store:
            answered = {one.comparison.token for one in world.feedback.preferences()}
            assert saved <= answered
            assert_whole(world)
            for token in asked - saved:  # the page has no receipt, so it sends the choice again
                comparison = world.feedback.comparison(token)
                assert world.answer(comparison, Choice.FIRST).already_saved == (token in answered)
            saved |= asked
            assert_whole(world)
    with (world := World.open(root)).store:
        assert len(world.feedback.preferences()) == len(saved)
    assert len(saved) >= KILLS  # each child got to work


def assert_whole(world: World) -> None:
    """No answer without the reply it went on with, no pair with one candidate, a whole chain."""
    world.feedback.verify_chain()
    db = world.store.read()
    [(answers, shown, pairs, candidates, cached)] = fetch(
        db,
        """
        SELECT (SELECT count(*) FROM preferences),
               (SELECT count(*) FROM turns WHERE role = 'assistant'),
               (SELECT count(*) FROM comparisons),
               (SELECT count(*) FROM candidates),
               (SELECT count(*) FROM candidate_cache)
        """,
    )
    assert answers == shown
    assert 2 * pairs == candidates == cached


def test_a_learner_or_app_that_is_killed_loses_at_most_the_round_in_progress(
    processes: BaseContext, root: Path
) -> None:
    dice = random.Random(8)  # noqa: S311 - not for secrets
    served = 0
    for _ in range(KILLS // 2):
        said = killed(processes, learn_for_ever, root, dice.uniform(0, 0.1))
        with (world := World.open(root)).store:
            rounds.sweep(world.policies)
            live = world.policies.current()
            assert live.id >= max(int(word) for word in said) > served
            served = live.id
            world.policies.verify(live.id)
            assert not list(world.folder.rounds.glob(".tmp-*"))
            assert world.policies.waiting() == {}
            assert world.policies.lineage()[-1] == BASE_VERSION
            learned = [
                pick for report in world.policies.rounds_log() for pick in report.preference_ids
            ]
            waiting = [one.id for one in world.feedback.unlearned()]
            assert len(set(learned)) == len(learned)  # all on one lineage: once each
            assert sorted(learned + waiting) == [one.id for one in world.feedback.preferences()]
            assert len(waiting) <= KILLS // 2  # a pick whose round was cut off waits for another
