"""What the spawned children of these tests do. Importable, as spawn needs it."""

import os
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

from tests.storage.builders import World


def open_together(roots: Sequence[Path], barrier: Barrier) -> None:
    """Open each folder at the same moment as the others do, and say something in it."""
    for root in roots:
        barrier.wait()
        world = World.open(root)
        world.log.say(world.log.start().id, "here")
        world.store.close()


def say_and_die(root: Path, text: str) -> None:
    world = World.open(root)
    world.log.say(world.log.start().id, text)
    os.kill(os.getpid(), signal.SIGKILL)


def answer_for_ever(root: Path, acknowledge: Connection) -> None:
    """Ask and answer; send a pair's token with "?" once it is asked and "!" once it is answered.

    What is sent goes out in one write after COMMIT returned, as a page is told "saved".
    """
    world = World.open(root)
    while True:
        comparison = world.ask()
        acknowledge.send_bytes(b"?" + comparison.token.encode())
        world.answer(comparison)
        acknowledge.send_bytes(b"!" + comparison.token.encode())


def learn_for_ever(root: Path, acknowledge: Connection) -> None:
    """Pick, leave a round and collect it; send its number once it serves."""
    world = World.open(root)
    while True:
        report = world.learn([world.pick()])
        acknowledge.send_bytes(str(report.number).encode())
