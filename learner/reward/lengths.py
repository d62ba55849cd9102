"""How long will a reply become that is still being written?

The mean of the finished replies that ran past this point, with two pseudo-replies of twice the
point, so that the forecast is sane from the first turn. Without it a draft of 32 tokens would look
as short as a finished reply of 32, and whoever likes short replies would be shown long ones.
"""

from bisect import bisect_right, insort

from storage.records import Completion, FinishReason

KEPT = 512
"""Finished replies remembered; the policy's habits change as it learns."""
PSEUDO_REPLIES = 2.0


class LengthForecast:
    def __init__(self) -> None:
        self._recent: dict[tuple[int, int], None] = {}  # (seed, tokens) in order seen
        self._lengths: list[int] = []  # sorted

    def observe(self, completion: Completion) -> None:
        """Learn from a finished reply; an aborted or known one is ignored."""
        tokens = len(completion.token_ids)
        key = (completion.seed, tokens)
        if completion.finish_reason is FinishReason.ABORTED or key in self._recent:
            return
        self._recent[key] = None
        insort(self._lengths, tokens)
        if len(self._recent) > KEPT:
            oldest = next(iter(self._recent))
            del self._recent[oldest]
            self._lengths.remove(oldest[1])

    def expected(self, completion: Completion) -> tuple[float, float]:
        """Expected final length in tokens, and probability that the reply comes to an end."""
        tokens, limit = len(completion.token_ids), completion.sampling.max_new_tokens
        if completion.finish_reason is not FinishReason.ABORTED:
            return float(tokens), float(completion.finish_reason is FinishReason.STOP)
        longer = self._lengths[bisect_right(self._lengths, tokens) :]
        prior = min(2.0 * tokens, limit)
        n = len(longer) + PSEUDO_REPLIES
        length = (sum(longer) + PSEUDO_REPLIES * prior) / n
        ended = (sum(x < limit for x in longer) + PSEUDO_REPLIES / 2) / n
        return min(length, float(limit)), ended
