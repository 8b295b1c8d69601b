"""Ceilings that call themselves optimal against every policy there is, in instances small enough to try all of them."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from gnncomm.envs.chemical.chemical import Chemical
from gnncomm.envs.hallway import Hallway, HallwayDraws, HallwayState
from torch import Tensor

from gnncomm import envs
from gnncomm.types import Batch


class Fieldless(Chemical):
    """The same game without its physics, which neither moves anybody nor pays: many times quicker to search."""

    def _advance(self, field: Tensor, source: Tensor, emitting: Tensor) -> Tensor:
        return field


DETERMINISTIC: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("rendezvous", {"dim": 3, "num_agents": 3, "max_steps": 4}, ("pos",)),
    ("rendezvous", {"dim": 5, "num_agents": 2, "spread": 1, "shaping": 0.0, "max_steps": 8}, ("pos",)),
    ("rendezvous", {"dim": 3, "num_agents": 3, "spread": 1, "shaping": 0.0, "max_steps": 4}, ("pos",)),
    ("formation", {"dim": 3, "shape": "0,0;0,1;1,0", "max_steps": 4}, ("pos",)),
    ("formation", {"dim": 3, "shape": "0,-1;0,1;-1,0", "max_steps": 5}, ("pos",)),
    ("predator_prey", {"dim": 4, "num_agents": 2, "max_steps": 7}, ("pos",)),
    ("predator_prey", {"dim": 3, "num_agents": 2, "num_prey": 2, "mode": "cooperative", "max_steps": 5}, ("pos",)),
    ("predator_prey", {"dim": 3, "num_agents": 2, "mode": "competitive", "max_steps": 5}, ("pos",)),
    ("predator_capture_prey", {"dim": 3, "num_agents": 2, "max_steps": 6}, ("pos", "captured")),
    ("predator_capture_prey", {"dim": 3, "num_agents": 2, "partial_reward": True, "num_prey": 2}, ("pos", "captured")),
    ("chemical", {"dim": 3, "num_agents": 3, "max_steps": 8, "team": 2}, ("pos", "active")),
    ("chemical", {"dim": 4, "num_agents": 2, "team": 1, "max_steps": 12}, ("pos", "active")),
    ("chemical", {"dim": 4, "num_agents": 2, "max_steps": 12}, ("pos", "active")),
    ("chemical", {"dim": 3, "num_agents": 3, "num_sources": 1, "max_steps": 5}, ("pos", "active")),
    ("hallway", {"lengths": "2,3|4", "slip": 0.0, "max_steps": 9}, ("distance", "active", "won")),
    ("hallway", {"lengths": "2|2|2", "slip": 0.0, "max_steps": 6}, ("distance", "active", "won")),
    ("relay", {"num_agents": 2, "num_symbols": 3, "steps": 2}, ("t",)),
]


def build(id: str, num_envs: int, **settings: Any) -> Any:
    return (Fieldless if id == "chemical" else partial(envs.make, id))(num_envs=num_envs, **settings)


def best_return(env: Any, state: Batch, names: tuple[str, ...]) -> float:
    """The largest return, summed over agents, of any sequence of joint actions from ``state`` (one environment)."""
    joint = torch.tensor(list(product(range(env.num_actions), repeat=env.num_agents)))
    score, most = torch.zeros(1, dtype=torch.float64), -float("inf")
    for t in range(1, env.max_steps + 1):
        many = state.select(torch.arange(len(score)).repeat_interleave(len(joint)))
        action = joint.repeat(len(score), 1)
        draws = env.draws(torch.zeros(len(action), dtype=torch.int64), torch.full((len(action),), t))
        after, reward, flags = env.transition(many, action, draws)
        total = score.repeat_interleave(len(joint)) + reward.double().sum(1)
        over = flags.terminated | (t == env.max_steps)
        if bool(over.any()):
            most = max(most, float(total[over].max()))
        if bool(over.all()):
            break
        after, total = after.select(~over), total[~over]
        order = total.argsort(descending=True)  # of equal states the first one has the highest score
        after, total = after.select(order), total[order]
        key = torch.cat([after.tensors()[name].reshape(len(total), -1).long() for name in names], 1)
        _, which = key.unique(dim=0, return_inverse=True)
        first = torch.full((int(which.max()) + 1,), len(which)).scatter_reduce_(
            0, which, torch.arange(len(which)), "amin"
        )
        state, score = after.select(first), total[first]
    return most


def ceiling_returns(env: Any, seed: int) -> tuple[Batch, Tensor]:
    env.reset(seed=seed)
    begun, total = env._current("test"), torch.zeros(env.num_envs, dtype=torch.float64)
    running = torch.ones(env.num_envs, dtype=torch.bool)
    while bool(running.any()):
        step = env.step(env.ceiling_action())
        total += torch.where(running, step.reward.double().sum(1), 0.0)
        running &= ~step.done
        if bool(step.done.any()):
            env.reset(where=step.done)
    return begun, total


@pytest.mark.parametrize(("id", "settings", "names"), DETERMINISTIC, ids=str)
def test_no_policy_does_better(id: str, settings: dict[str, Any], names: tuple[str, ...]) -> None:
    env = build(id, num_envs=1 if settings.get("num_agents") == 3 else 2, **settings)
    assert env.ceiling_kind == "optimal"
    begun, total = ceiling_returns(env, seed=5)
    for row in range(env.num_envs):
        best = best_return(env, begun.select(torch.tensor([row])), names)
        assert float(total[row]) == pytest.approx(best, abs=1e-5), row


def test_the_search_finds_what_is_better() -> None:
    """The ceiling of rendezvous with ``spread`` and shaping meets soonest, which is not worth most."""
    env: Any = envs.make("rendezvous", num_envs=16, dim=3, num_agents=2, spread=1, shaping=5.0, max_steps=4)
    assert env.ceiling_kind == "reference"
    begun, total = ceiling_returns(env, seed=1)
    best = [best_return(env, begun.select(torch.tensor([row])), ("pos",)) for row in range(16)]
    assert any(b > t + 0.1 for b, t in zip(best, total.tolist(), strict=True))
    assert all(b >= t - 1e-5 for b, t in zip(best, total.tolist(), strict=True))


@pytest.mark.parametrize(("lengths", "slip"), [("2,3", 0.25), ("1,2,2", 0.4), ("3", 0.5)])
def test_no_policy_gets_through_the_hallway_more_often(lengths: str, slip: float) -> None:
    """Dynamic programming over all states and chances; the ceiling's own value comes from the same table."""
    env = Hallway(lengths=lengths, slip=slip, max_steps=8)
    assert env.ceiling_kind == "optimal"
    sizes = [int(n) + 1 for n in lengths.split(",")]
    places = torch.tensor(list(product(*map(range, sizes))))
    stuck = torch.tensor(list(product([False, True], repeat=len(sizes))))
    chance = torch.where(stuck, slip, 1 - slip).double().prod(1)
    joint = torch.tensor(list(product(range(3), repeat=len(sizes))))
    P, K, J = len(places), len(stuck), len(joint)
    state = HallwayState(
        places.repeat_interleave(K * J, 0),
        stuck.repeat(P, 1).repeat_interleave(J, 0),
        torch.ones(P * K * J, 1, dtype=torch.bool),
        torch.zeros(P * K * J, 1, dtype=torch.bool),
    )
    none = torch.empty(P * K * J, 0, dtype=torch.int64)
    after, reward, flags = env.transition(
        state, joint.repeat(P * K, 1), HallwayDraws(none, torch.zeros_like(state.stuck))
    )
    weights = torch.tensor([int(torch.tensor(sizes[i + 1 :]).prod()) for i in range(len(sizes))])
    there = (after.distance * weights).sum(1)
    planned = (env.solve(state) * torch.tensor([3 ** (len(sizes) - 1 - i) for i in range(len(sizes))])).sum(1)
    planned = planned.view(P * K, J)[:, :1]
    best = ceiling = torch.zeros(P, K, dtype=torch.float64)
    for _ in range(env.max_steps):
        best, ceiling = (
            (reward[:, 0] + torch.where(flags.terminated, 0.0, (value @ chance)[there])).view(P * K, J)
            for value in (best, ceiling)
        )
        best, ceiling = best.amax(1).view(P, K), ceiling.gather(1, planned).view(P, K)
    inside = (places > 0).all(1)
    assert float(best[inside].max()) > 0.3
    torch.testing.assert_close(ceiling[inside], best[inside], rtol=0, atol=1e-9)


def test_kinds_of_all_protocols() -> None:
    """What the pages and the tables of evaluations say."""
    optimal = {name for name in envs.names() if envs.make(name).ceiling_kind == "optimal"}  # type: ignore[attr-defined]
    assert {name.partition("/")[0] for name in optimal} == {
        "chemical", "formation", "hallway", "predator_capture_prey", "predator_prey", "relay", "rendezvous", "switch",
    }  # fmt: skip
    for name in ("chemical/rooms-v0", "predator_prey/10x10-5-flee-v0", "predator_prey/10x10-5-random-v0"):
        assert name not in optimal
    assert "rendezvous/15x15-8-v0" not in optimal
