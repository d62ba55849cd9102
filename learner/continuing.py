"""A reply that was cut off is written on."""

from collections.abc import Sequence

from learner.protocols import Draft, ReplyPlan, Stage
from learner.viewer import Viewer
from learner.writer import Writer
from learner.written import as_completion
from storage.records import Message, PolicyVersion, Role


def go_on(
    writer: Writer,
    prompt: Sequence[Message],
    begun: str,
    version: PolicyVersion,
    seed: int,
    viewer: Viewer,
) -> ReplyPlan:
    """The whole of it, as if ``version`` had said it in one go.

    Raises AdapterLoadError and PromptTooLongError.
    """
    begun = begun.rstrip()
    so_far = Message(role=Role.ASSISTANT, content=begun)
    batch = writer.begin([*prompt, so_far], version, seed)
    while batch.running and not viewer.cancelled:
        batch.step()
        viewer.emit(Draft(stage=Stage.STREAMING, texts=(begun + batch.text(0),)))
    [more] = batch.completions()
    whole = as_completion(
        writer.engine, prompt, begun + more.text, finish_reason=more.finish_reason, seed=seed
    )
    return ReplyPlan(
        shown=tuple(writer.scorer.scored(prompt, [whole])),
        question=None,
        finish_others=lambda _: (),
        dropped_messages=batch.dropped_messages,
    )
