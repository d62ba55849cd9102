"""Where the model runs, and in which type: what cannot be is a sentence."""

import pytest
import torch

from learner.engine.device import pick_device, pick_dtype
from learner.errors import LearnerError

CPU = torch.device("cpu")


def test_what_is_named_is_taken(monkeypatch: pytest.MonkeyPatch):
    assert pick_device("cpu") == CPU
    assert pick_dtype("bfloat16", CPU) is torch.bfloat16
    assert pick_dtype("float32", CPU) is torch.float32
    assert pick_dtype("auto", CPU) in (torch.float32, torch.bfloat16)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda").type == "cuda" and pick_device("cuda:1").index == 1


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x"])
def test_a_device_that_nobody_knows_is_told(name: str):
    with pytest.raises(LearnerError, match="takes auto, cpu, cuda or mps"):
        pick_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", "meta"])
def test_a_device_that_is_not_here_is_told(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(LearnerError, match=f"has no {name} .*leave --device out"):
        pick_device(name)


@pytest.mark.parametrize("name", ["foo", "nn", "int8"])
def test_a_type_that_is_none_of_weights_is_told(name: str):
    with pytest.raises(LearnerError, match="--dtype takes auto, float32, bfloat16"):
        pick_dtype(name, CPU)
