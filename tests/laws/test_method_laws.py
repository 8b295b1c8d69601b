"""Laws 2 to 6 over all methods, as they come by name."""

from __future__ import annotations

import pytest

from gnncomm import envs
from gnncomm.methods import METHODS
from gnncomm.testing import check_policy
from gnncomm.types import VectorEnv

TASKS: dict[str, VectorEnv] = {
    "relay": envs.make("relay", num_envs=3, steps=3),
    "predator_prey": envs.make("predator_prey", num_envs=3, num_agents=4, max_steps=5),
}


@pytest.mark.every(2)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", METHODS)
def test_laws_hold(name: str, task: str) -> None:
    """Training on one task, evaluated on the other."""
    env = TASKS[task]
    policy = METHODS[name](env.obs_dim, env.num_actions, env.num_agents, hidden=16)
    check_policy(policy, env, modes=(task == "relay",))
