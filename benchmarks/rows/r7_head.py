"""R7: the reward ensemble after many picks: fitted with one more, and eight replies scored."""

from benchmarks.material import endless_model, pairs, ready
from benchmarks.row import Arm, Figure, Material, Row


def arms(material: Material) -> list[Arm]:
    tiny = material.tiny
    return [
        Arm(
            name="1,000 picks",
            make="benchmarks.arms.reward:Head",
            options={
                "model": str(endless_model(material)),
                "pairs": str(pairs(material, 8 if tiny else 128)),
                "picks": 40 if tiny else 1000,
                "candidates": 8,
            },
        )
    ]


def figures(material: Material) -> list[Figure]:
    [arm] = arms(material)
    return [
        Figure(
            title="fitted again with one pick more",
            of=(arm.name, "refit_ms"),
            unit="ms",
            at_least=50.0,
            aim=10.0,
            less_is_better=True,
        ),
        Figure(
            title="eight candidates scored, features there",
            of=(arm.name, "score_ms"),
            unit="ms",
            at_least=5.0,
            aim=1.0,
            less_is_better=True,
        ),
    ]


def needs(material: Material) -> None:
    ready(material)
    pairs(material, 8 if material.tiny else 128)


ROW = Row(
    id="r7",
    title="The reward ensemble after a thousand picks",
    arms=arms,
    figures=figures,
    needs=needs,
    rounds=9,
)
