"""Two real processes give what one gives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from learner.phases.world import World
from tests.tiny import write_tiny_model

ROOT = Path(__file__).parents[3]
SETTINGS = """
dialogues_per_step: 6
max_steps: 5
held_out_share: 0.2
lora: {rank: 4, alpha: 8}
row_tokens: 96
optimiser: {learning_rate: 1e-2}
loop: {evaluate_every: 2, checkpoint_every: 2}
gate: {prompts: 1, max_new_tokens: 4, max_kl_per_token: 50, max_perplexity_ratio: 1000000000,
       min_length_ratio: 0, max_length_ratio: 100, max_empty_share: 1, max_repetition: 1, probes: 0}
"""


def test_one_process_alone_has_everything():
    world = World()
    assert world.share([1, 2, 3]) == [1, 2, 3]
    assert world.is_main and world.agree(lambda: "said") == "said"


@pytest.mark.parametrize("size", [2, 3])
def test_the_shares_of_all_processes_are_the_whole(size):
    shares = []
    for rank in range(size):
        world = World()
        world.rank, world.size = rank, size
        shares += world.share(list(range(7)))
    assert sorted(shares) == list(range(7))


@pytest.mark.slow  # three processes that import torch
def test_two_processes_train_what_one_trains(tmp_path):
    model = write_tiny_model(tmp_path / "tiny").path
    talks = tmp_path / "talks.jsonl"
    rows = [f'{{"prompt": "Question {i}?", "response": "Yes, number {i}."}}\n' for i in range(60)]
    talks.write_text("".join(rows))
    config = tmp_path / "sft.yaml"
    config.write_text(SETTINGS)
    adapters = []
    for processes in (1, 2):
        data = tmp_path / f"data{processes}"
        command = ["train", "sft", "--config", config, "--files", talks, "--model", model]
        command += ["--data", data, "--dtype", "float32", "--device", "cpu"]
        ended = subprocess.run(  # noqa: S603 - our own command line
            [sys.executable, "-m", "app", *map(str, command), "--processes", str(processes)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count("is a candidate") == 1  # only the main process speaks
        adapters.append(load_file(data / "rounds/r000001/adapter/adapter_model.safetensors"))
    one, two = adapters
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert (tensor - two[name]).abs().max() < 2e-4, name
    # And not by standing still: a fresh adapter's B is zero.
    assert max(t.abs().max() for n, t in one.items() if "lora_B" in n) > 1e-2
