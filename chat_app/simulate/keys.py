"""Keys that repeat: who is held out follows from the key of a chat."""

from random import Random


class TurnKeys:
    """Makes the keys of chats and questions from the seed and the turn."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = Random()  # noqa: S311 - they guard nothing here
        self.begin(0)

    def begin(self, turn: int) -> None:
        """Keys of this turn from now on, the same ones whenever it is taken."""
        self._random.seed(f"{self._seed}/{turn}")

    def __call__(self) -> str:
        return f"{self._random.getrandbits(256):064x}"
