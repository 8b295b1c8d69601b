"""An episode is recorded with any layer: one weight for each message, attention where there is some."""

from __future__ import annotations

import numpy as np
import pytest

from gnncomm import envs
from gnncomm.layers import LAYERS
from gnncomm.methods import METHODS
from gnncomm.recording import record

ENV = envs.make("predator_prey", num_envs=1, num_agents=4, max_steps=3)
WITHOUT_ATTENTION = {"embedding", "expocomm_one_peer", "graph", "graph_filter", "hetgppo", "mean", "sage"}


@pytest.mark.parametrize("name", LAYERS)
def test_one_weight_for_each_message(name: str) -> None:
    policy = METHODS["conv"](ENV.obs_dim, ENV.num_actions, ENV.num_agents, hidden=16, comm=name)
    episode = record(policy, ENV, seed=0)
    assert len(episode.messages) == len(episode.weight) == 4 * 3 * episode.length
    assert episode.attention == (name not in WITHOUT_ATTENTION)
    assert np.isfinite(episode.weight).all()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_recorded(name: str) -> None:
    policy = METHODS[name](ENV.obs_dim, ENV.num_actions, ENV.num_agents, hidden=16)
    episode = record(policy, ENV, seed=0)
    assert len(episode.messages) == len(episode.weight)
    assert np.isfinite(episode.weight).all()


def test_attention_to_oneself_is_no_message() -> None:
    policy = METHODS["tarmac"](ENV.obs_dim, ENV.num_actions, ENV.num_agents, hidden=16)
    episode = record(policy, ENV, seed=0)
    assert (episode.messages[:, 2] != episode.messages[:, 3]).all()
    heard = episode.weight.reshape(-1, 12).sum(1)  # of 4 agents; the rest goes to themselves
    assert (heard < 4).all()
