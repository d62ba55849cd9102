"""R8: an event on disk, against SQLite with the same settings and nothing of ours around it."""

from benchmarks.row import Arm, Figure, Material, Row

ARMS = {
    "twofold": "Ours",
    "sqlite3, one wide table": "PlainWide",
    "sqlite3, our tables": "PlainSame",
    "sqlite-utils": "SqliteUtils",
    "sqlite3, one wide table, NORMAL": "PlainWideNormal",
}


def arms(material: Material) -> list[Arm]:
    plan = {"singles": 5, "hundreds": 1} if material.tiny else {}
    return [
        Arm(name=name, make=f"benchmarks.arms.store:{kind}", options=plan)
        for name, kind in ARMS.items()
    ]


def figures(_: Material) -> list[Figure]:
    def ratio(
        size: int, peer: str, at_least: float | None = None, aim: float | None = None
    ) -> Figure:
        return Figure(
            title=f"rows a second over {peer}, {size} to a commit",
            of=("twofold", f"rows_s_{size}"),
            over=(peer, f"rows_s_{size}"),
            at_least=at_least,
            aim=aim,
        )

    wide, same = "sqlite3, one wide table", "sqlite3, our tables"
    return [
        ratio(1, wide, 0.7, 0.9),
        ratio(100, wide, 0.7, 0.9),
        ratio(1, same),
        ratio(100, same),
        ratio(1, "sqlite-utils", 3.0),
        ratio(100, "sqlite-utils"),
        ratio(1, f"{wide}, NORMAL"),
        Figure(title="slowest hundredth commit of one", of=("twofold", "p99_ms_1"), unit="ms"),
    ]


ROW = Row(id="r8", title="Events a second, on disk", arms=arms, figures=figures, rounds=7)
