"""What many prompts would be shown now without asking, beside plain samples: for measuring.

The same steps as a turn of ``learner/asking.py``, several prompts to a batch; nothing is stored and
neither the asking threshold nor the length forecast moves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from learner.config import AskConfig
from learner.presentable import presentable
from learner.query_rules import pessimistic_best
from learner.styles import Style
from learner.writer import Writer
from storage.records import Completion, Message

PROMPTS_PER_BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class BestReply:
    """What would be shown without asking, beside one plain sample."""

    shown: Completion
    plain: Completion


def best_replies(
    writer: Writer,
    styles: Sequence[Style],
    prompts: Sequence[Sequence[Message]],
    ask: AskConfig,
    seeds: Sequence[int],
) -> list[BestReply]:
    """One for each prompt, of the version that the engine has loaded."""
    replies: list[BestReply] = []
    for start in range(0, len(prompts), PROMPTS_PER_BATCH):
        some = slice(start, start + PROMPTS_PER_BATCH)
        replies += _best_of(writer, styles, prompts[some], ask, seeds[some])
    return replies


def _best_of(
    writer: Writer,
    styles: Sequence[Style],
    prompts: Sequence[Sequence[Message]],
    ask: AskConfig,
    seeds: Sequence[int],
) -> list[BestReply]:
    N = ask.candidates
    batch = writer.engine.start_many(prompts, N, writer.sampling, seeds, styles)
    for _ in range(ask.commit_after_tokens):
        if batch.running:
            batch.step()
    drafts = batch.completions()
    best: list[int] = []
    for p, prompt in enumerate(prompts):
        some = drafts[p * N : (p + 1) * N]
        fit = presentable(some)
        rewards = writer.scorer.score(prompt, [some[i] for i in fit])
        leader = pessimistic_best(rewards, writer.scorer.reward.config.pessimism)
        best.append(p * N + fit[leader])
    plain = [p * N for p in range(len(prompts))]
    batch.drop([i for i in range(len(drafts)) if i not in {*best, *plain}])
    while batch.running:
        batch.step()
    final = batch.completions()
    return [BestReply(shown=final[b], plain=final[a]) for b, a in zip(best, plain, strict=True)]
