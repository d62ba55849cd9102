"""What AdamW remembers goes into plain tensors and comes back where it is needed."""

import torch
from torch import nn

from learner.moments import moments_of, set_moments


def test_all_that_is_taken_up_lies_on_its_parameters_device():
    here = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([here], fused=True)
    here.sum().backward()
    optimizer.step()
    kept = moments_of(optimizer)
    assert {value.device.type for value in kept.values()} == {"cpu"}
    there = nn.Parameter(torch.ones(3, device="meta"))
    other = torch.optim.AdamW([there])
    set_moments(other, kept)
    assert other.state[there].keys() == optimizer.state[here].keys() >= {"step"}
    assert {value.device.type for value in other.state[there].values()} == {"meta"}
