"""All rows, in the order of the protocol; from R12 on those that the issue asks for beside it."""

from benchmarks.row import Row
from benchmarks.rows import (
    r0_roof,
    r1_reply,
    r1b_llama,
    r2_candidates,
    r3_chat,
    r4_swap,
    r5_preference,
    r6_reward,
    r8_inserts,
    r9_learning,
    r10_page,
    r12_pages,
    r13_identity,
)

MODULES = (
    r0_roof,
    r1_reply,
    r1b_llama,
    r2_candidates,
    r3_chat,
    r4_swap,
    r5_preference,
    r6_reward,
    r8_inserts,
    r9_learning,
    r10_page,
    r12_pages,
    r13_identity,
)
ROWS: dict[str, Row] = {module.ROW.id: module.ROW for module in MODULES}
