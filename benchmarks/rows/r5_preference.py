"""R5: a preference step: pairs of 256 tokens of prompt and 128 of each reply, LoRA r=16.

Ours as the learner calls it: with the reference pass of pairs never seen, and with it cached. TRL
with and without precomputed reference log-probabilities (whose own pass is not in its time).
"""

from typing import Any

from benchmarks.material import endless_model, pairs, ready
from benchmarks.row import Arm, Figure, Material, Row


def arms(material: Material) -> list[Arm]:
    tiny = material.tiny
    common: dict[str, Any] = {
        "model": str(endless_model(material)),
        "pairs": str(pairs(material, 8 if tiny else 128)),
        "count": 2,
    }
    found = [
        Arm(
            name=f"twofold {dtype}",
            make="benchmarks.arms.preference:Step",
            options=common | {"dtype": dtype},
        )
        for dtype in (("float32",) if tiny else ("float32", "bfloat16"))
    ]
    for name, dtype, precompute in (
        ("TRL float32", "float32", False),
        ("TRL float32, precomputed", "float32", True),
        ("TRL bfloat16", "bfloat16", False),
        ("TRL bfloat16, precomputed", "bfloat16", True),
    ):
        options = common | {"dtype": dtype, "precompute": precompute}
        found.append(Arm(name=name, make="benchmarks.arms.trl:Dpo", options=options))
    if tiny:
        found = found[:2]
    gradient = common | {"dtype": "float32", "count": 1}
    return [
        *found,
        Arm(
            name="gradient",
            make="benchmarks.arms.preference:Gradient",
            options=gradient,
            rounds=1,
        ),
    ]


def figures(material: Material) -> list[Figure]:
    def faster(dtype: str, peer: str, metric: str, title: str, *targets: float) -> Figure:
        at_least, aim = targets or (None, None)
        return Figure(
            title=title,
            of=(peer, "pair_s"),
            over=(f"twofold {dtype}", metric),
            at_least=at_least,
            aim=aim,
        )

    cosine = Figure(
        title="gradient, cosine to plain torch in float64",
        of=("gradient", "cosine"),
        unit="",
        at_least=0.999,
        aim=0.9999,
    )
    first = faster(
        "float32", "TRL float32", "pair_s", "speed over TRL, float32, pairs never seen", 2.0, 3.0
    )
    if material.tiny:
        return [first, cosine]
    found = [
        first,
        faster("float32", "TRL float32", "pair_cached_s", "the same, our reference cached"),
        faster(
            "float32",
            "TRL float32, precomputed",
            "pair_cached_s",
            "reference cached here, precomputed there",
        ),
        faster("bfloat16", "TRL bfloat16", "pair_s", "speed over TRL, bfloat16, pairs never seen"),
        faster(
            "bfloat16",
            "TRL bfloat16, precomputed",
            "pair_cached_s",
            "bfloat16, reference cached here, precomputed there",
        ),
        cosine,
    ]
    return found + [
        Figure(title=f"{arm.name}: a pair", of=(arm.name, "pair_s"), unit="s")
        for arm in arms(material)
        if arm.name != "gradient"
    ]


def needs(material: Material) -> None:
    ready(material)
    pairs(material, 8 if material.tiny else 128)


ROW = Row(
    id="r5",
    title="A preference step against TRL's DPOTrainer",
    arms=arms,
    figures=figures,
    needs=needs,
)
