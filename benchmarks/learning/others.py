"""Results from when the reply shown was set against itself, too, corrected as far as they tell.

A reply that is one of the eight plain samples was compared with the mean of all eight: a gain came
out at seven eighths of what it is, a win rate with one eighth of one half. Where only plain samples
are shown that is undone exactly, and so it is for the best of eight plain. On the ladder nobody
noted when a plain one was shown: the rules were run anew, which moved their gains by 1 to 2 percent
upwards, and by 4 for formality, whose best replies are plain ones more often. New episodes say
``others`` and are left as they are.
"""

from typing import Any

from benchmarks.learning.ladder import PLAIN

GAINED = PLAIN / (PLAIN - 1)


def against_others(episode: dict[str, Any], marks: tuple[str, ...], *, plain: bool) -> dict:
    """The episode; ``plain`` where its arm shows nothing but plain samples.

    ``marks`` names the columns of the episode's marks.
    """
    if episode.get("others"):
        return episode
    own, best, win = (marks.index(name) for name in ("own", "plain", "win"))
    corrected = []
    for mark in episode["marks"]:
        row = list(mark)
        row[best] *= GAINED
        if plain:
            row[own] *= GAINED
            row[win] = (PLAIN * row[win] - 0.5) / (PLAIN - 1)
        corrected.append(row)
    fixed = episode | {"marks": corrected}
    if plain:
        for name in ("shown", "shown_asked"):
            if name in episode:
                of = episode[name]
                fixed[name] = [GAINED * x for x in of] if isinstance(of, list) else GAINED * of
    return fixed
