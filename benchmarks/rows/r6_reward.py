"""R6: an update of the reward model, per pair: ours on 32 pairs, TRL's RewardTrainer with LoRA."""

from benchmarks.material import endless_model, pairs, ready
from benchmarks.row import Arm, Figure, Material, Row


def arms(material: Material) -> list[Arm]:
    tiny = material.tiny
    model = str(endless_model(material))
    path = str(pairs(material, 8 if tiny else 128))
    dtypes = ("float32",) if tiny else ("float32", "bfloat16")
    ours = Arm(
        name="twofold",
        make="benchmarks.arms.reward:Update",
        options={
            "model": model,
            "pairs": path,
            "count": 4 if tiny else 32,
            "extracted": 2 if tiny else 8,
            "engine": {"dtype": "float32" if tiny else "auto"},
        },
    )
    theirs = [
        Arm(
            name=f"TRL {dtype}",
            make="benchmarks.arms.trl:Reward",
            options={"model": model, "pairs": path, "count": 2, "dtype": dtype},
        )
        for dtype in dtypes
    ]
    return [ours, *theirs]


def figures(material: Material) -> list[Figure]:
    best = "TRL float32" if material.tiny else "TRL bfloat16"
    found = []
    for peer in {best, "TRL float32"}:
        aimed = peer == best
        found += [
            Figure(
                title=f"speed over {peer}, features extracted",
                of=(peer, "pair_s"),
                over=("twofold", "pair_s"),
                at_least=5.0 if aimed else None,
                aim=7.0 if aimed else None,
            ),
            Figure(
                title=f"speed over {peer}, features cached",
                of=(peer, "pair_s"),
                over=("twofold", "pair_cached_s"),
                at_least=100.0 if aimed else None,
                aim=500.0 if aimed else None,
            ),
        ]
    return [
        *sorted(found, key=lambda one: one.at_least is None),
        Figure(title="32 picks fitted again", of=("twofold", "refit_ms"), unit="ms"),
        Figure(title="twofold: features of a pair", of=("twofold", "extract_pair_s"), unit="s"),
        Figure(title=f"{best}: a pair", of=(best, "pair_s"), unit="s"),
    ]


def needs(material: Material) -> None:
    ready(material)
    pairs(material, 8 if material.tiny else 128)


ROW = Row(
    id="r6",
    title="An update of the reward model against TRL's RewardTrainer",
    arms=arms,
    figures=figures,
    needs=needs,
)
