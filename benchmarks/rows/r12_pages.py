"""R12: the Learning and Data pages over a million candidates and 200,000 picks."""

from benchmarks.row import Arm, Figure, Material, Row

QUERIES = {
    "data_all_s": "Data, first page",
    "data_choice_s": "Data, one choice",
    "data_version_s": "Data, one version",
    "data_held_out_s": "Data, held out",
    "data_unused_s": "Data, not used (none)",
    "data_reason_none_s": "Data, a reason that none has",
    "data_words_s": "Data, a word",
    "data_words_and_choice_s": "Data, a word and a choice",
    "data_since_s": "Data, since a day",
    "data_versions_s": "Data, the list of versions",
    "data_detail_s": "Data, one pick in full",
    "chats_s": "the list of chats",
    "unlearned_s": "picks not learned yet, each in full",
}


def arms(material: Material) -> list[Arm]:
    candidates = 4000 if material.tiny else 1_000_000
    options = {"folder": str(material.folder / "large-log"), "candidates": candidates}
    return [Arm(name="twofold", make="benchmarks.arms.store:Pages", options=options)]


def figures(_: Material) -> list[Figure]:
    pages = {"learning_page_s": "Learning page", "data_slowest_s": "Data page, the slowest below"}
    return [
        Figure(
            title=f"{title}, first page with count" if name.startswith("data") else title,
            of=("twofold", name),
            unit="s",
            at_least=0.5,
            aim=0.2,
            less_is_better=True,
        )
        for name, title in pages.items()
    ] + [Figure(title=title, of=("twofold", name), unit="s") for name, title in QUERIES.items()]


ROW = Row(
    id="r12",
    title="Pages over a million candidates and 200,000 picks",
    arms=arms,
    figures=figures,
    rounds=5,
)
