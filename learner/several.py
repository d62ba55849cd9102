"""Several whole replies to one message, for a person who is to put them in order.

Equal texts are no two answers: where samples say the same, or nothing, more are drawn, up to
``TRIES`` batches in all. What is missing then is missing.
"""

from collections.abc import Callable, Sequence
from threading import Event

from learner.engine.local import ServingEngine
from learner.protocols import Draft, Stage
from storage.records import Completion, Message, Sampling

TRIES = 3


def write_several(
    engine: ServingEngine,
    prompt: Sequence[Message],
    n: int,
    sampling: Sampling,
    seed: int,
    emit: Callable[[Draft], None],
    cancel: Event,
) -> list[Completion]:
    """Return up to ``n`` different replies of the loaded version; none at all on cancel.

    Batch t draws row i from ``seed + t * n + i``. Raises PromptTooLongError.
    """
    found: dict[str, Completion] = {}
    for attempt in range(TRIES):
        batch = engine.start(prompt, n - len(found), sampling, seed + attempt * n)
        while batch.running and not cancel.is_set():
            batch.step()
            texts = tuple(batch.text(row) for row in range(n - len(found)))
            emit(Draft(stage=Stage.STREAMING, texts=(*(c.text for c in found.values()), *texts)))
        if cancel.is_set():
            return []
        for completion in batch.completions():
            said = " ".join(completion.text.split()).lower()
            if said:
                found.setdefault(said, completion)
        if len(found) == n:
            break
    return list(found.values())
