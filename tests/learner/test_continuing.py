"""A reply that was cut off goes on as its tokens say: behind a blank, or within a word."""

import shutil
from dataclasses import replace
from threading import Event

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from learner.asking import AskingReplyMaker
from learner.config import AskConfig, Prompting, RewardConfig
from learner.engine.backbone import Backbone
from learner.engine.hf import HfEngine
from learner.engine.rows import CandidateRows, RowsOfBatch
from learner.features import FrozenFeatures
from learner.reward.head import BayesianRewardHead
from tests.learner.conftest import SAMPLING, user
from tests.tiny import CHATML


class Handed(RowsOfBatch):
    """A row that is handed its tokens one by one."""

    def __init__(self, backbone, token_ids):
        rows = CandidateRows(
            backbone.tokenizer, backbone.eos_ids, 0, SAMPLING, [0], few_shot=backbone.few_shot
        )
        super().__init__(rows, 0)
        self._left = list(token_ids)

    def step(self):
        self._rows.add(torch.tensor([self._left.pop(0)]), torch.tensor([-0.5]))

    def drop(self, rows):
        self._rows.drop(rows)


def go_on(backbone, config, begun, token_ids, base, monkeypatch):
    """Every text on the way, and the whole."""
    engine = HfEngine(backbone, config)
    monkeypatch.setattr(engine, "start", lambda *_: Handed(backbone, token_ids))
    replies = AskingReplyMaker(
        engine=engine,
        features=FrozenFeatures(engine),
        reward=BayesianRewardHead(RewardConfig(), seed=0),
        ask=AskConfig(),
        sampling=SAMPLING,
    )
    drafts = []
    plan = replies.go_on(user("Hello"), begun, base, 0, drafts.append, Event())
    return [draft.texts[0] for draft in drafts], plan.shown[0].text


@pytest.fixture
def sentencepiece(tiny_folder, engine_config, tmp_path):
    """The tiny model under a tokenizer that writes blanks as SentencePiece does, before a word."""
    letters = "\N{LOWER ONE EIGHTH BLOCK}abcdefghijklmnopqrstuvwxyzHT.\n<|>_"
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",  # noqa: S106
        eos_token="<|im_end|>",  # noqa: S106
    )
    fast.chat_template = CHATML
    folder = tmp_path / "sentencepiece"
    shutil.copytree(tiny_folder.path, folder)
    fast.save_pretrained(folder)
    return Backbone(folder, engine_config)


@pytest.mark.parametrize(
    ("begun", "more", "whole"),
    [
        ("This is ", "not the end", "This is not the end"),
        ("This is no", "t the end", "This is not the end"),
    ],
)
def test_a_word_keeps_the_blank_before_it(
    sentencepiece, engine_config, base, monkeypatch, begun, more, whole
):
    ids = list(sentencepiece.reply_ids(more))
    if begun.endswith("no"):
        ids = ids[1:]  # the tokenizer's own blank: the word goes on
    assert sentencepiece.tokenizer.decode(ids) == more  # alone, no blank is seen
    seen, said = go_on(
        sentencepiece, engine_config, begun, [*ids, sentencepiece.pad_id], base, monkeypatch
    )
    assert said == whole
    assert all(whole.startswith(text) and text.startswith(begun.strip()) for text in seen)


def test_so_it_does_where_the_model_is_prompted_by_example(
    tiny_folder, engine_config, base, monkeypatch
):
    config = replace(engine_config, prompting=Prompting.FEW_SHOT)
    backbone = Backbone(tiny_folder.path, config)
    backbone.context_tokens = 4096  # the examples are long for one token a byte
    config = replace(config, max_prompt_tokens=4096)
    ids = backbone.tokenizer(" not the end.\nUser:", add_special_tokens=False)["input_ids"]
    seen, said = go_on(backbone, config, "This is", ids, base, monkeypatch)
    assert said == "This is not the end."
    assert all(said.startswith(text) for text in seen)
