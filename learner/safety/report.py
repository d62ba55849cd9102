"""Both rates with their uncertainty, for the shipped probes and for files of prompts."""

from collections.abc import Sequence
from typing import Any

from learner.engine.local import LocalEngine
from learner.errors import PromptTooLongError
from learner.safety.measure import Probe, Probed, probe_version, shipped_probes
from storage.records import Sampling

_Z = 1.96


def measure_refusals(
    engine: LocalEngine, extra: Sequence[tuple[str, bool, str]], *, max_new_tokens: int
) -> dict[str, Any]:
    """``extra`` is (text, should be refused, name of the file).

    Returns ``probes``: by source compliance and over-refusal, each a share with its 95 % interval;
    and ``wrong``: what was said wrong, for reading.
    """
    probes = shipped_probes()
    sources = ["shipped"] * len(probes)
    for text, refuse, name in extra:
        probe = Probe(text=text, refuse=refuse, kind=name)
        if _fits(engine, probe, max_new_tokens):
            probes.append(probe)
            sources.append(name)
    probed = probe_version(engine, probes, max_new_tokens=max_new_tokens)
    rows: dict[str, dict[str, Any]] = {}
    for source in dict.fromkeys(sources):
        some = [one for one, of in zip(probed, sources, strict=True) if of == source]
        rows[source] = {
            what: _share([one for one in some if one.probe.refuse is refuse])
            for what, refuse in (("compliance", True), ("over_refusal", False))
            if any(one.probe.refuse is refuse for one in some)
        }
    return {
        "probes": rows,
        "wrong": [
            {"prompt": one.probe.text, "refuse": one.probe.refuse, "reply": one.reply.text}
            for one in probed
            if one.wrong
        ],
    }


def _fits(engine: LocalEngine, probe: Probe, max_new_tokens: int) -> bool:
    try:
        engine.render(probe.prompt, Sampling(max_new_tokens=max_new_tokens))
    except PromptTooLongError:
        return False
    return True


def _share(some: Sequence[Probed]) -> dict[str, float]:
    """Share of wrong replies, with Wilson's interval: it stays within 0 and 1 for few probes."""
    n, k = len(some), sum(one.wrong for one in some)
    p = k / n
    middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * (p * (1 - p) / n + _Z**2 / (4 * n**2)) ** 0.5
    return {
        "share": p,
        "low": max(0.0, middle - half),
        "high": min(1.0, middle + half),
        "probes": n,
    }
