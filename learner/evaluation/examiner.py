"""What the loop would say now to fixed prompts, beside what the base says: material for a judge.

Nothing is stored and nothing is learned. Belongs to the thread that owns the engine.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import fmean

from learner.asking import AskingReplyMaker
from learner.evaluation.exam import Exam
from learner.measures import ScoredText, kl_to_reference, supervised_ids
from storage.records import BASE_VERSION, Completion, Message, PolicyVersion, Sampling

BASE_PROMPTS_PER_BATCH = 16
KL_TEXTS_PER_BATCH = 4

_BASE = PolicyVersion(
    id=BASE_VERSION, parent=None, adapter_path=None, created_at=datetime.fromtimestamp(0, UTC)
)


class Examiner:
    """Samples at the settings the person is served with."""

    def __init__(self, replies: AskingReplyMaker, sampling: Sampling) -> None:
        self._engine = replies.engine
        self._replies = replies
        self._sampling = sampling

    def base_replies(
        self, prompts: Sequence[Sequence[Message]], seeds: Sequence[int]
    ) -> list[Completion]:
        """One plain sample of the base model for each prompt."""
        self._engine.load(_BASE)
        replies: list[Completion] = []
        for start in range(0, len(prompts), BASE_PROMPTS_PER_BATCH):
            some = slice(start, start + BASE_PROMPTS_PER_BATCH)
            batch = self._engine.start_many(prompts[some], 1, self._sampling, seeds[some])
            while batch.running:
                batch.step()
            replies += batch.completions()
        return replies

    def examine(
        self,
        prompts: Sequence[Sequence[Message]],
        version: PolicyVersion,
        seeds: Sequence[int],
    ) -> Exam:
        """Answer each prompt as ``version`` with today's reward ensemble would."""
        best = self._replies.best_many(prompts, version, seeds)
        plain = tuple(reply.plain for reply in best)
        return Exam(
            shown=tuple(reply.shown for reply in best),
            plain=plain,
            kl_to_base=self._kl_to_base(prompts, plain, version),
        )

    def _kl_to_base(
        self,
        prompts: Sequence[Sequence[Message]],
        replies: Sequence[Completion],
        version: PolicyVersion,
    ) -> float:
        if version.id == BASE_VERSION:
            return 0.0
        backbone = self._engine.backbone
        backbone.ensure_resident(version)
        backbone.use(version.id)
        texts = [
            ScoredText(
                prompt_ids=self._engine.render(prompt, self._sampling).token_ids,
                reply_ids=supervised_ids(backbone, reply),
            )
            for prompt, reply in zip(prompts, replies, strict=True)
        ]
        texts.sort(key=lambda text: len(text.prompt_ids) + len(text.reply_ids))
        kl: list[float] = []
        for start in range(0, len(texts), KL_TEXTS_PER_BATCH):
            kl += kl_to_reference(backbone, texts[start : start + KL_TEXTS_PER_BATCH])
        return fmean(kl)
