"""Actions by their values: how often it explores, what it explores, and when it does not."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from gnncomm.deploy import LocalAgent
from gnncomm.errors import ConfigError
from gnncomm.layers import MeanComm
from gnncomm.policy import QMIX, CommPolicy, EpsilonGreedy, LocalCritic, Memory
from gnncomm.topology import Empty
from gnncomm.types import TimeStep
from gnncomm.wire import Wire

Q = torch.tensor([0.3, -torch.inf, 2.0, 1.0])


def moment(num_envs: int, num_agents: int, num_actions: int) -> TimeStep:
    no, rows = torch.zeros(num_envs, dtype=torch.bool), (num_envs, num_agents)
    mask = torch.ones(*rows, num_actions, dtype=torch.bool)
    mask[..., 1] = False
    alive = torch.ones(rows, dtype=torch.bool)
    obs = torch.randn(*rows, 5, generator=torch.Generator().manual_seed(0))
    key, step = torch.arange(num_envs), torch.zeros(num_envs, dtype=torch.int64)
    return TimeStep(obs, torch.zeros(rows), torch.ones(rows), alive, no, no, no, no, key, step, action_mask=mask)


def test_it_draws_the_best_and_any_allowed_one_as_often_as_it_says() -> None:
    count, actions = 30_000, EpsilonGreedy(4, 0.3)
    drawn = actions.choose(Q.expand(count, 4), 7, torch.arange(count), torch.tensor(2), torch.tensor(1))
    observed = torch.bincount(drawn, minlength=4)
    assert observed[1] == 0
    expected = torch.tensor([0.1, 0.8, 0.1]) * count  # 0.7 + 0.3 / 3 for the best of three
    assert stats.chisquare(observed[[0, 2, 3]].numpy(), expected.numpy()).pvalue > 1e-3
    probabilities = actions.log_prob(Q.expand(3, 4), torch.tensor([0, 2, 3])).exp()
    torch.testing.assert_close(probabilities, torch.tensor([0.1, 0.8, 0.1]))
    assert actions.log_prob(Q, torch.tensor(1)) == -math.inf
    entropy = -(2 * 0.1 * math.log(0.1) + 0.8 * math.log(0.8))
    torch.testing.assert_close(actions.entropy(Q), torch.tensor(entropy))


def test_it_is_greedy_without_key_and_in_evaluation_mode() -> None:
    count, actions = 200, EpsilonGreedy(4, 1.0)
    place = torch.arange(count), torch.tensor(0), torch.tensor(0)
    rows = Q.expand(count, 4)
    assert bool((actions.choose(rows, None, *place) == 2).all())
    assert not bool((actions.choose(rows, 3, *place) == 2).all())
    actions.eval()
    assert bool((actions.choose(rows, 3, *place) == 2).all())
    assert actions.log_prob(Q, torch.tensor(2)) == 0
    assert actions.log_prob(Q, torch.tensor(0)) == -math.inf


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_values_that_are_no_numbers_have_no_probability(bad: float) -> None:
    values = torch.tensor([0.0, bad, 1.0])
    assert bool(EpsilonGreedy(3).log_prob(values, torch.tensor(0)).isnan())


def test_the_value_of_a_policy_of_values_is_its_best_action_and_an_agent_alone_explores_alike() -> None:
    policy = CommPolicy(5, 4, MeanComm(8, 8), Memory(8), wire=Wire(Empty()), actions=EpsilonGreedy(4, 0.5))
    now = moment(40, 2, 4)
    decision = policy.act(now, policy.initial_state(40, 2), 11)
    torch.testing.assert_close(decision.value, decision.logits.amax(-1))
    assert bool((decision.action != 1).all())
    assert not decision.action.equal(decision.logits.argmax(-1))
    for b in range(40):
        agent = LocalAgent(policy, 1)
        agent.observe(now.obs[b, 1])  # type: ignore[index]
        agent.say(episode=b)
        agent.hear(torch.zeros(0, 8))
        assert now.action_mask is not None
        assert agent.decide(11, b, 0, now.action_mask[b, 1]).action == decision.action[b, 1]


def test_a_critic_that_does_not_fit_the_actions_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected a Mixer as critic of actions by their values"):
        CommPolicy(5, 4, MeanComm(8, 8), critic=LocalCritic(8), actions=EpsilonGreedy(4))
    with pytest.raises(ConfigError, match="got QMIX with Categorical"):
        CommPolicy(5, 4, MeanComm(8, 8), critic=QMIX(2, 5))  # type: ignore[arg-type]
