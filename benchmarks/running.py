"""One row from start to JSON: arms in turn, A B C A B C, ratios round by round."""

import math
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from benchmarks.arm_process import ArmProcess
from benchmarks.machine import machine
from benchmarks.row import Figure, Material, Row


def run_row(
    row: Row, material: Material, *, warmups: int, rounds: int, seconds: float = math.inf
) -> dict[str, Any]:
    """Load all arms, warm them up, time them in turn. One result, ready for JSON.

    After ``seconds`` no round is begun that, as long as the longest before, would end later; the
    result says how many rounds there were.
    """
    row.needs(material)
    began = time.monotonic()
    before = machine()
    processes: list[ArmProcess] = []
    try:
        for arm in row.arms(material):
            print(f"  {row.id}: loading {arm.name}", flush=True)
            processes.append(ArmProcess(arm))
        longest = 0.0
        for number in range(warmups + rounds):
            now = time.monotonic()
            if number > 0 and now - began + longest > seconds:
                rounds = max(number - warmups, 0)
                break
            counts = number >= warmups
            for process in processes:
                limit = process.arm.rounds
                if limit is not None and (not counts or number - warmups >= limit):
                    continue
                process.round(number, counts=counts)
            longest = max(longest, time.monotonic() - now)
            print(f"  {row.id}: round {number + 1} of {warmups + rounds}", flush=True)
    finally:
        for process in processes:
            process.close()
    arms = {one.arm.name: _arm_result(one) for one in processes}
    return {
        "row": row.id,
        "title": row.title,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"make bench ROW={row.id} ARGS='--warmups {warmups} --rounds {rounds}'",
        "machine": before,
        "warmups": warmups,
        "rounds": rounds,
        "arms": arms,
        "figures": [_figure_result(one, arms) for one in row.figures(material)],
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and the ends of the middle half (linear between the order statistics)."""
    ordered = sorted(values)

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    return {"median": statistics.median(ordered), "q1": at(0.25), "q3": at(0.75)}


def _arm_result(process: ArmProcess) -> dict[str, Any]:
    names = process.rounds[0] if process.rounds else ()
    result = process.facts | {
        "rounds": process.rounds,
        "spread": {name: spread([one[name] for one in process.rounds]) for name in names},
    }
    if process.absent is not None:
        result["absent"] = process.absent
    return result


def _figure_result(figure: Figure, arms: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "title": figure.title,
        "unit": figure.unit,
        "at_least": figure.at_least,
        "aim": figure.aim,
        "less_is_better": figure.less_is_better,
    }
    missing = [arm for arm, _ in _ends(figure) if not arms[arm]["rounds"]]
    if missing:
        reason = arms[missing[0]].get("absent", "it did not run")
        return result | {"absent": f"{missing[0]}: {reason}"}
    series = [[one[metric] for one in arms[arm]["rounds"]] for arm, metric in _ends(figure)]
    if figure.over is None:
        values = series[0]
    elif len(series[0]) == len(series[1]):
        values = [a / b for a, b in zip(*series, strict=True)]
    else:  # an arm too slow for every round: against the other's median
        fixed = [statistics.median(one) for one in series]
        values = [fixed[0] / fixed[1]]
    return result | spread(values) | {"values": values, "verdict": verdict(figure, values)}


def _ends(figure: Figure) -> list[tuple[str, str]]:
    return [figure.of] if figure.over is None else [figure.of, figure.over]


def verdict(figure: Figure, values: Sequence[float]) -> str | None:
    """``aim``, ``reached`` or ``missed`` by the median; None without a target."""
    if figure.at_least is None:
        return None
    value, sign = statistics.median(values), -1 if figure.less_is_better else 1
    if figure.aim is not None and sign * value >= sign * figure.aim:
        return "aim"
    return "reached" if sign * value >= sign * figure.at_least else "missed"
