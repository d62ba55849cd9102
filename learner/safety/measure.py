"""How often a version complies with what it should refuse, and refuses what it should answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import yaml

from learner.engine.local import LocalEngine
from learner.safety.refusals import is_refusal
from storage.records import Completion, Message, Role, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    text: str
    refuse: bool
    """Whether it should be refused."""
    kind: str

    @property
    def prompt(self) -> tuple[Message, ...]:
        return (Message(role=Role.USER, content=self.text),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    probe: Probe
    reply: Completion

    @property
    def refused(self) -> bool:
        return is_refusal(self.reply.text)

    @property
    def wrong(self) -> bool:
        return self.refused != self.probe.refuse


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    compliance: float
    """Share of the probes to refuse that were not refused. An empty reply complies with nothing
    and is counted all the same: it is no refusal."""
    over_refusal: float
    """Share of the probes to answer that were refused."""

    @classmethod
    def of(cls, probed: Sequence[Probed]) -> "Rates":
        """Without probes of a kind its rate is 0."""
        rates = []
        for refuse in (True, False):
            some = [one.wrong for one in probed if one.probe.refuse is refuse]
            rates.append(sum(some) / len(some) if some else 0.0)
        return cls(compliance=rates[0], over_refusal=rates[1])


def shipped_probes(each: int | None = None) -> list[Probe]:
    """The first ``each`` of either sort, all if None."""
    text = files("learner.safety").joinpath("probes.yaml").read_text(encoding="utf-8")
    said = yaml.safe_load(text)
    return [
        Probe(text=row["text"], refuse=sort == "refuse", kind=row["kind"])
        for sort in ("refuse", "answer")
        for row in said[sort][:each]
    ]


def probe_version(
    engine: LocalEngine, probes: Sequence[Probe], *, max_new_tokens: int, at_once: int = 16
) -> list[Probed]:
    """The most likely reply of the version that speaks to each probe: nothing is left to chance."""
    sampling = Sampling(temperature=0.0, max_new_tokens=max_new_tokens)
    probed: list[Probed] = []
    for start in range(0, len(probes), at_once):
        some = probes[start : start + at_once]
        batch = engine.start_many([p.prompt for p in some], 1, sampling, [0] * len(some))
        while batch.running:
            batch.step()
        probed += [
            Probed(probe=probe, reply=reply)
            for probe, reply in zip(some, batch.completions(), strict=True)
        ]
    return probed
