"""PPO on a tiny real model: it finds an optimum that is known, and keeps its promises."""

from dataclasses import replace
from datetime import UTC, datetime
from math import sqrt

import pytest
import torch

from learner.measures import token_kl
from learner.reward.criteria import OUT
from learner.update_config import LoraSpec, PpoConfig, RolloutConfig
from learner.updates.lesson import Demonstration, Lesson
from learner.updates.ppo import Ppo
from learner.updates.rollouts import RewardScale, sample_rollouts
from storage.records import FinishReason, PolicyVersion, PolicyVersionId, Sampling
from tests.learner.bandit import PROMPT, Bandit
from tests.learner.conftest import user

BETA = 0.5
FREE = Sampling(temperature=1.0, top_k=1000, top_p=1.0, max_new_tokens=1)
BANDIT = PpoConfig(
    learning_rate=0.02,
    lora=LoraSpec(rank=8, alpha=16),
    rollout=RolloutConfig(
        samples=64, batch=64, sampling=FREE, pessimism=0.0, normalise=False, reward_clip=100.0
    ),
    minibatch=32,
    value_learning_rate=0.05,
    whiten=False,
    kl_weight=BETA,
    kl_adapts=False,
    row_tokens=1000,
)


class Letters:
    """Pays for every small letter; its members are of different opinions about the rest."""

    def score(self, prompt, completions):
        counts = torch.tensor([float(sum(map(str.islower, c.text))) for c in completions])
        lengths = torch.tensor([float(len(c.text)) for c in completions])
        return torch.stack([counts + 0.1 * lengths, counts - 0.1 * lengths])


def test_ppo_finds_the_optimum_of_a_bandit(engine, base):
    bandit = Bandit(engine.backbone, BETA)
    rule = Ppo(engine, bandit, BANDIT, max_prompt_tokens=256)
    rule.begin(base, seed=1)
    before = bandit.standing()
    for number in range(24):
        metrics = rule.step([PROMPT], (), seed=1000 * number)
    after = bandit.standing()
    rule.close()
    assert before.kl_to_best > 0.3
    assert 0.97 < after.gain <= 1.0 + 1e-5
    assert after.kl_to_best < 0.05 * before.kl_to_best
    assert metrics["kl"] == pytest.approx(after.kl, rel=0.5)


LETTERS = replace(
    BANDIT,
    learning_rate=5e-3,
    rollout=RolloutConfig(samples=8, batch=16, sampling=replace(FREE, max_new_tokens=6)),
    minibatch=8,
    whiten=True,
    kl_weight=0.02,
    row_tokens=64,
)


def version(folder, number=7) -> PolicyVersion:
    return PolicyVersion(
        id=PolicyVersionId(number),
        parent=PolicyVersionId(0),
        adapter_path=folder,
        created_at=datetime.now(UTC),
    )


def test_an_interrupted_run_goes_on_to_the_same_weights(engine, base):
    prompts = (user("Say a"), user("And now?"))

    def weights():
        return [p.detach().clone() for p in engine.backbone.training_lora().tensors.values()]

    whole = Ppo(engine, Letters(), LETTERS, max_prompt_tokens=256)
    whole.begin(base, seed=1)
    for number in range(3):
        expected_metrics = whole.step(prompts, (), seed=number)
    expected = weights()
    whole.close()
    again = Ppo(engine, Letters(), LETTERS, max_prompt_tokens=256)
    again.begin(base, seed=1)
    again.step(prompts, (), seed=0)
    kept = again.tensors()
    again.step(prompts, (), seed=99)
    again.restore(kept, seed=1)
    again.step(prompts, (), seed=1)
    assert again.step(prompts, (), seed=2) == pytest.approx(expected_metrics, rel=1e-4, abs=1e-5)
    for one, other in zip(weights(), expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-6)
    again.close()


class Refitted:
    """Likes what ``Letters`` likes, and is far surer of it."""

    def __init__(self, members: int) -> None:
        self._members = members

    def score(self, prompt, completions):
        return (100.0 + 40.0 * Letters().score(prompt, completions)[:1]).expand(self._members, -1)


@pytest.mark.parametrize("members", [2, 5])
def test_a_round_takes_the_scale_of_its_own_ensemble(engine, base, tmp_path, members):
    said = Lesson(prompts=(user("Say a"), user("And now?")))
    config = replace(LETTERS, iterations=1, kl_adapts=True)
    first = Ppo(engine, Letters(), config, max_prompt_tokens=256)
    first.update(base, said, seed=1)
    first.save(tmp_path)
    first.close()
    second = Ppo(engine, Refitted(members), config, max_prompt_tokens=256)
    metrics = second.update(version(tmp_path), said, seed=2)
    second.begin(version(tmp_path), seed=2)  # as a phase does, whose settings say what beta is
    assert float(second.tensors()["ppo.kl_weight"]) == config.kl_weight
    second.close()
    assert metrics["score"] == pytest.approx(0.0, abs=1e-4)  # the old scale gives all of them 5
    assert metrics["kl_weight"] < config.kl_weight  # that is steered on


def test_demonstrations_are_learned_beside(engine, base):
    demonstration = Demonstration(prompt=user("Say a"), reply_ids=tuple(b"hello!"))
    rule = Ppo(engine, Letters(), replace(LETTERS, ptx_weight=1.0), max_prompt_tokens=256)
    rule.begin(base, seed=1)
    losses = [rule.step((user("Say a"),), (demonstration,), seed=n)["ptx_loss"] for n in range(4)]
    assert losses[-1] < losses[0] - 0.1
    rule.close()


def test_the_kl_is_measured_to_the_given_reference(engine, base, tmp_path):
    prompts = (user("Say a"),)
    first = Ppo(engine, Letters(), LETTERS, max_prompt_tokens=256)
    first.update(base, Lesson(prompts=prompts), seed=1)
    first.save(tmp_path)
    first.close()
    taught = version(tmp_path)
    to_base, to_itself = (
        Ppo(engine, Letters(), LETTERS, max_prompt_tokens=256, reference=reference)
        for reference in (None, taught)
    )
    kl = []
    for rule in (to_base, to_itself):
        rule.begin(taught, seed=1)
        for other in range(20, 24):  # as reward models do, which are adapters, too
            engine.backbone.ensure_resident(version(tmp_path, other))
        kl.append(rule.step(prompts, (), seed=9)["kl"])
        rule.close()
    assert kl[1] == pytest.approx(0.0, abs=1e-6)
    assert kl[0] > 1e-4


def test_where_members_disagree_the_reward_is_worth_less(engine, base):
    engine.backbone.open_training(base, LoraSpec(rank=2, alpha=2), 0)
    config = LETTERS.rollout
    rollouts = sample_rollouts(engine, Letters(), (user("Say a"),), config, seed=0)
    scale = RewardScale.of(rollouts, config)
    bold = scale(rollouts, replace(config, pessimism=0.0))
    cautious = scale(rollouts, replace(config, pessimism=2.0))
    lengths = torch.tensor([float(len(r.completion.text)) for r in rollouts])
    off = (bold - cautious) * scale.spread
    torch.testing.assert_close(off, 0.2 * (lengths - lengths.mean()).abs())
    assert float(bold.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(bold.std(correction=0)) == pytest.approx(1.0, abs=1e-4)
    cut = torch.tensor([r.completion.finish_reason is FinishReason.LENGTH for r in rollouts])
    strict = scale(rollouts, replace(config, pessimism=0.0, unfinished_penalty=1.5))
    torch.testing.assert_close(bold - strict, 1.5 * cut)


def test_a_harmful_reply_in_the_first_batch_takes_no_reward_from_the_others(engine, base):
    engine.backbone.open_training(base, LoraSpec(rank=2, alpha=2), 0)
    config = LETTERS.rollout
    rollouts = sample_rollouts(engine, Letters(), (user("Say a"), user("Say b")), config, seed=0)
    out = replace(rollouts[0], rewards=rollouts[0].rewards - OUT)
    scale, usual = (
        RewardScale.of([out, *rollouts[1:]], config),
        RewardScale.of(rollouts[1:], config),
    )
    assert scale.spread == usual.spread and torch.equal(scale.centre, usual.centre)
    worth = scale([out, *rollouts[1:]], config)
    assert float(worth[0]) == -config.reward_clip
    torch.testing.assert_close(worth[1:], usual(rollouts[1:], config))


def test_the_exact_kl_has_the_gradient_of_its_definition(backbone):
    generator = torch.Generator().manual_seed(0)
    hidden, other = (torch.randn(7, 32, generator=generator).requires_grad_() for _ in range(2))
    token_kl(hidden, other, backbone.lm_head).sum().backward()
    found = hidden.grad.clone(), other.grad.clone()
    hidden.grad = other.grad = None
    logp, logq = (backbone.lm_head(x).log_softmax(1) for x in (hidden, other))
    (logp.exp() * (logp - logq)).sum().backward()
    torch.testing.assert_close(found[0], hidden.grad, atol=1e-4 * sqrt(32), rtol=1e-3)
    torch.testing.assert_close(found[1], other.grad, atol=1e-4 * sqrt(32), rtol=1e-3)
