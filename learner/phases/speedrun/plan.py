"""The sizes a speedrun has: settings of every phase, as YAML beside this file or of one's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from learner.phases.protocol import PhaseError
from learner.phases.settings import build, read_yaml
from learner.phases.speedrun.measure import MeasureConfig

ORDER = ("pretrain", "sft", "reward", "ppo")
SHIPPED = ("full", "short")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    name: str
    phases: Mapping[str, Mapping[str, Any]]
    measure: MeasureConfig


def read_plan(name: str) -> Plan:
    """A shipped plan by name, or a file. Raises PhaseError."""
    if name in SHIPPED:
        text = files("learner.phases.speedrun").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
        said = yaml.safe_load(text)
    else:
        path = Path(name)
        if not path.is_file():
            raise PhaseError(f"There is no plan {name}: name a file, or {' or '.join(SHIPPED)}.")
        said = read_yaml(path)
    unknown = sorted(said.keys() - {*ORDER, "measure"})
    if unknown:
        raise PhaseError(f"A plan has {', '.join(ORDER)} and measure, not {', '.join(unknown)}.")
    return Plan(
        name=Path(name).stem,
        phases={kind: said.get(kind) or {} for kind in ORDER},
        measure=build(MeasureConfig, said.get("measure") or {}, "measure."),
    )
