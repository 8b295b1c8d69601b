"""What the dead would put on the wire is counted nowhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gnncomm import envs
from gnncomm.evaluation.traffic import Traffic
from gnncomm.layers import CommStack, MeanComm
from gnncomm.policy import GRU, CommPolicy


def test_bits_of_the_dead_are_not_counted() -> None:
    """Three agents, one dead, in the first of two environments; bits by hand."""
    env = envs.make("predator_prey", num_envs=2, num_agents=3)
    policy = CommPolicy(env.obs_dim, env.num_actions, MeanComm(4, 4), GRU(4))
    talk = policy.act(env.reset(seed=0), policy.initial_state(2, 3), 0).talk
    talk = replace(talk, round_bits=torch.tensor([[[10.0], [20.0], [999.0]], [[1.0], [2.0], [3.0]]]))
    alive = torch.tensor([[True, True, False], [True, True, True]])
    traffic = Traffic(policy.comm)
    traffic.count(talk, alive, counted=torch.tensor([True, True]))
    assert traffic.use().bits_per_agent_step == (10 + 20 + 1 + 2 + 3) / 5
    traffic.count(talk, alive, counted=torch.tensor([True, False]))
    assert traffic.use().bits_per_agent_step == (36 + 30) / 7


def test_the_budget_by_hand() -> None:
    """Two rounds of 4 and 2 numbers in rows of 4; everyone hears everyone, then the first of three alone is heard."""
    env = envs.make("predator_prey", num_envs=1, num_agents=3)
    comm = CommStack([MeanComm(4, 4), MeanComm(4, 4, msg_channels=2)])
    policy = CommPolicy(env.obs_dim, env.num_actions, comm, GRU(4))
    talk = policy.act(env.reset(seed=0), policy.initial_state(1, 3), 0).talk
    (second,) = talk.arrivals[1]
    heard = second.graph.keep_where(sender=torch.tensor([[True, False, False]]))
    talk = replace(talk, arrivals=(talk.arrivals[0], (replace(second, graph=heard),)))
    traffic = Traffic(comm)
    traffic.count(talk, torch.ones(1, 3, dtype=torch.bool), counted=torch.tensor([True]))
    assert traffic.use().beta == pytest.approx(6 / 6 * 4 / 4 + 2 / 6 * 2 / 4)
