"""A file is read between the replies, ends with the server, and no bad value stops the rest."""

import json
import time
from pathlib import Path
from threading import Event, Thread

import pytest

from chat_app.importing import Importing, ImportProgress
from chat_app.service import ChatService
from learner.engine.scripted import ScriptedAsking, ScriptedReplyMaker
from learner.errors import PromptTooLongError
from storage.errors import DiskFullError
from storage.imports import ImportLog
from tests.keys import teaching_key
from tests.storage.builders import World


class GatedReader(ScriptedReplyMaker):
    """Reads each text of a file only when it is let, and fails at what ``fails`` names."""

    def __init__(self, fails: dict[str, Exception] | None = None) -> None:
        super().__init__(ScriptedAsking.NEVER, words_per_s=0.0)
        self.gate = Event()
        self.begun = Event()
        self.read: list[str] = []
        self._fails = fails or {}

    def written(self, prompt, text, version):
        self.begun.set()
        assert self.gate.wait(10)
        self.read.append(text)
        if text in self._fails:
            raise self._fails[text]
        return super().written(prompt, text, version)

    def reply(self, prompt, version, seed, emit, cancel, **wishes):
        self.read.append("a reply of the chat")
        return super().reply(prompt, version, seed, emit, cancel, **wishes)


def importing_of(world: World, service: ChatService, replies: ScriptedReplyMaker) -> Importing:
    return Importing(
        imports=ImportLog(world.store, new_key=teaching_key),
        policies=world.policies,
        replies=replies,
        on_model=service.on_model,
        refit=service.refit_soon,
    )


def begin(importing: Importing, folder: Path, lines: int) -> None:
    file = folder / "picks.jsonl"
    pairs = ({"prompt": f"q{n}", "chosen": f"g{n}", "rejected": f"b{n}"} for n in range(lines))
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    importing.start(importing.preview(file, file.name).key)


def is_closing(service: ChatService) -> bool:
    try:
        service.on_model(lambda: None)
    except RuntimeError:
        return True
    return False


def progress_of(importing: Importing) -> ImportProgress:
    progress = importing.progress()
    assert progress is not None
    return progress


def test_a_reply_is_written_between_two_lines(serve, world: World, tmp_path: Path) -> None:
    replies = GatedReader()
    service = serve(replies)
    importing = importing_of(world, service, replies)
    begin(importing, tmp_path, lines=5)
    assert replies.begun.wait(5)
    service.say(service.new_conversation().id, "hello")
    replies.gate.set()
    service.drain()
    assert replies.read.index("a reply of the chat") == 2  # after the pair that was being read
    progress = progress_of(importing)
    assert (progress.done, progress.added, progress.running) == (5, 5, False)


def test_the_end_of_the_server_ends_an_import_and_what_was_read_stays(
    serve, world: World, tmp_path: Path
) -> None:
    replies = GatedReader()
    service = serve(replies)
    importing = importing_of(world, service, replies)
    begin(importing, tmp_path, lines=50)
    assert replies.begun.wait(5)
    closing = Thread(target=service.close)
    closing.start()
    while not is_closing(service):  # it waits for the pair that is being read
        time.sleep(0.01)
    replies.gate.set()
    closing.join()
    progress = progress_of(importing)
    assert progress.done == progress.added == len(world.feedback.preferences()) == 1
    assert not progress.running and progress.error == "twofold is ending."
    begin(importing, tmp_path, lines=50)
    assert progress_of(importing).error == "twofold is ending."


@pytest.mark.parametrize("error", [PromptTooLongError("too long"), OverflowError("too large")])
def test_a_line_that_fails_is_counted_and_the_others_are_taken_in(
    serve, world: World, tmp_path: Path, caplog, error: Exception
) -> None:
    replies = GatedReader({"g1": error})
    service = serve(replies)
    importing = importing_of(world, service, replies)
    replies.gate.set()
    begin(importing, tmp_path, lines=3)
    service.drain()
    progress = progress_of(importing)
    assert (progress.done, progress.added, progress.failed) == (3, 2, 1)
    assert "Line 2 of picks.jsonl" in caplog.text and str(error) in caplog.text
    begin(importing, tmp_path, lines=4)  # nothing is in the way of the next one
    service.drain()
    assert progress_of(importing).added == 1


def test_a_disk_that_refuses_stops_the_rest(serve, world: World, tmp_path: Path) -> None:
    replies = GatedReader({"g1": DiskFullError("The disk is full.")})
    service = serve(replies)
    importing = importing_of(world, service, replies)
    replies.gate.set()
    begin(importing, tmp_path, lines=3)
    service.drain()
    progress = progress_of(importing)
    assert (progress.done, progress.added, progress.error) == (2, 1, "The disk is full.")
    assert not progress.running and "g2" not in replies.read
