"""SchedNet, I2C and ATOC as combinations: who talks, and what it costs."""

from __future__ import annotations

import pytest
import torch

from gnncomm import CommPolicy, envs, methods
from gnncomm.bench.reference import released
from gnncomm.errors import ConfigError
from gnncomm.methods import Method
from gnncomm.policy import Decision

ENVS = 16


def decided(method: Method) -> tuple[CommPolicy, Decision, torch.Tensor]:
    env = envs.make("predator_prey", num_envs=ENVS, num_agents=6)
    policy = method(env.obs_dim, env.num_actions, env.num_agents, hidden=16)
    step = env.reset(seed=0)
    decision = policy.act(step, policy.initial_state(ENVS, env.num_agents), key=1)
    reach = policy.wire.topology(step.alive, step.pos, step.step, step.key)
    return policy, decision, reach.expand(ENVS).dense


def test_schednet_gives_the_medium_to_one_for_four_numbers() -> None:
    _, decision, _ = decided(methods.schednet)
    heard_BNN = decision.talk.graphs[0].expand(ENVS).dense
    assert heard_BNN.any(2).sum(1).tolist() == [1] * ENVS
    assert heard_BNN.sum((1, 2)).tolist() == [5] * ENVS
    weights, message = 6 * 16, 4 * 32
    assert decision.talk.bits.sum(1).tolist() == [weights + message] * ENVS


def test_i2c_asks_by_name() -> None:
    _, decision, _ = decided(methods.i2c)
    heard_BNN = decision.talk.graphs[0].expand(ENVS).dense
    asked_BN, spoke_BN = heard_BNN.sum(1), heard_BNN.any(2)
    assert 0 < int(asked_BN.sum()) < ENVS * 30
    assert torch.equal(decision.talk.bits, 3.0 * asked_BN + 16 * 32.0 * spoke_BN)


def test_atoc_opens_the_groups_of_those_who_choose_to() -> None:
    _, decision, reach_BNN = decided(methods.atoc)
    heard_BNN, talks_BN = decision.talk.graphs[0].expand(ENVS).dense, decision.choice.squeeze(-1) == 1
    assert torch.equal(heard_BNN, reach_BNN & talks_BN.unsqueeze(-1))
    assert reach_BNN.sum(1).eq(3).all()
    assert 0 < int(talks_BN.sum()) < talks_BN.numel()


@pytest.mark.parametrize("name", ["atoc", "dcc", "i2c", "masia", "schednet"])
def test_what_was_not_recorded_has_no_released_network(name: str) -> None:
    with pytest.raises(ConfigError, match="no released network"):
        released(name, 7, 3, 4)
