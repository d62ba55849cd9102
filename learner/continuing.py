"""A reply that was cut off is written on."""

from collections.abc import Sequence

from learner.engine.backbone import Backbone
from learner.engine.rows import decode_text
from learner.protocols import Draft, ReplyPlan, Stage
from learner.viewer import Viewer
from learner.writer import Writer
from learner.written import as_completion
from storage.records import Completion, Message, PolicyVersion, Role


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
    backbone = writer.engine.backbone
    batch = writer.begin([*prompt, so_far], version, seed)
    while batch.running and not viewer.cancelled:
        batch.step()
        [more] = batch.completions()
        viewer.emit(Draft(stage=Stage.STREAMING, texts=(_joined(backbone, begun, more),)))
    [more] = batch.completions()
    text = _joined(backbone, begun, more)
    whole = as_completion(writer.engine, prompt, text, finish_reason=more.finish_reason, seed=seed)
    return ReplyPlan(
        shown=tuple(writer.scorer.scored(prompt, [whole])),
        question=None,
        finish_others=lambda _: (),
        dropped_messages=batch.dropped_messages,
    )


def _joined(backbone: Backbone, begun: str, more: Completion) -> str:
    """``begun`` and what follows, with the blank between them if there is one.

    That is read off both decoded together: alone, a text loses the blank before its first word
    where tokens are SentencePiece's, or where the model is prompted by example.
    """
    before = backbone.reply_ids(begun)
    decoded = decode_text(backbone.tokenizer, before)
    after = decode_text(backbone.tokenizer, [*before, *more.token_ids])[len(decoded) :]
    blank = after[: len(after) - len(after.lstrip())]
    text = more.text.lstrip()
    return f"{begun}{blank}{text}" if text else begun
