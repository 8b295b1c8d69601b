"""How often the verdict is wrong: teams that nobody trained, whose messages are worth nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import envs
from gnncomm.evaluate import Difference, Overheard, Partners, Shuffled, paired_difference, play
from gnncomm.evaluate.play import evaluating, team
from gnncomm.layers import AttentionComm, CommStack
from gnncomm.policy import GRU, CommPolicy
from gnncomm.types import VectorEnv

EPISODES = 64
EVALUATIONS = 50
ENVS = ["traffic_junction/easy-v0", "battle", "foraging", "predator_prey"]


def untrained(env: VectorEnv, seed: int) -> CommPolicy:
    """Random weights, decisive enough that actions depend on messages."""
    torch.manual_seed(seed)
    policy = CommPolicy(env.obs_dim, env.num_actions, CommStack([AttentionComm(16, 16)], nn.Tanh()), GRU(16))
    with torch.no_grad():
        policy.actor.weight.mul_(100)
    return policy


def gain(policy: CommPolicy, env: VectorEnv, seed: int) -> Difference:
    """As ``evaluate`` finds it, without the arms that play no part in it."""
    partners, returns = Partners(), []
    for control in (Overheard, Shuffled):
        subject = policy.with_wire(replace(policy.wire, channel=control(partners)))
        with torch.no_grad(), evaluating(subject):
            returns.append(play(env, team(subject, env, seed, None, partners), EPISODES, seed).returns)
    return paired_difference(*returns)


def gains(name: str, count: int) -> list[Difference]:
    env = envs.make(name, num_envs=EPISODES, observation="sparse")
    return [gain(untrained(env, seed), env, seed) for seed in range(count)]


@pytest.mark.slow
def test_untrained_teams_are_seldom_said_to_communicate() -> None:
    """200 evaluations, 64 episodes each: 2.5 % may be flagged, and gains vary as their standard errors say.

    The bounds are four standard errors of a share of 200 and of a standard deviation of 200 numbers. Measured: 7
    flagged, 1.03.
    """
    found = [each for name in ENVS for each in gains(name, EVALUATIONS)]
    z = torch.tensor([each.mean / each.standard_error for each in found if each.standard_error])
    flagged = sum(each.interval.low > 0 for each in found) / len(found)
    assert len(z) > 0.9 * len(found), "messages change what happens"
    assert flagged <= 0.025 + 4 * (0.025 * 0.975 / 200) ** 0.5
    assert abs(float(z.std()) - 1) <= 4 / (2 * 200) ** 0.5
