"""A base model holds a conversation by example: what it is given, and where its reply ends."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from learner.config import Prompting
from learner.engine.backbone import Backbone
from learner.engine.hf import HfEngine
from learner.engine.rows import CandidateRows
from learner.few_shot import before_stop, few_shot_template, shown
from learner.measures import supervised_ids
from learner.model_folder import ModelError
from learner.rendering import prompt_ids
from storage.records import FinishReason, Message, Role, Sampling
from tests.learner.conftest import user
from tests.tiny import byte_tokenizer


@pytest.fixture
def bare_folder(tiny_folder, tmp_path):
    """The tiny model as a base model comes: without a chat template."""
    folder = tmp_path / "bare"
    shutil.copytree(tiny_folder.path, folder)
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] = 2048  # the examples are long for one token a byte
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_the_conversation_follows_the_examples(bare_folder, engine_config):
    backbone = Backbone(bare_folder, engine_config)
    assert backbone.few_shot
    system = Message(role=Role.SYSTEM, content="Be kind.")
    ids = prompt_ids(backbone.tokenizer, [system, *user("Hi", "Hello.", "It's 'late'?")])
    text = backbone.tokenizer.decode(ids)
    examples, own = text.split("Be kind.\n")
    assert own == "User: Hi\nAssistant: Hello.\nUser: It's 'late'?\nAssistant:"
    assert examples.count("User:") == examples.count("Assistant:") >= 3
    begun = prompt_ids(backbone.tokenizer, user("Hi", "Hel"))
    assert backbone.tokenizer.decode(begun).endswith("User: Hi\nAssistant: Hel")


def test_a_chat_model_is_prompted_by_example_only_where_that_is_chosen(
    tiny_folder, bare_folder, engine_config
):
    assert not Backbone(tiny_folder.path, engine_config).few_shot
    chosen = replace(engine_config, prompting=Prompting.FEW_SHOT)
    assert Backbone(tiny_folder.path, chosen).few_shot
    with pytest.raises(ModelError, match="--prompting few-shot"):
        Backbone(bare_folder, replace(engine_config, prompting=Prompting.TEMPLATE))


def test_a_document_begins_as_the_tokenizer_begins_texts():
    tokenizer = byte_tokenizer()
    assert few_shot_template(tokenizer).startswith("{{ 'Below")
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 256)]
    )
    assert few_shot_template(tokenizer).startswith("{{ '<|im_start|>Below")


@pytest.mark.parametrize(
    ("text", "over", "visible"),
    [
        (" Oslo.", None, " Oslo."),
        (" Oslo.\nUse", None, " Oslo."),
        (" Oslo.\nUser", None, " Oslo."),
        (" Oslo.\nUseful", None, " Oslo.\nUseful"),
        (" Oslo.\nUser: And", " Oslo.", " Oslo.\nUser: And"),
        ("\n", None, ""),
        ("", None, ""),
    ],
)
def test_a_reply_ends_where_the_next_line_of_the_person_begins(text, over, visible):
    assert before_stop(text) == over
    assert shown(text) == visible


def write(text, max_new_tokens=64, texts=None, tokenizer=None):
    """Rows that are handed ``text`` token by token."""
    tokenizer = tokenizer or byte_tokenizer()
    sampling = Sampling(max_new_tokens=max_new_tokens)
    rows = CandidateRows(tokenizer, (257,), 0, sampling, [0], few_shot=True)
    for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
        if not rows.running:
            break
        rows.add(torch.tensor([token]), torch.tensor([-0.5]))
        if texts is not None:
            texts.append(rows.text(0))
    return rows


def test_the_words_that_end_a_reply_are_no_part_of_it():
    seen = []
    rows = write(" It is Oslo.\nA city.\nUser: And Sweden?", texts=seen)
    [completion] = rows.completions()
    assert not rows.running and completion.finish_reason is FinishReason.STOP
    assert completion.text == "It is Oslo.\nA city."
    assert len(completion.token_ids) == len(completion.logprobs) == len(" It is Oslo.\nA city.")
    assert not any("User" in text for text in seen)
    assert all(completion.text.startswith(text) for text in seen)


@pytest.mark.parametrize("end", [".", "...", " (Oslo)."])
def test_a_full_stop_that_is_one_token_with_the_end_of_its_line_stays(end):
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([f"{end}\n", "User"])
    [completion] = write(f" Sure{end}\nUser: And", tokenizer=tokenizer).completions()
    assert completion.finish_reason is FinishReason.STOP
    assert completion.text == f"Sure{end}"
    assert tokenizer.decode(completion.token_ids) == f" Sure{end}\n"
    assert len(completion.token_ids) == len(completion.logprobs)


def test_a_reply_of_nothing_has_no_tokens():
    [completion] = write("\nUser: And").completions()
    assert (completion.text, completion.token_ids) == ("", ())


def test_a_reply_that_never_ends_stops_at_its_limit():
    [completion] = write(" on and on and on", max_new_tokens=5).completions()
    assert completion.finish_reason is FinishReason.LENGTH


def test_what_ends_a_reply_is_learned_with_it(bare_folder, engine_config):
    backbone = Backbone(bare_folder, engine_config)
    [completion] = write(" Yes.\nUser:").completions()
    assert backbone.tokenizer.decode(supervised_ids(backbone, completion)) == " Yes.\nUser:"
    assert backbone.tokenizer.decode(backbone.reply_ids("Yes.")) == " Yes."


def test_a_base_model_replies(bare_folder, engine_config):
    engine = HfEngine(
        Backbone(bare_folder, replace(engine_config, max_prompt_tokens=2048)),
        replace(engine_config, max_prompt_tokens=2048),
    )
    batch = engine.start(user("Hi"), 2, Sampling(max_new_tokens=6), 0)
    while batch.running:
        batch.step()
    assert [len(c.token_ids) <= 6 for c in batch.completions()] == [True, True]


def test_a_saved_model_keeps_its_own_template(tiny_folder, engine_config, tmp_path):
    for name, prompting in (("chat", Prompting.AUTO), ("few", Prompting.FEW_SHOT)):
        backbone = Backbone(tiny_folder.path, replace(engine_config, prompting=prompting))
        backbone.save_model(tmp_path / name)
        saved = (tmp_path / name / "chat_template.jinja").read_text()
        assert saved == (tiny_folder.path / "chat_template.jinja").read_text()
