"""Draws of the next token."""

import torch

from learner.sampling import sample_next
from storage.records import Sampling

V = 40


def logits_of(n: int) -> torch.Tensor:
    return 3.0 * torch.randn(n, V, generator=torch.Generator().manual_seed(1))


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(s) for s in seeds]


def test_a_row_draws_the_same_whatever_else_is_in_the_batch():
    logits = logits_of(3)
    together, logp = sample_next(logits, generators(5, 6, 7), Sampling())
    for row, seed in enumerate((5, 6, 7)):
        alone, logp_alone = sample_next(logits[row : row + 1], generators(seed), Sampling())
        assert alone.item() == together[row].item()
        torch.testing.assert_close(logp_alone[0], logp[row])


def test_temperature_zero_is_greedy():
    logits = logits_of(4)
    token, _ = sample_next(logits, generators(0, 0, 0, 0), Sampling(temperature=0.0))
    assert token.tolist() == logits.argmax(dim=1).tolist()


def test_only_the_top_k_are_ever_drawn():
    logits = logits_of(1)
    allowed = set(logits[0].topk(3).indices.tolist())
    [generator] = generators(0)
    sampling = Sampling(temperature=2.0, top_k=3, top_p=1.0)
    drawn = {sample_next(logits, [generator], sampling)[0].item() for _ in range(200)}
    assert drawn == allowed


def test_top_p_keeps_the_smallest_set_that_holds_the_mass():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    [generator] = generators(0)
    sampling = Sampling(temperature=1.0, top_k=4, top_p=0.7)
    drawn = {sample_next(logits, [generator], sampling)[0].item() for _ in range(300)}
    assert drawn == {0, 1}


def test_draws_follow_the_tempered_distribution():
    logits = logits_of(1)[:, :5]
    [generator] = generators(3)
    sampling = Sampling(temperature=1.5, top_k=5, top_p=1.0)
    counts = torch.zeros(5)
    for _ in range(4000):
        counts[sample_next(logits, [generator], sampling)[0]] += 1
    torch.testing.assert_close(counts / 4000, (logits[0] / 1.5).softmax(dim=0), atol=0.03, rtol=0.0)


def test_log_probabilities_are_those_of_the_untempered_policy():
    logits = logits_of(2)
    token, logp = sample_next(logits, generators(1, 2), Sampling(temperature=0.3, top_k=2))
    expected = logits.log_softmax(dim=1).gather(1, token[:, None]).squeeze(1)
    torch.testing.assert_close(logp, expected)
