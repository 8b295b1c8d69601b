"""A team as one agent: ``gymnasium.vector.VectorEnv``. Needs the extra ``gnncomm[pettingzoo]``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from gnncomm import environments
from gnncomm.errors import ConfigError, StateError
from gnncomm.learn.returns import paid, team_mean
from gnncomm.types import TeamSpec, TimeStep

Array = NDArray[Any]


class TeamVectorEnv(VectorEnv):
    """B teams, each a single agent that observes all rows and acts for everyone: for libraries without teams.

    Observations are ``[B, N, D]`` float32, actions ``MultiDiscrete([A] * N)`` or a ``Box [N, A]``, and the reward is
    the mean over those who took part. ``infos`` hold ``alive [B, N]``, ``success [B]`` and, where the environment has
    them, ``action_mask [B, N, A]``. What ends begins anew in the same step, and ``infos["final_obs"]`` shows the end.

    Args:
        env: see ``gnncomm.environments.make``.
        num_envs: B.
        **settings: those of the environment.

    Raises:
        ConfigError: as ``make``; or opponents, whom one agent would play against itself.
    """

    def __init__(self, env: Any = "predator_prey", num_envs: int = 1, **settings: Any) -> None:
        self.teams = environments.make(env, num_envs, observation="flat", **settings)
        spec, self.num_envs = TeamSpec.of(self.teams), self.teams.num_envs
        names = {group.team for group in spec.groups}
        if len(names) > 1:
            raise ConfigError(f"{self.teams.id}: expected one team, got {sorted(names)}. Train it with gnncomm train.")
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        rows = (spec.num_agents, spec.obs_dim)
        self.single_observation_space = spaces.Box(-np.inf, np.inf, rows, np.float32)
        self.single_action_space: Any = spaces.MultiDiscrete([spec.num_actions] * spec.num_agents)
        if spec.box is not None:
            low, high = (np.array(side, np.float32) for side in (spec.box.low, spec.box.high))
            self.single_action_space = spaces.Box(low, high, dtype=np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._now: TimeStep | None = None

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Array, dict[str, Any]]:
        """Begin all episodes; ``seed`` counts as for ``VectorEnv`` of ``gnncomm.types``, and there are no options."""
        self._now = now = self.teams.reset(seed=seed)
        return _array(now.obs), _infos(now)

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Let all teams act.

        Raises:
            StateError: before the first reset. ActionError: an action that an agent does not have.
        """
        if self._now is None:
            raise StateError("step: expected running episodes, but there was no reset yet. Call reset() first.")
        before = self._now
        after = self.teams.step(torch.as_tensor(actions))
        reward = team_mean(after.reward, paid(before, after))
        infos = _infos(after)
        self._now = now = self.teams.reset(where=after.done) if bool(after.done.any()) else after
        if now is not after:
            infos = {**_infos(now), "success": infos["success"], "final_obs": _array(after.obs), "final_info": infos}
        return _array(now.obs), _array(reward), _array(after.terminated), _array(after.truncated), infos


def _array(value: Any) -> Array:
    found: Array = value.cpu().numpy()
    return found


def _infos(now: TimeStep) -> dict[str, Any]:
    found = {"alive": _array(now.alive), "success": _array(now.success)}
    if now.action_mask is not None:
        found["action_mask"] = _array(now.action_mask | ~now.alive.unsqueeze(-1))
    return found
