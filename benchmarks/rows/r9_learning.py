"""R9: what learning costs the chat, and how soon a pick changes it; peak memory of the two."""

from benchmarks.row import Arm, Figure, Material, Row


def arms(material: Material) -> list[Arm]:
    if material.tiny:
        options = {
            "engine": {"dtype": "float32"},
            "prompts": 1,
            "rounds": 1,
            "model": str(material.model),
        }
    else:
        options = {"engine": {}, "prompts": 8, "rounds": 2}
    return [Arm(name="twofold", make="benchmarks.arms.loop:Loop", options=options)]


def figures(_: Material) -> list[Figure]:
    def over_idle(name: str, metric: str, title: str, *targets: float) -> Figure:
        at_most, aim = targets or (None, None)
        return Figure(
            title=title,
            of=("twofold", f"{name}_{metric}"),
            over=("twofold", f"idle_{metric}"),
            at_least=at_most,
            aim=aim,
            less_is_better=True,
        )

    def less(metric: str, title: str, unit: str, *targets: float) -> Figure:
        at_most, aim = targets or (None, None)
        return Figure(
            title=title,
            of=("twofold", metric),
            unit=unit,
            at_least=at_most,
            aim=aim,
            less_is_better=True,
        )

    gap = "99th percentile between tokens"
    return [
        over_idle("learning", "gap_p99_ms", f"{gap}, learning over idle", 1.5, 1.15),
        over_idle("learning", "gap_p50_ms", "median between tokens, learning over idle"),
        over_idle("learning", "first_token_s", "first token, learning over idle"),
        over_idle("equal_priority", "gap_p99_ms", f"{gap}, were the learner no idle process"),
        less("idle_gap_p99_ms", f"{gap}, idle", "ms"),
        less("idle_gap_p50_ms", "median between tokens, idle", "ms"),
        less("idle_first_token_s", "first visible token of a pair, idle", "s"),
        less("pick_to_refit_ms", "pick to an ensemble that ranks the next reply", "ms", 50.0, 20.0),
        less("pick_to_live_s", "pick to new live weights", "s", 30.0, 10.0),
        less("peak_pss_gb", "peak memory, server and learner", "GB", 2.5, 1.5),
        less("peak_pss_server_gb", "of it at most the server", "GB"),
        less("peak_pss_learner_gb", "of it at most the learner", "GB"),
    ]


ROW = Row(
    id="r9",
    title="The loop: chat while learning, a pick to its effect, memory",
    arms=arms,
    figures=figures,
    warmups=0,
    rounds=1,
)
