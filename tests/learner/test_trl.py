"""Losses and gradients against TRL's own code on the same tensors.

Its trainers' loss methods are called unbound, on a stand-in for the trainer that holds only what
they read, so that exactly TRL's arithmetic runs and no model does.
"""

from collections import defaultdict
from types import SimpleNamespace

import torch

from learner.advantages import leave_one_out
from learner.losses import (
    bradley_terry_loss,
    clipped_policy_loss,
    dpo_loss,
    k3,
    kto_loss,
)

B, T = 6, 5
LENGTHS = [5, 3, 1, 4, 5, 2]
MASK = torch.arange(T)[None] < torch.tensor(LENGTHS)[:, None]


def drawn(*shape, seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


class Alone:
    """An ``accelerate`` of one process."""

    device = torch.device("cpu")
    num_processes = 1
    sync_gradients = True

    def gather(self, x):
        return x

    gather_for_metrics = gather

    def reduce(self, x, reduction):
        return x


def trainer(**given):
    return SimpleNamespace(
        accelerator=Alone(),
        _metrics={"train": defaultdict(list), "eval": defaultdict(list)},
        model=SimpleNamespace(training=True),
        aux_loss_enabled=False,
        _total_train_tokens=0,
        _tp_size=1,
        **given,
    )


def group_trainer(logps, **given):
    def per_token(*_, **__):
        return logps, torch.zeros_like(logps), None

    return trainer(
        _get_per_token_logps_and_entropies=per_token,
        epsilon_low=0.2,
        epsilon_high=0.28,
        current_gradient_accumulation_steps=1,
        **given,
    )


def group_inputs(**given):
    ids = torch.zeros(B, T, dtype=torch.long)
    return {
        "prompt_ids": ids,
        "prompt_mask": torch.ones_like(ids),
        "completion_ids": ids,
        "completion_mask": MASK.long(),
        **given,
    }


def compared(ours, theirs, *leaves):
    """The same value, and the same gradient of every leaf."""
    torch.testing.assert_close(ours, theirs)
    for leaf in leaves:
        [a], [b] = (torch.autograd.grad(x, leaf, retain_graph=True) for x in (ours, theirs))
        torch.testing.assert_close(a, b)
        assert (a != 0).any()


def masked_rows(values):
    return [row[:n] for row, n in zip(values, LENGTHS, strict=True)]


def test_grpo_is_trls():
    from trl import GRPOTrainer

    logps = drawn(B, T, seed=1, scale=0.5).requires_grad_()
    old, ref = (logps.detach() + drawn(B, T, seed=s, scale=0.2) for s in (2, 3))
    advantages = drawn(B, seed=4)
    beta = 0.07
    them = group_trainer(
        logps,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="token",
        beta=beta,
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None),
        loss_type="grpo",
        use_vllm=False,
        _entropy_bonus_enabled=False,
    )
    inputs = group_inputs(old_per_token_logps=old, ref_per_token_logps=ref, advantages=advantages)
    theirs = GRPOTrainer._compute_loss(them, None, inputs)
    ours = torch.stack(
        [
            (
                clipped_policy_loss(new, was, a.expand_as(new), low=0.2, high=0.28)
                + beta * k3(new, base)
            ).mean()
            for new, was, base, a in zip(
                *map(masked_rows, (logps, old, ref)), advantages, strict=True
            )
        ]
    ).mean()
    compared(ours, theirs, logps)


def test_ppos_clipped_loss_is_trls_mean_over_tokens():
    from trl import GRPOTrainer

    logps = drawn(B, T, seed=5, scale=0.5).requires_grad_()
    old = logps.detach() + drawn(B, T, seed=6, scale=0.3)
    advantages = drawn(B, T, seed=7)
    them = group_trainer(
        logps,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level="token",
        beta=0.0,
        args=SimpleNamespace(delta=None),
        loss_type="bnpo",
        use_vllm=False,
        _entropy_bonus_enabled=False,
    )
    inputs = group_inputs(old_per_token_logps=old, advantages=advantages)
    theirs = GRPOTrainer._compute_loss(them, None, inputs)
    ours = clipped_policy_loss(logps[MASK], old[MASK], advantages[MASK], low=0.2, high=0.28).mean()
    compared(ours, theirs, logps)


def test_rloo_is_trls():
    from trl import RLOOTrainer

    logps = drawn(B, T, seed=8, scale=0.5).requires_grad_()
    old = (logps.detach() + drawn(B, T, seed=9, scale=0.1)).masked_fill(~MASK, 0.0)
    rewards = drawn(2, 3, seed=10)
    sums = rewards.sum(dim=1, keepdim=True)  # the way its trainer writes it
    torch.testing.assert_close(leave_one_out(rewards), rewards - (sums - rewards) / 2)
    advantages = leave_one_out(rewards).flatten()
    inputs = group_inputs(old_logps=old.sum(dim=1), advantages=advantages)
    theirs = RLOOTrainer._compute_loss(group_trainer(logps), None, inputs)
    ours = clipped_policy_loss(
        torch.stack([row.sum() for row in masked_rows(logps)]),
        old.sum(dim=1),
        advantages,
        low=0.2,
        high=0.28,
    ).mean()
    compared(ours, theirs, logps)


def test_kto_is_trls():
    from trl import KTOTrainer

    logps = drawn(B, T, seed=11).requires_grad_()
    ref, kl, ref_kl = drawn(B, seed=12), drawn(B, seed=13) + 1.0, drawn(B, seed=14)
    labels = torch.tensor([True, False, True, True, False, False])
    told = SimpleNamespace(
        log_probs=logps.masked_fill(~MASK, 0.0),
        entropy=torch.zeros(B, T),
        mean_logits=torch.zeros(B, T),
    )
    them = trainer(
        _compute_kl_logps=lambda model, batch: kl,
        precompute_ref_logps=True,
        calculate_KL=True,
        loss_type="kto",
        beta=0.1,
        desirable_weight=1.0,
        undesirable_weight=1.33,
    )
    whole = torch.cat([torch.ones(B, 1, dtype=torch.long), MASK.long()], dim=1)
    batch = {
        "label": labels,
        "input_ids": whole,
        "attention_mask": whole,
        "completion_mask": whole,
        "ref_logps": ref,
        "ref_KL_logps": ref_kl,
    }
    theirs = KTOTrainer._compute_loss(them, lambda **_: told, batch, False)
    weight = torch.where(labels, 1.0, 1.33).double()
    reference_point = (kl - ref_kl).mean().clamp(min=0.0)
    assert reference_point > 0
    logp = torch.stack([row.sum() for row in masked_rows(logps)])
    ours = kto_loss(logp, ref, labels, weight, reference_point, 0.1).mean()
    compared(ours, theirs, logps)


def test_the_reward_loss_is_trls():
    from trl import RewardTrainer

    rewards = drawn(2 * B, 1, seed=15).requires_grad_()
    them = trainer(args=SimpleNamespace(center_rewards_coefficient=None))
    inputs = {"attention_mask": torch.ones(2 * B, T)}
    model = lambda **_: SimpleNamespace(logits=rewards)  # noqa: E731
    theirs = RewardTrainer.compute_loss(them, model, inputs)
    order = torch.tensor([1.0, 2.0], dtype=torch.float64)
    ours = torch.stack(
        [
            bradley_terry_loss(torch.stack([c, r]), order)
            for c, r in zip(*rewards.squeeze(1).chunk(2), strict=True)
        ]
    ).mean()
    compared(ours, theirs, rewards)


def test_dpo_is_trls():
    from trl import DPOTrainer

    logps = drawn(2 * B, T, seed=16).requires_grad_()
    ref_chosen, ref_rejected = drawn(B, seed=18), drawn(B, seed=19)
    whole = torch.ones(2 * B, T + 1, dtype=torch.long)
    nothing = torch.zeros(2 * B, T)
    told = SimpleNamespace(
        log_probs=logps, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
    )
    them = trainer(
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        beta=0.1,
        use_weighting=False,
    )
    inputs = {
        "input_ids": whole,
        "attention_mask": whole,
        "completion_mask": whole,
        "ref_chosen_logps": ref_chosen,
        "ref_rejected_logps": ref_rejected,
    }
    theirs = DPOTrainer._compute_loss(them, lambda **_: told, inputs, False)
    chosen, rejected = logps.sum(dim=1).chunk(2)
    sure = torch.ones(B).double()
    ours = dpo_loss(chosen, rejected, ref_chosen, ref_rejected, sure, 0.1).mean()
    compared(ours, theirs, logps)
