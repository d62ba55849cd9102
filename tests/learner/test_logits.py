"""Models that do more to their logits than the last linear layer does."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from learner.config import EngineConfig
from learner.engine.backbone import Backbone
from learner.measures import ScoredText, reply_logps, token_logprobs
from learner.model_folder import ModelError
from tests.tiny import write_tiny, write_tiny_model

ON_CPU = EngineConfig(device="cpu", dtype="float32")
TEXT = ScoredText(prompt_ids=tuple(range(1, 9)), reply_ids=tuple(range(60, 75)))


def by_the_model(backbone: Backbone) -> torch.Tensor:
    ids = torch.tensor([TEXT.prompt_ids + TEXT.reply_ids])
    logps = backbone.base(ids).logits[0].log_softmax(dim=1)
    before = slice(len(TEXT.prompt_ids) - 1, -1)
    return logps[before].gather(1, torch.tensor(TEXT.reply_ids)[:, None]).sum()


@pytest.mark.parametrize(
    ("kind", "config", "settings", "scale"),
    [
        (GraniteForCausalLM, GraniteConfig, {"logits_scaling": 8.0}, 1 / 8),
        (CohereForCausalLM, CohereConfig, {"logit_scale": 0.0625}, 0.0625),
        (CohereForCausalLM, CohereConfig, {"logit_scale": 1.0}, 1.0),
    ],
)
@torch.no_grad()
def test_scaled_logits_are_the_probabilities_that_the_model_speaks_by(
    tmp_path: Path,
    kind: Callable[[PreTrainedConfig], PreTrainedModel],
    config: Callable[..., PreTrainedConfig],
    settings: dict[str, float],
    scale: float,
) -> None:
    backbone = Backbone(write_tiny(tmp_path, kind, config, **settings).path, ON_CPU)
    assert backbone.logit_scale == pytest.approx(scale, rel=1e-5)
    [found] = reply_logps(backbone, [TEXT])
    torch.testing.assert_close(found, by_the_model(backbone), atol=1e-3, rtol=1e-5)


def test_the_llama_family_is_left_as_it_is(tmp_path: Path) -> None:
    assert Backbone(write_tiny_model(tmp_path).path, ON_CPU).logit_scale == 1.0


def test_capped_logits_are_refused(tmp_path: Path) -> None:
    capped = write_tiny(
        tmp_path, Gemma2ForCausalLM, Gemma2Config, head_dim=16, final_logit_softcapping=3.0
    )
    with pytest.raises(ModelError, match="Gemma 2"):
        Backbone(capped.path, ON_CPU)


def test_the_bias_of_a_head_that_trains_counts(tmp_path: Path) -> None:
    """Phi-2 and GPT-J have one."""
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(8, 11)
    hidden = torch.randn(5, 8, generator=generator)
    tokens = torch.tensor([0, 3, 10, 7, 7])
    found = token_logprobs(hidden, head, tokens)
    expected = head(hidden).log_softmax(dim=1).gather(1, tokens[:, None]).squeeze(1)
    torch.testing.assert_close(found, expected)
    ours = torch.autograd.grad(found.sum(), head.bias)[0]
    torch.testing.assert_close(ours, torch.autograd.grad(expected.sum(), head.bias)[0])
