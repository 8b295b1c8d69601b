"""An agent that is truncated while others go on: its return is bootstrapped from the last it saw."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gnncomm import envs
from gnncomm.layers import MeanComm
from gnncomm.learn import PPO, PPOConfig, begin, collect
from gnncomm.policy import GRU, CommPolicy
from gnncomm.testing.contract import check_timestep

RIGHT = 2


def test_it_is_bootstrapped_from_its_last_observation() -> None:
    """``right_0`` leaves in step 2 of 4; what it expects then is what it would, had it gone on with what it saw."""
    torch.manual_seed(0)
    env = envs.make("pettingzoo:strange_envs", num_envs=2, num_workers=1, end="cut_one")
    policy = CommPolicy(env.obs_dim, env.num_actions, MeanComm(8, 8), GRU(8))
    carry, tally = begin(env, policy, 0)
    rollout, _ = collect(env, policy, carry, 3, 0, tally)

    now, state = env.reset(seed=0), policy.initial_state(2, 3)
    for _ in range(2):
        decision = policy.act(now, state, 0)
        now, state = env.step(decision.action), decision.state
    check_timestep(env, now)
    env.close()
    assert now.cut is not None
    assert now.cut.tolist() == [[False, False, True]] * 2
    assert isinstance(now.obs, Tensor)
    assert bool(now.obs[:, RIGHT].any())
    everyone = replace(now, alive=torch.ones_like(now.alive), cut=None)
    with torch.no_grad():
        expected = policy.value(everyone, state, 0)[:, RIGHT]
    torch.testing.assert_close(rollout.next_value[1, :, RIGHT], expected)
    blind = replace(everyone, obs=torch.where(now.alive.unsqueeze(-1), now.obs, 0.0))
    assert (policy.value(blind, state, 0)[:, RIGHT] - expected).abs().min() > 1e-4, "what it saw matters"

    # And it learns from it: its last step is worth its reward and what it expected, nothing of what came after.
    config = PPOConfig(
        gamma=0.5, lam=1.0, shared_reward=0.0, normalise_returns=False, normalise_advantages=False, minibatches=1
    )
    target = PPO(policy, config, 1)._targets(rollout).value
    torch.testing.assert_close(target[1, :, RIGHT], rollout.reward[1, :, RIGHT] + 0.5 * expected)
    shared = PPO(policy, replace(config, shared_reward=1.0), 1)._targets(rollout).value
    torch.testing.assert_close(shared[1, :, RIGHT], rollout.reward[1].sum(-1) / 3 + 0.5 * expected)
    after = PPO(policy, replace(config, team_reward_after_death=True, shared_reward=1.0), 1)._targets(rollout).value
    whole = rollout.reward[1].sum(-1) / 3
    torch.testing.assert_close(after[1, :, RIGHT], whole + 0.5 * expected)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_training_goes_through(num_workers: int) -> None:
    env = envs.make("pettingzoo:strange_envs", num_envs=4, num_workers=num_workers, end="cut_one")
    policy = CommPolicy(env.obs_dim, env.num_actions, MeanComm(8, 8), GRU(8))
    learner = PPO(policy, PPOConfig(), 3)
    carry, tally = begin(env, policy, 0)
    for _ in range(3):
        rollout, carry = collect(env, policy, carry, 5, 0, tally)
        metrics = learner.update(rollout)
    env.close()
    assert all(number == number for number in metrics.values())
