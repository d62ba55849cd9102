"""The experiments of the learning suite: which arms, which people, how many turns."""

from dataclasses import dataclass

from benchmarks.learning.arms import Commit
from benchmarks.learning.episode import Person
from benchmarks.learning.raters import HONEST, UTILITIES, Behaviour


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    name: str
    about: str
    arms: tuple[str, ...]
    people: dict[str, Person]
    main: tuple[str, ...]
    """Arms that get all seeds; the others get a third."""
    turns: int
    labels: int = 10_000


def _each(behaviour: Behaviour = HONEST) -> dict[str, Person]:
    return {name: Person(taste=name, behaviour=behaviour) for name in UTILITIES}


_PAIRS = (
    ("brevity", "detail"),
    ("lists", "prose"),
    ("formality", "enthusiasm"),
    ("plain_words", "asks_back"),
)
_CHANGES = {f"{a}-to-{b}": (a, b) for pair in _PAIRS for a, b in (pair, pair[::-1])}
"""Both ways round, so that old and new tastes are equally hard on average."""


EXPERIMENTS = {
    e.name: e
    for e in [
        Experiment(
            name="rules",
            about="asking every turn, 100 answers: which rule, and what the ladder and priors add",
            arms=(
                "passive",
                "passive-infomax",
                "random",
                "infomax",
                "double-thompson",
                "delta-ucb",
                "entropy",
                "ours-always",
            ),
            main=("passive", "passive-infomax", "infomax", "ours-always"),
            people=_each(),
            turns=130,
            labels=100,
        ),
        Experiment(
            name="auto",
            about="asking when it is worth it, 200 turns: ours and ours minus each part",
            arms=(
                "ours",
                "blind-ladder",
                "no-ladder",
                "no-directions",
                "no-averaging",
                "no-change-points",
                "style-only",
                "value-gate",
                "coin-gate",
                "four",
            ),
            main=("ours",),
            people=_each(),
            turns=200,
        ),
        Experiment(
            name="always200",
            about="asking every turn for 200 turns, the yardstick of auto",
            arms=("ours-always",),
            main=("ours-always",),
            people=_each(),
            turns=200,
        ),
        Experiment(
            name="noise",
            about="10 % and 25 % blind picks, fatigue, an adversary who picks what he likes less",
            arms=("ours",),
            main=(),
            people={
                f"{name}/{kind}": Person(taste=name, behaviour=behaviour)
                for kind, behaviour in {
                    "flips10": Behaviour(first_pull=0.2, flips=0.10),
                    "flips25": Behaviour(first_pull=0.2, flips=0.25),
                    "fatigue": Behaviour(first_pull=0.2, fatigue=0.08),
                    "first": Behaviour(first_pull=3.0),
                    "adversary": Behaviour(hostile=True),
                }.items()
                for name in ("brevity", "detail", "lists", "formality", "enthusiasm", "plain_words")
            },
            turns=200,
        ),
        Experiment(
            name="change",
            about="taste changes at turn 150",
            arms=(
                "ours",
                "no-second-burn-in",
                "no-change-points",
                "half-life-30",
                "half-life-100",
            ),
            main=("ours",),
            people={
                name: Person(
                    taste=before, later=after, behaviour=Behaviour(first_pull=0.2, changes_at=150)
                )
                for name, (before, after) in _CHANGES.items()
            },
            turns=450,
        ),
        Experiment(
            name="commit",
            about="asking every turn, four candidates: when the pair is chosen",
            arms=tuple(f"commit-{commit}" for commit in Commit),
            main=tuple(f"commit-{commit}" for commit in Commit),
            people=_each(),
            turns=130,
            labels=100,
        ),
    ]
}
