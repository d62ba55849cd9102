"""All rows, in the order of the protocol; from R12 on those that stand beside it."""

from importlib import import_module

from benchmarks.row import Row

_MODULES = (
    "r0_roof",
    "r1_reply",
    "r1b_llama",
    "r2_candidates",
    "r3_chat",
    "r4_swap",
    "r5_preference",
    "r6_reward",
    "r7_head",
    "r8_inserts",
    "r9_learning",
    "r10_page",
    "r12_pages",
    "r13_identity",
)

_ROWS: tuple[Row, ...] = tuple(import_module(f"benchmarks.rows.{name}").ROW for name in _MODULES)
ROWS: dict[str, Row] = {row.id: row for row in _ROWS}
