"""R0: the roof of the machine, from which the limit of a decoding step follows."""

from benchmarks.limit import reply_limit
from benchmarks.row import Figure, Material, Row


def figures(_: Material) -> list[Figure]:
    found = [Figure(title="read-only stream", of=("roof", "stream_gb_s"), unit="GB/s")]
    for dtype in ("float32", "bfloat16", "int8", "blocks"):
        if dtype != "blocks":  # whatever is best
            found.append(
                Figure(
                    title=f"best few-row product, {dtype}",
                    of=("roof", f"rate_{dtype}_gflop_s"),
                    unit="GFLOP/s",
                )
            )
        found += [
            Figure(
                title=f"limit of a step of {k}, {dtype}",
                of=("roof", f"step_{dtype}_k{k}_ms"),
                unit="ms",
            )
            for k in (1, 2, 4, 8)
        ]
        found.append(
            Figure(
                title=f"limit of the reply of R1, {dtype}",
                of=("roof", f"limit_{dtype}_s"),
                unit="s",
            )
        )
    return found


ROW = Row(
    id="r0",
    title="The roof: a read-only stream and products of few rows",
    arms=lambda material: reply_limit(material, light=False),
    figures=figures,
)
