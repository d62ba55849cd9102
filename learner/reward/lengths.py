"""How long will a reply become that is still being written?

The mean of the known replies that ran past this point, with two pseudo-replies of twice the point,
so that the forecast is sane from the first turn. Without it a draft of 32 tokens would look as
short as a finished reply of 32, and whoever likes short replies would be shown long ones. A reply
that was cut, by a limit below today's or by an early choice, is at least so long: it counts as a
draft of that length. Left out, the long ones, which are cut more often, would be missed.
"""

from bisect import bisect_right, insort

from storage.records import Completion, FinishReason

KEPT = 512
"""Finished replies remembered; the policy's habits change as it learns."""
PSEUDO_REPLIES = 2.0


class LengthForecast:
    def __init__(self) -> None:
        self._recent: dict[tuple[int, int], bool] = {}  # (seed, tokens) in order seen: was it cut?
        self._lengths: list[tuple[int, bool]] = []  # (tokens, was it cut?), sorted

    def observe(self, completion: Completion) -> None:
        """Learn from a reply that is written no further; a known one is ignored."""
        tokens = len(completion.token_ids)
        key = (completion.seed, tokens)
        if key in self._recent:
            return
        self._recent[key] = completion.finish_reason is not FinishReason.STOP
        insort(self._lengths, (tokens, self._recent[key]))
        if len(self._recent) > KEPT:
            oldest = next(iter(self._recent))
            self._lengths.remove((oldest[1], self._recent.pop(oldest)))

    def expected(self, completion: Completion) -> tuple[float, float]:
        """Expected final length in tokens, and probability that the reply comes to an end."""
        tokens, limit = len(completion.token_ids), completion.sampling.max_new_tokens
        if completion.finish_reason is not FinishReason.ABORTED:
            return float(tokens), float(completion.finish_reason is FinishReason.STOP)
        longer, total, ends = 0, 0.0, 0.0

        def forecast(point: int) -> tuple[float, float]:
            n = longer + PSEUDO_REPLIES
            prior = min(2.0 * point, limit)
            return (total + PSEUDO_REPLIES * prior) / n, (ends + PSEUDO_REPLIES / 2) / n

        for known, cut in reversed(self._lengths[bisect_right(self._lengths, (tokens, True)) :]):
            reached, ended = (known, 1.0) if known < limit else (limit, 0.0)
            if cut and known < limit:
                reached, ended = forecast(known)
            longer, total, ends = longer + 1, total + reached, ends + ended
        length, ended = forecast(tokens)
        return min(length, float(limit)), ended
