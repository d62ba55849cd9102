"""Which candidates are in the running: fit to be shown, and to be learned from.

Out are those that give their hidden instruction away, and those that ended before they said a word:
what the judges expect of no text at all is far from anything that anyone chose.
"""

from collections.abc import Sequence

from learner.styles import echoing
from storage.records import Completion, FinishReason


def textless(completion: Completion) -> bool:
    """Whether a reply is finished and says nothing."""
    return completion.finish_reason is not FinishReason.ABORTED and not completion.text.strip()


def presentable(completions: Sequence[Completion]) -> list[int]:
    """Places of the candidates in the running, in order; where none says a word, of those without.

    Never empty where one of them is plain.
    """
    echoes = echoing(completions)
    kept = [i for i in range(len(completions)) if i not in echoes]
    return [i for i in kept if not textless(completions[i])] or kept
