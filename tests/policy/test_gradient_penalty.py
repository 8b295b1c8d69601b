"""A penalty on the gradient of a whole unroll: second derivatives through rounds, memory and heads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gnncomm.layers import AttentionComm, CommLayer, MeanComm
from gnncomm.policy import GRU, CommPolicy
from gnncomm.topology import Full, KNearest, Topology
from gnncomm.types import TimeStep
from gnncomm.wire import Wire

T, B, N, D, A, H = 3, 2, 6, 4, 3, 8

LAYERS: dict[str, Callable[[], CommLayer]] = {"mean": lambda: MeanComm(H, H), "attention": lambda: AttentionComm(H, H)}


def rollout() -> TimeStep:
    draw = torch.Generator().manual_seed(2)
    no, rows = torch.zeros(T, B, dtype=torch.bool), (T, B, N)
    return TimeStep(
        obs=torch.rand(*rows, D, dtype=torch.float64, generator=draw),
        reward=torch.zeros(rows),
        discount=torch.ones(rows),
        alive=torch.ones(rows, dtype=torch.bool),
        terminated=no,
        truncated=no,
        success=no,
        first=no,
        key=torch.arange(B).expand(T, B),
        step=torch.arange(T).unsqueeze(1).expand(T, B),
        pos=torch.rand(*rows, 2, generator=draw),
        entered=torch.zeros(rows, dtype=torch.bool),
        action_mask=torch.ones(*rows, A, dtype=torch.bool),
    )


def penalty(policy: CommPolicy, steps: TimeStep) -> tuple[Tensor, ...]:
    """The gradient of the squared gradient of a loss, for every weight that has one."""
    action = torch.zeros(T, B, N, dtype=torch.int64)
    said = policy.unroll(steps, action, policy.initial_state(B, N))
    weights = list(policy.parameters())
    loss = said.log_prob.square().sum() + said.value.square().sum()
    slopes = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
    size = sum(slope.square().sum() for slope in slopes if slope is not None)
    assert isinstance(size, Tensor)
    found = torch.autograd.grad(size, weights, allow_unused=True)
    return tuple(torch.zeros(()) if each is None else each for each in found)


@pytest.mark.parametrize("topology", [Full(), KNearest(2)], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_a_gradient_penalty_is_that_of_the_edges(name: str, topology: Topology) -> None:
    torch.manual_seed(0)
    policy = CommPolicy(D, A, LAYERS[name](), GRU(H), wire=Wire(topology)).double()
    found = penalty(policy, rollout())
    layer = policy.comm.rounds[0]
    layer.register_message_forward_hook(lambda module, inputs, out: None)  # which a dense form could not call
    want = penalty(policy, rollout())
    inbox = [weight for key, weight in zip(dict(policy.named_parameters()), want, strict=True) if "lin_inbox" in key]
    assert all(each.abs().max() > 1e-6 for each in inbox), "what was heard has no part in it"
    for one, other in zip(found, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)
