"""The real default model through a few simulated turns, with what ships."""

import json
from pathlib import Path

import pytest

import app
from chat_app.cli import run

EXAMPLES = Path(__file__).parents[2] / "chat_app" / "examples"


@pytest.mark.model
@pytest.mark.usefixtures("default_model")
def test_the_shipped_rater_simulates_with_the_shipped_prompts(tmp_path: Path):
    lines = (EXAMPLES / "eval_prompts.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "eval.jsonl").write_text("\n".join(lines[:4]), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        run(
            app.serve,
            [
                *("simulate", "--rater", str(EXAMPLES / "raters" / "brevity.py")),
                *("--prompts", str(EXAMPLES / "prompts.jsonl")),
                *("--eval-prompts", str(tmp_path / "eval.jsonl")),
                *("--turns", "2", "--seed", "1", "--out", str(tmp_path / "out")),
                *("--max-new-tokens", "16"),
            ],
        )
    assert ended.value.code == 0
    first, last = json.loads((tmp_path / "out" / "summary.json").read_text())["checkpoints"]
    assert (first["turn"], last["turn"]) == (0, 2)
    assert last["asked"] == 2, "the burn-in asks about every message"
    assert 1 <= last["mean_length_tokens"] <= 16
    assert last["mean_score_shown"] < 0, "words cost"
