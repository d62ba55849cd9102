"""Rows of trees against texts run one by one: same log-probabilities, same gradients."""

from dataclasses import replace

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM

from learner import measures
from learner.engine import activations, trees
from learner.engine import backbone as backbone_module
from learner.engine.backbone import Backbone
from learner.engine.trees import Tree
from learner.measures import ScoredText, reply_logps, token_logprobs, tree_logps
from learner.update_config import LoraSpec
from tests.tiny import byte_tokenizer

TREES = (
    Tree((5, 6, 7, 8, 9), ((8, 9, 10, 11), (20,), (30, 31, 32))),
    Tree((40, 41), ((5, 9), ())),
    Tree(tuple(range(60, 80)), (tuple(range(100, 130)), tuple(range(130, 140)))),
)
WEIGHTS = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0, -1.0, 2.0])


def one_by_one(backbone):
    texts = [
        ScoredText(prompt_ids=tree.prompt_ids, reply_ids=reply)
        for tree in TREES
        for reply in tree.replies
    ]
    return torch.cat([reply_logps(backbone, [text]) for text in texts])


def moved(backbone, base):
    """An adapter in training that is not at its start, where half of all gradients are zero."""
    parameters = backbone.open_training(base, LoraSpec(rank=4, alpha=8), 0)
    generator = torch.Generator().manual_seed(1)
    for parameter in parameters:
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return parameters


def gradient(parameters, value):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters)])


def test_replies_in_a_row_are_as_probable_as_alone(backbone, base):
    assert backbone.runs_trees
    moved(backbone, base)
    torch.testing.assert_close(tree_logps(backbone, TREES), one_by_one(backbone))


def test_a_row_has_the_gradient_of_its_replies_one_by_one(backbone, base):
    parameters = moved(backbone, base)
    packed = gradient(parameters, WEIGHTS @ tree_logps(backbone, TREES))
    alone = gradient(parameters, WEIGHTS @ one_by_one(backbone))
    torch.testing.assert_close(packed, alone, rtol=1e-3, atol=1e-4 * float(alone.abs().max()))
    cosine = torch.nn.functional.cosine_similarity(packed, alone, dim=0)
    assert float(cosine) > 0.999999


def test_a_long_row_is_recomputed_to_the_same_gradient(backbone, base, monkeypatch):
    parameters = moved(backbone, base)
    kept: list[int] = []

    def gradient_and_bytes():
        kept.append(0)

        def pack(tensor):
            kept[-1] += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            return gradient(parameters, WEIGHTS @ tree_logps(backbone, TREES))

    short = gradient_and_bytes()
    monkeypatch.setattr(activations, "RECOMPUTED_TOKENS", 10)
    long = gradient_and_bytes()
    torch.testing.assert_close(long, short)
    assert kept[1] < kept[0] / 2


def test_activations_kept_in_half_leave_the_gradient(tiny_folder, engine_config, base, monkeypatch):
    half = Backbone(tiny_folder.path, replace(engine_config, dtype="bfloat16"))
    parameters = moved(half, base)
    whole = gradient(parameters, WEIGHTS @ tree_logps(half, TREES))  # too small to be halved
    halved: list[int] = []
    really = activations._halved

    def counting(kept):
        packed = really(kept)
        halved.append(isinstance(packed, tuple))
        return packed

    monkeypatch.setattr(activations, "_halved", counting)
    monkeypatch.setattr(activations, "_WORTH_HALVING", 0)
    found = gradient(parameters, WEIGHTS @ tree_logps(half, TREES))
    assert sum(halved) > 10
    assert float(torch.nn.functional.cosine_similarity(found, whole, dim=0)) > 0.9995
    assert not torch.equal(found, whole)


def test_a_reply_knows_nothing_of_its_neighbours(backbone):
    with torch.no_grad():
        first = tree_logps(backbone, [Tree((5, 6, 7), ((8, 9), (20, 21, 22)))])
        other = tree_logps(backbone, [Tree((5, 6, 7), ((8, 9), (90, 91, 92)))])
    assert first[0] == other[0]
    assert first[1] != other[1]


def test_gradients_of_log_probabilities_are_those_of_log_softmax(monkeypatch):
    monkeypatch.setattr(measures, "HEAD_VALUES", 3 * 50)  # slices of three rows
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(11, 16, generator=generator, requires_grad=True)
    tokens = torch.randint(0, 50, (11,), generator=generator)
    weights = torch.randn(11, generator=generator)
    head = torch.nn.Linear(16, 50).requires_grad_(False)
    ours = token_logprobs(hidden, head, tokens)
    plain = head(hidden).log_softmax(dim=1).gather(1, tokens[:, None]).squeeze(1)
    torch.testing.assert_close(ours, plain)
    [expected] = torch.autograd.grad(weights @ plain, hidden)
    [found] = torch.autograd.grad(weights @ ours, hidden)
    torch.testing.assert_close(found, expected)


def test_a_bfloat16_model_carries_a_float32_residual_stream(tiny_folder, engine_config):
    backbone = Backbone(tiny_folder.path, replace(engine_config, dtype="bfloat16"))
    assert backbone.carries_float32
    with torch.no_grad():
        hidden = backbone.hidden_states(torch.tensor([[1, 2, 3]]))
    assert hidden.dtype == torch.float32
    assert backbone.runs_trees


def _sees_all(module, query, key, value, mask, **options):
    options.pop("tree_spans", None)
    return trees.sdpa_attention_forward(module, query, key, value, mask, **options)


def test_attention_that_takes_no_notice_of_trees_is_found_out(backbone, monkeypatch):
    monkeypatch.setattr(trees, "_attention", _sees_all)
    expected = one_by_one(backbone)
    assert not backbone.runs_trees
    torch.testing.assert_close(tree_logps(backbone, TREES), expected)


def test_a_row_that_counts_positions_through_is_found_out(backbone, monkeypatch):
    class Counting(trees.Row):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.positions = torch.arange(self.ids.shape[1])[None]

    monkeypatch.setattr(backbone_module, "Row", Counting)
    assert not backbone.runs_trees


def test_a_model_with_attention_of_its_own_is_run_one_text_at_a_time(tmp_path, engine_config, base):
    """Bloom has no positions to give and makes its own mask."""
    tokenizer = byte_tokenizer()
    torch.manual_seed(0)
    config = BloomConfig(
        vocab_size=len(tokenizer), hidden_size=32, n_layer=2, n_head=4, eos_token_id=257
    )
    # Bloom has no longest context, and the backbone asks for one.
    config.max_position_embeddings = 512
    BloomForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    bloom = Backbone(tmp_path, engine_config)
    assert not bloom.runs_trees
    parameters = moved(bloom, base)
    torch.testing.assert_close(tree_logps(bloom, TREES), one_by_one(bloom))
    assert float(gradient(parameters, tree_logps(bloom, TREES).sum()).abs().max()) > 0


@pytest.fixture(autouse=True)
def quiet():
    """transformers registers attention functions process-wide; leave its own as it was."""
    yield
    trees.AttentionInterface.register(trees.ATTENTION, trees._attention)
