"""Relay: what is seen, what is rewarded, and the closed forms of its docstring."""

from __future__ import annotations

import pytest
import torch
from gnncomm.envs.relay import Relay
from torch import Tensor

from gnncomm import envs, random

MANY = 20_000


def test_observation_by_hand() -> None:
    env = Relay(num_agents=3, num_symbols=4, steps=2, seen="first")
    step = env.reset(seed=0)
    symbol = int(env.state_dict()["state.symbol"])
    first = torch.zeros(3, 4 + 3 + 1)
    first[0, symbol] = 1.0
    first[:, 4:7] = torch.eye(3)
    assert isinstance(step.obs, Tensor)
    assert torch.equal(step.obs[0], first)
    later = env.step(torch.zeros(1, 3, dtype=torch.int64)).obs
    assert isinstance(later, Tensor)
    first[0, symbol], first[:, 7] = 0.0, 0.5
    assert torch.equal(later[0], first)


def test_seen_always_shows_the_symbol_at_every_step() -> None:
    env = Relay(num_envs=16, steps=3)
    step = env.reset(seed=0)
    symbol = env.state_dict()["state.symbol"]
    for _ in range(3):
        assert isinstance(step.obs, Tensor)
        assert torch.equal(step.obs[:, 0, :8].argmax(1), symbol)
        assert not bool(step.obs[:, 1:, :8].any())
        step = env.step(torch.zeros(16, 4, dtype=torch.int64))


def test_only_the_last_agent_at_the_last_step_counts() -> None:
    env = Relay(num_envs=4, num_agents=3, num_symbols=5, steps=2)
    env.reset(seed=0)
    symbol = env.state_dict()["state.symbol"]
    right, wrong = symbol[:, None].expand(4, 3).clone(), ((symbol + 1) % 5)[:, None].expand(4, 3).clone()
    early = env.step(right)
    assert not bool(early.reward.any() | early.done.any() | early.success.any())
    action = wrong.clone()
    action[:2, -1] = symbol[:2]  # the listener is right in rows 0 and 1
    action[2:, :-1] = right[2:, :-1]  # all others are right in rows 2 and 3
    late = env.step(action)
    assert late.reward.tolist() == [[1.0] * 3, [1.0] * 3, [0.0] * 3, [0.0] * 3]
    assert late.success.tolist() == [True, True, False, False]
    assert bool(late.terminated.all())


def within(share: Tensor, expected: float) -> bool:
    """Four standard errors of a share of ``MANY``."""
    return abs(float(share.float().mean()) - expected) <= 4 * (expected * (1 - expected) / MANY) ** 0.5 + 1e-9


def test_symbols_are_uniform_and_guessing_is_right_once_in_s() -> None:
    env = Relay(num_envs=MANY, num_symbols=8)
    step = env.reset(seed=0)
    symbol = env.state_dict()["state.symbol"]
    assert all(within(symbol == s, 1 / 8) for s in range(8))
    assert within(env.step(env.floor_action(step.key)).success, 1 / 8)
    env.reset()
    assert within(env.step(torch.full((MANY, 4), 3)).success, 1 / 8)
    env.reset()
    assert bool(env.step(env.ceiling_action()).success.all())


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("hops", [1, 3])
def test_closed_form_under_loss(p: float, hops: int) -> None:
    """A policy that passes the symbol on along a lossy chain by hand, and names symbol 0 where nothing came."""
    env = Relay(num_envs=MANY, num_agents=hops + 1, num_symbols=8)
    step = env.reset(seed=1)
    assert isinstance(step.obs, Tensor)
    message = step.obs[:, 0, :8].argmax(1)
    for hop in range(hops):
        lost = random.uniform(random.stream(step.key, "wire"), hop) < p
        message = torch.where(lost, 0, message)
    q = 1 - (1 - p) ** hops
    assert within(env.step(message[:, None].repeat(1, hops + 1)).success, (1 - q) + q / 8)


def test_longest_and_shortest_line() -> None:
    for agents in (1, 40):
        env = envs.make("relay", num_envs=2, num_agents=agents)
        step = env.reset(seed=0)
        assert step.pos is not None
        assert torch.equal(step.pos[0, :, 0], torch.arange(float(agents)))
        assert bool(env.step(env.ceiling_action()).success.all())
