"""R10: a pair read through the page, over the same work of the engine alone."""

from benchmarks.material import endless_model, ready
from benchmarks.row import Arm, Figure, Material, Row

CANDIDATES = (2, 4)


def arms(material: Material) -> list[Arm]:
    tiny = material.tiny
    common = {
        "model": str(endless_model(material)),
        "new_tokens": 6 if tiny else 128,
        "engine": {"dtype": "float32" if tiny else "auto"},
    }
    return [
        Arm(
            name=f"{k} candidates",
            make="benchmarks.arms.page:Page",
            options=common | {"candidates": k},
        )
        for k in (CANDIDATES[:1] if tiny else CANDIDATES)
    ]


def figures(material: Material) -> list[Figure]:
    found = []
    for arm in arms(material):
        found += [
            Figure(
                title=f"{arm.name}: wall through the page over engine alone",
                of=(arm.name, "page_wall_s"),
                over=(arm.name, "engine_wall_s"),
                at_least=1.1,
                aim=1.03,
                less_is_better=True,
            ),
            Figure(title=f"{arm.name}: wall", of=(arm.name, "page_wall_s"), unit="s"),
            Figure(
                title=f"{arm.name}: first visible text through the page",
                of=(arm.name, "page_first_s"),
                unit="s",
            ),
            Figure(
                title=f"{arm.name}: the same, engine alone",
                of=(arm.name, "engine_first_s"),
                unit="s",
            ),
            Figure(title=f"{arm.name}: updates sent", of=(arm.name, "page_events"), unit=""),
        ]
    return found


ROW = Row(
    id="r10",
    title="A pair read through the page",
    arms=arms,
    figures=figures,
    needs=ready,
    warmups=2,
    rounds=9,
)
