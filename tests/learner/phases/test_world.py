"""Two real processes give what one gives."""

import os
import signal
import subprocess
import sys
import time
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


@pytest.fixture
def command(tmp_path):
    """Of a fine-tuning in so many processes, into a folder of its own."""
    model = write_tiny_model(tmp_path / "tiny").path
    talks = tmp_path / "talks.jsonl"
    rows = [f'{{"prompt": "Question {i}?", "response": "Yes, number {i}."}}\n' for i in range(60)]
    talks.write_text("".join(rows))
    config = tmp_path / "sft.yaml"
    config.write_text(SETTINGS)

    def of(processes: int, *settings: object) -> list[str]:
        words = ["train", "sft", "--config", config, "--files", talks, "--model", model, *settings]
        words += ["--data", tmp_path / f"data{processes}", "--dtype", "float32", "--device", "cpu"]
        words += ["--processes", processes]
        return [sys.executable, "-m", "app", *map(str, words)]

    return of


RUN = {"cwd": ROOT, "env": os.environ | {"OMP_NUM_THREADS": "1"}, "text": True}


@pytest.mark.slow  # three processes that import torch
def test_two_processes_train_what_one_trains(command, tmp_path):
    adapters = []
    for processes in (1, 2):
        data = tmp_path / f"data{processes}"
        ended = subprocess.run(  # noqa: S603 - our own command line
            command(processes), capture_output=True, timeout=600, check=False, **RUN
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


@pytest.mark.slow
def test_a_refused_version_is_told_by_two_processes_as_by_one(command):
    """PyTorch's launcher calls whatever ends with 1 a failed process."""
    ended = subprocess.run(  # noqa: S603 - our own command line
        command(2, "--gate.max-kl-per-token", "1e-9", "--max-steps", 2),
        capture_output=True,
        timeout=600,
        check=False,
        **RUN,
    )
    assert ended.returncode == 1 and "sft: refused" in ended.stdout, ended.stderr
    assert "ended early" not in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_between_two_steps(command, tmp_path):
    """The terminal sends it to the whole group: to our command and to the launcher."""
    running = subprocess.Popen(  # noqa: S603 - our own command line
        command(2, "--max-steps", 100_000, "--epochs", 100_000),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **RUN,
    )
    phases = tmp_path / "data2" / "phases"
    deadline = time.monotonic() + 300
    while not any(phases.glob("*/step-*")):
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(running.pid, signal.SIGINT)
    out, _ = running.communicate(timeout=300)
    assert "the same command goes on from there" in out
    assert running.returncode == 2
    stopped_at = max(phases.glob("*/step-*")).name
    time.sleep(2)
    assert max(phases.glob("*/step-*")).name == stopped_at, "nobody trains on"
