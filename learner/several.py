"""Several whole replies to one message, for a person who is to put them in order.

Equal texts are no two answers: where samples say the same, or nothing, more are drawn, up to
``TRIES`` batches in all. What is missing then is missing.
"""

from collections.abc import Sequence

from learner.protocols import Draft, Stage
from learner.viewer import Viewer
from learner.writer import Writer
from storage.records import Completion, Message

TRIES = 3


def write_several(
    writer: Writer, prompt: Sequence[Message], n: int, seed: int, viewer: Viewer
) -> list[Completion]:
    """Return up to ``n`` different replies of the loaded version; none at all on cancel.

    Batch t draws row i from ``seed + t * n + i``. Raises PromptTooLongError.
    """
    found: dict[str, Completion] = {}
    for attempt in range(TRIES):
        missing = n - len(found)
        batch = writer.start(prompt, missing, seed + attempt * n)
        while batch.running and not viewer.cancelled:
            batch.step()
            texts = tuple(batch.text(row) for row in range(missing))
            whole = (c.text for c in found.values())
            viewer.emit(Draft(stage=Stage.STREAMING, texts=(*whole, *texts)))
        if viewer.cancelled:
            return []
        for completion in batch.completions():
            said = " ".join(completion.text.split()).lower()
            if said:
                found.setdefault(said, completion)
        if len(found) == n:
            break
    return list(found.values())
