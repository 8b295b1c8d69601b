"""What the dead would put on the wire is counted nowhere."""

from __future__ import annotations

from dataclasses import replace

import torch

from gnncomm import envs
from gnncomm.evaluation.traffic import Traffic
from gnncomm.layers import MeanComm
from gnncomm.policy import GRU, CommPolicy


def test_bits_of_the_dead_are_not_counted() -> None:
    """Three agents, one dead, in the first of two environments; bits by hand."""
    env = envs.make("predator_prey", num_envs=2, num_agents=3)
    policy = CommPolicy(env.obs_dim, env.num_actions, MeanComm(4, 4), GRU(4))
    talk = policy.act(env.reset(seed=0), policy.initial_state(2, 3), 0).talk
    talk = replace(talk, bits=torch.tensor([[10.0, 20.0, 999.0], [1.0, 2.0, 3.0]]))
    alive = torch.tensor([[True, True, False], [True, True, True]])
    traffic = Traffic(1)
    traffic.count(talk, alive, counted=torch.tensor([True, True]))
    assert traffic.use().bits_per_agent_step == (10 + 20 + 1 + 2 + 3) / 5
    traffic.count(talk, alive, counted=torch.tensor([True, False]))
    assert traffic.use().bits_per_agent_step == (36 + 30) / 7
