"""Reply makers for tests: the scripted one, and some that wait, fail or cannot load a version."""

from dataclasses import replace
from threading import Event

from learner.engine.scripted import ScriptedAsking, ScriptedReplyMaker
from learner.errors import AdapterLoadError
from storage.records import BASE_VERSION


def scripted(asking: ScriptedAsking = ScriptedAsking.NEVER) -> ScriptedReplyMaker:
    return ScriptedReplyMaker(asking, words_per_s=0.0)


class GatedReplyMaker(ScriptedReplyMaker):
    """Starts each reply only when ``gate`` is open; ``begun`` tells that it waits."""

    def __init__(self, asking: ScriptedAsking = ScriptedAsking.NEVER) -> None:
        super().__init__(asking, words_per_s=0.0)
        self.gate = Event()
        self.begun = Event()
        self.refits = []
        self.thumbs = []
        self.orders = []

    def reply(self, prompt, version, seed, emit, cancel, **wishes):
        self._wait(cancel)
        return super().reply(prompt, version, seed, emit, cancel, **wishes)

    def go_on(self, prompt, begun, version, seed, emit, cancel):
        self._wait(cancel)
        return super().go_on(prompt, begun, version, seed, emit, cancel)

    def _wait(self, cancel):
        self.begun.set()
        while not (self.gate.is_set() or cancel.is_set()):
            self.gate.wait(0.01)

    def refit(self, preferences, rated=(), rankings=()):
        self.refits.append([one.choice for one in preferences])
        self.thumbs.append([one.thumb for one in rated])
        self.orders.append([one.orders for one in rankings])
        return super().refit(preferences)


class HeldReplyMaker(ScriptedReplyMaker):
    """Writes ``words`` words of a reply and waits for ``go`` before the rest comes at once."""

    def __init__(self, asking: ScriptedAsking = ScriptedAsking.NEVER, words: int = 20) -> None:
        super().__init__(asking, words_per_s=120.0)
        self.go = Event()
        self._words = self._left = words

    def reply(self, prompt, version, seed, emit, cancel, **wishes):
        self._left = self._words
        return super().reply(prompt, version, seed, emit, cancel, **wishes)

    def allow(self, words):
        """Let it write so many words more."""
        self._left = words

    def _pause(self, cancel):
        if self.go.is_set():
            return
        super()._pause(cancel)
        self._left -= 1
        while self._left < 0 and not (self.go.is_set() or cancel.is_set()):
            self.go.wait(0.02)


class FailingReplyMaker(ScriptedReplyMaker):
    """Fails while ``error`` is set."""

    def __init__(self, error: Exception) -> None:
        super().__init__(ScriptedAsking.NEVER, words_per_s=0.0)
        self.error: Exception | None = error

    def reply(self, prompt, version, seed, emit, cancel, **wishes):
        if self.error is not None:
            raise self.error
        return super().reply(prompt, version, seed, emit, cancel, **wishes)

    def go_on(self, prompt, begun, version, seed, emit, cancel):
        if self.error is not None:
            raise self.error
        return super().go_on(prompt, begun, version, seed, emit, cancel)


class BaseOnlyReplyMaker(ScriptedReplyMaker):
    """Can load no adapter at all; ``cause`` is what the system says to it, if anything."""

    def __init__(self, cause: Exception | None = None) -> None:
        super().__init__(ScriptedAsking.NEVER, words_per_s=0.0)
        self._cause = cause

    def reply(self, prompt, version, seed, emit, cancel, **wishes):
        if version.id != BASE_VERSION:
            told = f"the adapter of version {version.id} has no weights"
            raise AdapterLoadError(told) from self._cause
        return super().reply(prompt, version, seed, emit, cancel, **wishes)


class PreparedReplyMaker(ScriptedReplyMaker):
    """Remembers what it was to prepare, and fails at it if told to."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__(ScriptedAsking.NEVER, words_per_s=0.0)
        self.prepared = []
        self._error = error

    def prepare(self, version, prompt, hurry):
        if self._error is not None:
            raise self._error
        self.prepared.append((version.id, [message.content for message in prompt]))


class SlowReplyMaker(ScriptedReplyMaker):
    """200 words a second: slow enough to be stopped on the way."""

    def __init__(self) -> None:
        super().__init__(ScriptedAsking.NEVER, words_per_s=200.0)


class ForgetfulReplyMaker(ScriptedReplyMaker):
    """Says that four messages no longer fitted."""

    def __init__(self) -> None:
        super().__init__(ScriptedAsking.NEVER, words_per_s=0.0)

    def reply(self, prompt, version, seed, emit, cancel, **wishes):
        plan = super().reply(prompt, version, seed, emit, cancel, **wishes)
        return replace(plan, dropped_messages=4)


class HurriedReplyMaker(ScriptedReplyMaker):
    """Finishes its unseen candidates until somebody waits, or for a moment; notes which it was."""

    def __init__(self) -> None:
        super().__init__(ScriptedAsking.NEVER, words_per_s=0.0)
        self.finishing = Event()
        self.hurried = []

    def reply(self, prompt, version, seed, emit, cancel, **wishes):
        plan = super().reply(prompt, version, seed, emit, cancel, **wishes)
        return replace(plan, finish_others=self._finish)

    def _finish(self, hurry):
        self.finishing.set()
        self.hurried.append(hurry.wait(0.05 if self.hurried else 5))
        return ()
