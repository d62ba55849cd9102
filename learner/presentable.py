"""Which candidates are in the running: fit to be shown, and to be learned from.

Out are those that give their hidden instruction away, those that ended before they said a word, and
those that loop, the degenerate repetition of small models (arXiv 1904.09751). What the judges
expect of no text at all, or of one word a hundred times over, is far from anything that anyone
chose; and whoever picks the better of two such replies should not teach the policy more of them
(decision 0023).
"""

from collections.abc import Sequence

from learner.measures import repetition
from learner.styles import echoing
from storage.records import Completion, FinishReason

LOOPING = 0.6
"""Share of repeated token bigrams (``measures.repetition``, 0 to 1) above which a reply loops."""
LOOP_TOKENS = 24
"""Shortest reply that can."""


def textless(completion: Completion) -> bool:
    """Whether a reply is finished and says nothing."""
    return completion.finish_reason is not FinishReason.ABORTED and not completion.text.strip()


def looping(completion: Completion) -> bool:
    """Whether a reply, finished or not, mostly says again what it has said.

    Two of a thousand written by people do, three of a hundred of the small default model
    (docs/LOG.md). Short ones never do: "no, no, no" is an answer.
    """
    ids = completion.token_ids
    return len(ids) >= LOOP_TOKENS and repetition(ids) > LOOPING


def presentable(completions: Sequence[Completion]) -> list[int]:
    """Places of the candidates in the running, in order.

    Where all that say a word loop, of those; where none says a word, of those without.
    Never empty where one of them is plain.
    """
    echoes = echoing(completions)
    kept = [i for i in range(len(completions)) if i not in echoes]
    worded = [i for i in kept if not textless(completions[i])]
    return [i for i in worded if not looping(completions[i])] or worded or kept
