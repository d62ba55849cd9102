"""What every update rule has to hold, and that each learns what it is told."""

from dataclasses import replace

import pytest
import torch

from learner.config import OnlineConfig, RewardConfig
from learner.losses import kto_loss
from learner.protocols import UpdateRule
from learner.reward.head import BayesianRewardHead
from learner.update_config import (
    GroupConfig,
    KtoConfig,
    LoraSpec,
    NpgConfig,
    PpoConfig,
    RolloutConfig,
    UpdateConfig,
    UpdateRuleName,
)
from learner.updates.grpo import Grpo
from learner.updates.kto import Kto, _mismatched
from learner.updates.lesson import Lesson, Verdict
from learner.updates.npg import Npg
from learner.updates.online_dpo import OnlineDpo
from learner.updates.ppo import Ppo
from learner.updates.rloo import Rloo
from learner.updates.rules import make_rule
from storage.records import Sampling
from tests.learner.bandit import PROMPT, Bandit
from tests.learner.conftest import user
from tests.learner.test_online_dpo import CONFIG as DPO
from tests.learner.test_online_dpo import (
    LONG_CHAT,
    candidate,
    make_pairs,
    margin_now,
    saved,
    with_limit,
)

SMALL = {"learning_rate": 5e-3, "lora": LoraSpec(rank=4, alpha=8), "row_tokens": 64}
ROLLOUT = RolloutConfig(
    samples=4, sampling=Sampling(temperature=1.0, top_k=1000, top_p=1.0, max_new_tokens=5)
)
GROUP = GroupConfig(rollout=ROLLOUT, minibatch=8, **SMALL)
PAIRED = ["dpo", "npg", "kto"]
SAMPLING = ["ppo", "rloo", "grpo"]


class SmallLetters:
    """Pays for the share of small letters."""

    def score(self, prompt, completions):
        share = [sum(map(str.islower, c.text)) / max(1, len(c.text)) for c in completions]
        return torch.tensor([share, share])


def make(name, engine, reward=None):
    reward, backbone = reward or SmallLetters(), engine.backbone
    return {
        "dpo": lambda: OnlineDpo(backbone, DPO, max_prompt_tokens=256),
        "npg": lambda: Npg(backbone, NpgConfig(**SMALL), max_prompt_tokens=256),
        "kto": lambda: Kto(backbone, KtoConfig(**SMALL), max_prompt_tokens=256),
        "ppo": lambda: Ppo(
            engine, reward, PpoConfig(rollout=ROLLOUT, **SMALL), max_prompt_tokens=256
        ),
        "rloo": lambda: Rloo(engine, reward, GROUP, max_prompt_tokens=256),
        "grpo": lambda: Grpo(engine, reward, GROUP, max_prompt_tokens=256),
    }[name]()


def lesson(backbone) -> Lesson:
    return Lesson(
        pairs=tuple(as_sampled(make_pairs(backbone.tokenizer), backbone)),
        prompts=(user("Question 0?"), user("Question 1?")),
    )


def as_sampled(pairs, backbone):
    """The same pairs with the log-probabilities the base gives their tokens."""
    from learner.measures import ScoredText, reply_states, token_logprobs
    from learner.rendering import prompt_ids

    def told(prompt, one):
        text = ScoredText(
            prompt_ids=prompt_ids(backbone.tokenizer, prompt), reply_ids=one.completion.token_ids
        )
        with torch.no_grad():
            states = reply_states(backbone, [text])
            found = token_logprobs(states.hidden, backbone.lm_head, states.tokens)
        return replace(one, completion=replace(one.completion, logprobs=tuple(found.tolist())))

    return [
        replace(p, chosen=told(p.prompt, p.chosen), rejected=told(p.prompt, p.rejected))
        for p in pairs
    ]


@pytest.mark.parametrize("name", PAIRED + SAMPLING)
def test_it_fits_the_protocol_and_repeats_and_leaves_parent_and_base_alone(
    name, engine, base, tmp_path
):
    backbone = engine.backbone
    said = lesson(backbone)
    at_base = margin_now(backbone, said.pairs)
    rule = make(name, engine)
    assert isinstance(rule, UpdateRule)
    metrics = rule.update(base, said, seed=3)
    assert all(isinstance(value, float) for value in metrics.values())
    parent = saved(rule, base, tmp_path / "1", 1)
    torch.testing.assert_close(margin_now(backbone, said.pairs), at_base)
    files = {f.name: f.read_bytes() for f in parent.adapter_path.iterdir()}
    margins = []
    for folder in "ab":
        rule = make(name, engine)
        rule.update(parent, said, seed=4)
        margins.append(margin_now(backbone, said.pairs))
        saved(rule, parent, tmp_path / folder, 2)
    assert torch.equal(*margins)
    assert {f.name: f.read_bytes() for f in parent.adapter_path.iterdir()} == files
    one, other = ((tmp_path / f / "adapter_model.safetensors").read_bytes() for f in "ab")
    assert one == other != files["adapter_model.safetensors"]


@pytest.mark.parametrize("name", PAIRED)
def test_what_was_chosen_rises_over_what_was_not(name, engine, base, tmp_path):
    said = lesson(engine.backbone)
    before = margin_now(engine.backbone, said.pairs)
    rule, version = make(name, engine), base
    for number in range(1, 5):
        rule.update(version, said, seed=number)
        version = saved(rule, version, tmp_path / str(number), number)
    engine.backbone.ensure_resident(version)
    engine.backbone.use(version.id)
    assert (margin_now(engine.backbone, said.pairs) > before + 0.5).all()


@pytest.mark.parametrize("name", SAMPLING)
def test_no_two_replies_of_a_rule_are_drawn_from_one_seed(name, engine, base):
    """Two that are begin alike, and where a group compares them, they say little."""

    class Seen(SmallLetters):
        def __init__(self):
            self.seeds = []

        def score(self, prompt, completions):
            self.seeds += [c.seed for c in completions]
            return super().score(prompt, completions)

    reward = Seen()
    rule = make(name, engine, reward)
    for round_seed in (1, 2):
        rule.update(base, Lesson(prompts=(user("Question 0?"), user("Question 1?"))), round_seed)
        rule.close()
    assert len(set(reward.seeds)) == len(reward.seeds) == 2 * 2 * 2 * ROLLOUT.samples


@pytest.mark.parametrize("rule_class", [Rloo, Grpo])
def test_a_group_finds_the_optimum_of_a_bandit(rule_class, engine, base):
    """RLOO goes to the optimum itself.

    GRPO divides rewards by their spread, which the KL penalty has to follow, and the gradient of k3
    is that of KL(reference || policy): its optimum is another one nearby.
    """
    bandit = Bandit(engine.backbone, 1.0)
    spread = 1.0 if rule_class is Rloo else float(bandit.reward.std())
    free = Sampling(temperature=1.0, top_k=1000, top_p=1.0, max_new_tokens=1)
    config = GroupConfig(
        learning_rate=0.02,
        lora=LoraSpec(rank=8, alpha=16),
        row_tokens=1000,
        kl_weight=1.0 / spread,
        minibatch=48,
        rollout=RolloutConfig(
            samples=48, batch=48, sampling=free, pessimism=0.0, normalise=False, reward_clip=100.0
        ),
    )
    rule = rule_class(engine, bandit, config, max_prompt_tokens=256)
    rule.begin(base, 1)
    before = bandit.standing()
    for number in range(16):
        rule.step([PROMPT], seed=1000 * number)
    after = bandit.standing()
    rule.close()
    assert (0.95 if rule_class is Rloo else 0.8) < after.gain <= 1.0 + 1e-5
    assert after.kl_to_best < (0.1 if rule_class is Rloo else 0.3) * before.kl_to_best


def test_without_the_nudge_an_undecided_pair_teaches_nothing_and_with_it_both_rise(engine, base):
    backbone = engine.backbone
    pairs = as_sampled(make_pairs(backbone.tokenizer), backbone)
    undecided = [replace(p, chosen_prob=0.5, prob_std=0.2) for p in pairs]
    grads = []
    for nudge in (0.0, 0.05):
        config = NpgConfig(nudge=nudge, anchor_kl=0.0, reference_kl=0.0, **SMALL)
        rule = Npg(backbone, config, max_prompt_tokens=256)
        grads.append(rule.update(base, Lesson(pairs=tuple(undecided)), seed=1)["grad_norm"])
        rule.close()
    assert grads[0] == pytest.approx(0.0, abs=1e-7)
    assert grads[1] > 1e-3


@pytest.mark.parametrize("style", [None, "short"])
def test_probabilities_under_a_hidden_style_are_no_behaviour_policy(engine, base, style):
    pairs = make_pairs(engine.backbone.tokenizer)  # stored as -1 a token, far from the base's own
    styled = [
        replace(
            p,
            chosen=replace(p.chosen, completion=replace(p.chosen.completion, style=style)),
            rejected=replace(p.rejected, completion=replace(p.rejected.completion, style=style)),
        )
        for p in pairs
    ]
    rule = make("npg", engine)
    metrics = rule.update(base, Lesson(pairs=tuple(styled)), seed=1)
    rule.close()
    assert (metrics["clip_frac"] == 0.0) is (style is not None)


def test_the_anchor_follows_slowly_and_travels_with_the_version(engine, base, tmp_path):
    said = lesson(engine.backbone)
    rule = make("npg", engine)
    rule.update(base, said, seed=1)
    start = [a.clone() for a in rule._anchor]
    parent = saved(rule, base, tmp_path / "1", 1)
    again = make("npg", engine)
    again.update(parent, said, seed=2)
    policy = [p.detach().clone() for p in again._tuning.parameters]
    for was, now, at in zip(start, again._anchor, policy, strict=True):
        torch.testing.assert_close(now, 0.97 * was + 0.03 * at)
    again.close()


def test_a_thumb_alone_teaches_kto(engine, base):
    backbone = engine.backbone
    tokenizer = backbone.tokenizer
    pairs = make_pairs(tokenizer, 2)
    verdicts = (
        Verdict(prompt=pairs[0].prompt, completion=pairs[0].chosen.completion, desirable=True),
        Verdict(prompt=pairs[1].prompt, completion=pairs[1].rejected.completion, desirable=False),
        Verdict(
            prompt=user("Another?"),
            completion=candidate(9, "well", tokenizer).completion,
            desirable=True,
        ),
    )
    before = margin_now(backbone, pairs)
    rule = make("kto", engine)
    metrics = rule.update(base, Lesson(verdicts=verdicts), seed=1)
    assert metrics["verdicts"] == 3.0
    assert (margin_now(backbone, pairs) > before).all()
    rule.close()


def test_kto_learns_nothing_from_a_label_of_one_half(engine, base):
    backbone = engine.backbone
    pairs = make_pairs(backbone.tokenizer, 2)
    doubted = tuple(replace(pair, chosen_prob=0.5) for pair in pairs)
    rule = make("kto", engine)
    metrics = rule.update(base, Lesson(pairs=doubted), seed=1)
    assert metrics["verdicts"] == 4.0 and metrics["grad_norm"] == 0.0
    rule.close()
    half = tuple(replace(pair, chosen_prob=0.75) for pair in pairs)
    whole = tuple(replace(pair, chosen_prob=1.0) for pair in pairs)
    norms = []
    for some in (half, whole):
        norms.append(rule.update(base, Lesson(pairs=some), seed=1)["grad_norm"])
        rule.close()
    assert norms[0] == pytest.approx(norms[1] / 2)


def test_the_reference_point_of_kto_is_made_of_both_kinds_of_replies(backbone):
    rule = Kto(backbone, KtoConfig(**SMALL), max_prompt_tokens=256)
    pairs = make_pairs(backbone.tokenizer, 2)
    replies = [one.reply for one in rule._examples(Lesson(pairs=tuple(pairs)))]
    behind = _mismatched(replies)
    assert sorted(one.reply_ids for one in behind) == sorted(one.reply_ids for one in replies)
    right = {(one.prompt_ids, one.reply_ids) for one in replies}
    assert not any((one.prompt_ids, one.reply_ids) in right for one in behind)


def test_with_one_prompt_the_reference_point_of_kto_is_none(engine, base):
    [pair] = make_pairs(engine.backbone.tokenizer, 1)
    rule = Kto(engine.backbone, KtoConfig(steps=3, **SMALL), max_prompt_tokens=256)
    metrics = rule.update(base, Lesson(pairs=(pair,)), seed=1)
    assert metrics["kto_reference_point"] == 0.0 and metrics["kto_loss"] < 0.5
    rule.close()


def test_npg_learns_a_pair_behind_one_prompt_where_the_chat_is_cut(engine, base):
    """The tiny model has 512 places: beside the longer reply less of a long chat fits."""
    [pair] = make_pairs(engine.backbone.tokenizer, 1)
    pair = replace(pair, prompt=LONG_CHAT, rejected=with_limit(pair.rejected, 350))
    rule = make("npg", engine)
    learned = rule._learned([pair])
    assert len({one.reply.prompt_ids for one in learned.values()}) == 1
    rule.update(base, Lesson(pairs=(pair,)), seed=1)
    rule.close()


def test_kto_counts_both_kinds_alike():
    weights = Kto._weights
    rule = Kto.__new__(Kto)
    rule._config = KtoConfig()
    kinds = torch.tensor([True, False, False, False])
    assert weights(rule, kinds, torch.ones(4)).tolist() == [3, 1, 1, 1]
    sure = torch.tensor([1.0, 0.2, 0.2, 0.1])  # three doubtful ones are half of one that is sure
    assert weights(rule, kinds, sure).tolist() == [1, 2, 2, 2]
    rule._config = KtoConfig(balance=False, undesirable_weight=2.0)
    assert weights(rule, kinds[:2], torch.ones(2)).tolist() == [1, 2]


def test_what_is_taken_back_of_a_step_is_taken_back_of_the_anchor(engine, base):
    said = lesson(engine.backbone)
    rule = make("npg", engine)
    rule.update(base, said, seed=1)
    began = [b.clone() for b in rule._anchor_began]
    anchor = [a.clone() for a in rule._anchor]
    assert any(not torch.equal(a, b) for a, b in zip(anchor, began, strict=True))
    rule.shorten(0.25)
    for now, a, b in zip(rule._anchor, anchor, began, strict=True):
        torch.testing.assert_close(now, b + 0.25 * (a - b))
    shortened = [a.clone() for a in rule._anchor]
    policy = [p.detach().clone() for p in rule._tuning.parameters]
    rule.pull_in(0.49)
    for now, a in zip(rule._anchor, shortened, strict=True):
        torch.testing.assert_close(now, 0.7 * a)
    for now, p in zip(rule._tuning.parameters, policy, strict=True):
        torch.testing.assert_close(now.detach(), 0.7 * p)
    rule.close()


def test_the_kto_loss_is_half_at_the_reference_point_and_pushes_the_right_way():
    logp = torch.tensor([-3.0, -3.0], requires_grad=True)
    desirable = torch.tensor([True, False])
    loss = kto_loss(
        logp, torch.full((2,), -3.5), desirable, torch.ones(2), torch.tensor(0.5), beta=0.1
    )
    torch.testing.assert_close(loss.detach(), torch.tensor([0.5, 0.5]))
    loss.sum().backward()
    assert logp.grad[0] < 0 < logp.grad[1]


@pytest.mark.parametrize("rule", list(UpdateRuleName))
def test_every_rule_can_be_chosen_by_its_name(rule, engine):
    config = OnlineConfig(update=UpdateConfig(rule=rule))
    reward = BayesianRewardHead(RewardConfig(), seed=0)
    made = make_rule(engine, reward, config, max_prompt_tokens=256)
    assert rule.value in made.name
