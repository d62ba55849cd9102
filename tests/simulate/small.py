"""A simulation small enough for tests: the tiny model, two prompts and a half, a sharp rater."""

import json
from pathlib import Path

from chat_app.settings import Learning, Settings
from chat_app.simulate.command import simulate_into
from chat_app.simulate.plan import SimulationPlan
from learner.config import AskConfig, AskMode, EngineConfig, OnlineConfig
from learner.model_folder import ModelFolder
from storage.records import Sampling
from tests.tiny import LAX_GATE

RATER = """
def score(messages, reply):
    return -len(reply)

def prefer(messages, reply_a, reply_b, rng):
    assert messages[-1]["role"] == "user"
    return "a" if len(reply_a) < len(reply_b) else "b"
"""


def write_files(folder: Path) -> None:
    """A rater and prompts, one of them in the middle of a conversation."""
    (folder / "rater.py").write_text(RATER)
    prompts = [
        {"prompt": "hi"},
        {"prompt": "why?"},
        {
            "messages": [
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": "two"},
                {"role": "user", "content": "three"},
            ]
        },
    ]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))


ALWAYS = AskConfig(mode=AskMode.ALWAYS, candidates=3, commit_after_tokens=4)


def simulated(
    files: Path,
    model: ModelFolder,
    out: str,
    *,
    turns: int = 11,
    learning: Learning = Learning.ON,
    ask: AskConfig = ALWAYS,
) -> dict:
    plan = SimulationPlan(
        rater=files / "rater.py",
        prompts=files / "prompts.jsonl",
        eval_prompts=files / "prompts.jsonl",
        turns=turns,
        seed=3,
        out=files / out,
    )
    settings = Settings(
        data=files / out / "data",
        learning=learning,
        ask=ask,
        engine=EngineConfig(
            sampling=Sampling(max_new_tokens=12), max_prompt_tokens=256, seed=3, dtype="float32"
        ),
        online=OnlineConfig(gate=LAX_GATE),
    )
    simulate_into(plan, settings, model, lambda _: None)
    return json.loads((files / out / "summary.json").read_text())
