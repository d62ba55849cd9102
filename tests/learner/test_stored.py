"""Weights stored in the type they run in."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from learner.engine import stored
from learner.engine.stored import stored_as
from tests.learner.conftest import full_disk


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch):
    monkeypatch.setattr(stored, "SMALL_BYTES", 0)


def test_the_stored_model_is_the_converted_one(tiny_folder, tmp_path):
    folder = stored_as(tiny_folder, torch.bfloat16, tmp_path)
    types = {t.dtype for t in load_file(folder / "model.safetensors").values()}
    assert types == {torch.bfloat16}
    ours = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    plain = AutoModelForCausalLM.from_pretrained(tiny_folder.path, dtype=torch.bfloat16)
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)
    names = {path.name for path in tiny_folder.path.iterdir()}
    assert {path.name for path in folder.iterdir()} == names


def test_it_is_converted_once_and_not_at_all_where_it_fits(tiny_folder, tmp_path, monkeypatch):
    folder = stored_as(tiny_folder, torch.bfloat16, tmp_path)
    monkeypatch.setattr(stored, "_convert", None)
    assert stored_as(tiny_folder, torch.bfloat16, tmp_path) == folder
    assert stored_as(tiny_folder, torch.float32, tmp_path) == tiny_folder.path


def test_a_cache_that_cannot_be_written_costs_memory_only(tiny_folder, tmp_path):
    taken = tmp_path / "a file"
    taken.touch()
    assert stored_as(tiny_folder, torch.bfloat16, taken / "cache") == tiny_folder.path


def test_what_an_earlier_crash_left_is_no_model(tiny_folder, tmp_path, monkeypatch):
    def crash(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stored, "save_file", crash)
        with pytest.raises(KeyboardInterrupt):
            stored_as(tiny_folder, torch.bfloat16, tmp_path)
    folder = stored_as(tiny_folder, torch.bfloat16, tmp_path)
    assert (folder / "model.safetensors").is_file()


def test_a_disk_that_is_full_costs_memory_only(tiny_folder, tmp_path):
    with full_disk():
        assert stored_as(tiny_folder, torch.bfloat16, tmp_path) == tiny_folder.path
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]  # half a model takes no room


def test_damaged_weights_are_left_to_whoever_loads_them(tiny_folder, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_folder.path, damaged)
    (damaged / "model.safetensors").write_bytes(b"")
    assert stored_as(replace(tiny_folder, path=damaged), torch.bfloat16, tmp_path) == damaged


def test_what_is_mended_beside_the_weights_is_mended_in_the_copy(
    tiny_folder, tmp_path, monkeypatch
):
    model = replace(tiny_folder, path=tmp_path / "model")
    shutil.copytree(tiny_folder.path, model.path)
    cache = tmp_path / "cache"
    folder = stored_as(model, torch.bfloat16, cache)
    monkeypatch.setattr(stored, "_convert", None)
    (model.path / "chat_template.jinja").write_text("{{ messages }}")
    (model.path / "generation_config.json").unlink()
    (model.path / "added.json").write_text("{}")
    assert stored_as(model, torch.bfloat16, cache) == folder
    assert (folder / "chat_template.jinja").read_text() == "{{ messages }}"
    names = {path.name for path in model.path.iterdir()}
    assert {path.name for path in folder.iterdir()} == names
