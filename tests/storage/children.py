"""What the spawned children of these tests do. Importable, as spawn needs it."""

import os
import signal
from collections.abc import Sequence
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
