"""All phases in a row on the tiny model, and the report of it."""

import gzip
import json

import pytest

from learner.evaluation.intervals import wilson_interval
from learner.phases.protocol import PhaseError
from learner.phases.speedrun.material import Part, part_of, prepare, read_rows
from learner.phases.speedrun.measure import MeasureConfig
from learner.phases.speedrun.plan import ORDER, Plan, read_plan
from learner.phases.speedrun.rater import WordRater
from learner.phases.speedrun.report import as_json, as_markdown
from learner.phases.speedrun.run import speedrun
from tests.learner.phases.toy import CPU

LOOP = {"evaluate_every": 0, "checkpoint_every": 1}
EASY = {
    "prompts": 1,
    "max_new_tokens": 4,
    "max_kl_per_token": 50,
    "max_perplexity_ratio": 1e9,
    "min_length_ratio": 0,
    "max_length_ratio": 100,
    "max_empty_share": 1,
    "max_repetition": 1,
    "probes": 0,
}
LORA = {"rank": 2, "alpha": 4}
TINY = Plan(
    name="tiny",
    phases={
        "pretrain": {
            "block_tokens": 32,
            "blocks_per_step": 2,
            "max_steps": 2,
            "held_out_blocks": 2,
            "optimiser": {"learning_rate": 1e-2},
            "lora": LORA,
            "loop": LOOP,
            "gate": EASY,
        },
        "sft": {
            "dialogues_per_step": 4,
            "max_steps": 2,
            "held_out_dialogues": 4,
            "optimiser": {"learning_rate": 1e-2},
            "lora": LORA,
            "loop": LOOP,
            "gate": EASY,
        },
        "reward": {"max_answers": 12, "loop": LOOP},
        "ppo": {
            "prompts_per_step": 2,
            "max_steps": 1,
            "held_out_prompts": 2,
            "ppo": {
                "lora": LORA,
                "rollout": {"samples": 2, "sampling": {"max_new_tokens": 4}},
            },
            "loop": LOOP,
            "gate": EASY,
        },
    },
    measure=MeasureConfig(
        dialogues=2, prompts=2, samples=1, probes=1, max_new_tokens=4, probe_tokens=4
    ),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The shape of the shared data, a few dozen rows of it."""
    folder = tmp_path_factory.mktemp("shared")
    n = 60
    rows = {
        "sft": [
            {"set": "dolly", "prompt": f"Topic {i}?", "response": f"It is {i}. " + "Word. " * 40}
            for i in range(n)
        ],
        "pairs_human": [
            {"set": name, "prompt": f"Say {i}", "chosen": "Yes, sure.", "rejected": f"No {i}!"}
            for i in range(n)
            for name in ("oasst", "hh-harmless-test")
        ],
        "pairs_ai": [
            *(
                {"set": "coconot-pref", "prompt": f"Odd {i}", "chosen": "a", "rejected": "b"}
                for i in range(n)
            ),
            *(
                {
                    "set": "ultrafeedback-train",
                    "prompt": f"Q {i}",
                    "chosen": "Yes, sure then.",
                    "rejected": "No never",
                    "gap": 2,
                }
                for i in range(20)
            ),
        ],
        "prompts": [{"set": "oasst-lottery", "prompt": f"Tell me {i}"} for i in range(n)],
        "prompts_harmful": [{"set": "advbench", "prompt": f"Do harm {i}"} for i in range(n)],
    }
    for name, some in rows.items():
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in some)
    return folder


def run(shared, data, model):
    lines = []
    result = speedrun(
        TINY, shared=shared, data=data, model=model, engine=CPU, watchers=[], say=lines.append
    )
    return result, lines


def test_all_phases_run_in_a_row_and_the_report_tells_of_each(shared, tiny_folder, tmp_path):
    result, lines = run(shared, tmp_path, tiny_folder)
    versions = {kind: one.version for kind, one in result.outcomes.items()}
    assert versions == {"pretrain": 1, "sft": 2, "reward": None, "ppo": 3}
    assert list(result.figures) == ["base", "pretrain", "sft", "ppo"]
    assert [line for line in lines if "measuring" not in line] == [
        f"--- {kind} ---" for kind in ORDER
    ]
    text = as_markdown(result, "twofold speedrun", {"cpu": "any"})
    assert "| fine-tuning | 2 | 2 |" in text and "PPO (v3)" in text
    said = json.loads(as_json(result, "twofold speedrun", {"cpu": "any"}))
    assert said["phases"]["sft"]["metrics"]["before.held_out_loss"] > 0
    published = text + json.dumps(said)
    assert not any(row["prompt"] in published for row in result.figures["base"]["replies"])
    assert 0 <= said["rater"]["wins"]["ppo over sft"]["share"] <= 1

    again, _ = run(shared, tmp_path, tiny_folder)  # all of it is there
    assert again.figures == result.figures
    assert all(one.reason.startswith("done before") for one in again.outcomes.values())


def test_no_family_is_in_two_parts(shared, tmp_path):
    material = prepare(shared, tmp_path)
    learns = {part_of(row) for row in read_rows(material.dialogues)}
    measures = {
        part_of(row)
        for path in (material.measured_dialogues, material.measured_prompts, material.harmful)
        for row in read_rows(path)
    }
    assert learns == {Part.LEARNS} and measures == {Part.MEASURES}
    assert Part.RATES not in {part_of(row) for row in read_rows(material.pairs)}
    before = material.measured_prompts.read_bytes()
    assert prepare(shared, tmp_path).measured_prompts.read_bytes() == before


def test_a_folder_without_the_data_is_told(tmp_path):
    with pytest.raises(PhaseError, match="has no sft, pairs_human"):
        prepare(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("name", ["full", "short"])
def test_the_shipped_plans_fit_the_phases(name):
    from learner.phases.command import settings_of

    plan = read_plan(name)
    for kind in ORDER:
        settings_of(kind, plan.phases[kind])


def test_a_plan_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(PhaseError, match="There is no plan tomorrow"):
        read_plan("tomorrow")
    path = tmp_path / "plan.yaml"
    path.write_text("knit: {}\n")
    with pytest.raises(PhaseError, match="not knit"):
        read_plan(str(path))


def test_the_rater_learns_words_and_not_length():
    pairs = [(f"please {i} thanks", f"whatever {i} now") for i in range(30)]
    rater = WordRater(pairs)
    assert rater.accuracy([("please x thanks", "whatever x now")]) == 1.0
    assert rater.win_rate(["thanks please"], ["whatever"])[0] == 1.0
    assert rater.margin("odd words", "odd words") == 0.0
    assert rater.accuracy([("same", "same")]) == 0.5


def test_the_interval_of_a_share_stays_within_it():
    low, high = wilson_interval(10.0, 10)
    assert 0.7 < low < 0.75 and high == 1.0
    low, high = wilson_interval(50.0, 100)  # 0.4038 and 0.5962: Wilson (1927)
    assert (low, high) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))
