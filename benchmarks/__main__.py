"""``make bench`` runs every row; ``make bench ROW=r1`` one.

python -m benchmarks [ROW ...] [--warmups 1] [--rounds 3]
python -m benchmarks --table          writes the table and the plot from the results there are
"""

import argparse
import json
import math
import os

from benchmarks.arm_process import THREADS
from benchmarks.material import default_material
from benchmarks.report import RESULTS, write_report
from benchmarks.rows.registry import ROWS
from benchmarks.running import run_row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--warmups", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no round after it")
    parser.add_argument("--table", action="store_true", help="only write table and plot anew")
    options = parser.parse_args()
    if unknown := [one for one in options.rows if one not in ROWS]:
        parser.error(f"unknown row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if not options.table:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])  # arms inherit it
        material = default_material()
        RESULTS.mkdir(parents=True, exist_ok=True)
        for name in options.rows or ROWS:
            row = ROWS[name]
            print(f"{name}: {row.title}", flush=True)
            warmups = row.warmups if options.warmups is None else options.warmups
            rounds = row.rounds if options.rounds is None else options.rounds
            result = run_row(row, material, warmups=warmups, rounds=rounds, seconds=options.seconds)
            text = json.dumps(result, indent=1)
            (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
            for figure in result["figures"]:
                value = figure.get("absent") or f"{figure['median']:.3g} {figure['unit']}"
                print(f"    {figure['title']}: {value}", flush=True)
    write_report()


if __name__ == "__main__":
    main()
