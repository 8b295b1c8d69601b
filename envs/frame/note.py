"""``MultiAgentEnv``: one environment at a time, in plain shapes, for loops written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnncomm import checks, environments
from gnncomm.errors import ActionError, ConfigError
from gnncomm.shapes import Float
from gnncomm.types import TimeStep, VectorEnv

from .render import to_rgb, to_text

_EASIER: Mapping[str, Mapping[str, Any]] = {"chemical": {"shaping": 3.0, "max_steps": 100}}
"""Settings with which a team learns from one environment in minutes."""


class MultiAgentEnv:
    """A single environment of a bundled scenario::

        env = MultiAgentEnv(num_agents=5, grid_size=10)
        observations, done = env.reset(), False
        while not done:
            observations, rewards, done = env.step(choose(observations))

    Each ``reset`` begins the next episode; episode e of a seed is always the same.

    Args:
        num_agents: N.
        grid_size: Side of the grid; the scenario's own default if None.
        scenario: A name of ``envs.names()``.
        seed: Of the sequence of episodes; 0 if None.
        **overrides: Further settings of the scenario; some start from values that are easier to learn from than those
            of ``envs.make`` (chemical: ``shaping=3.0, max_steps=100``).

    Raises:
        ConfigError: An unknown scenario or setting, a value out of range, or a ``grid_size`` where there is no grid.
    """

    def __init__(
        self,
        num_agents: int = 5,
        grid_size: int | None = None,
        scenario: str = "chemical",
        seed: int | None = None,
        **overrides: Any,
    ) -> None:
        chosen: dict[str, Any] = {**_EASIER.get(scenario, {}), "num_agents": num_agents, **overrides}
        if grid_size is not None:
            name = environments.grid_setting(scenario)
            if name is None:
                raise ConfigError(
                    f"grid_size: expected None for {scenario!r}, which has no grid, got {grid_size!r}. Leave it out."
                )
            chosen[name] = grid_size
        self._kind: tuple[str, dict[str, Any]] = scenario, chosen
        self.env: VectorEnv = self.vector(1)
        self.success: bool | None = None
        """Whether the last episode that ended was a success; None before the first end."""
        self._timestep = self.env.reset(seed=0 if seed is None else seed)
        self._fresh = True

    @property
    def num_agents(self) -> int:
        """N, rows of observations and actions."""
        return self.env.num_agents

    @property
    def state_dim(self) -> int:
        """D, width of an agent's observation."""
        return self.env.obs_dim

    @property
    def action_dim(self) -> int:
        """A, the number of actions of an agent."""
        return self.env.num_actions

    @property
    def timestep(self) -> TimeStep:
        """The current time step of ``env``, with its axis of one environment."""
        return self._timestep

    @property
    def truncated(self) -> bool:
        """Whether the episode ended because its time was up."""
        return bool(self._timestep.truncated)

    def vector(self, num_envs: int) -> VectorEnv:
        """``num_envs`` environments of this scenario and settings that advance together."""
        scenario, chosen = self._kind
        return environments.make(scenario, num_envs=num_envs, **chosen)

    def reset(self, seed: int | None = None) -> Float[Tensor, "N D"]:
        """Begin the next episode (the first one, the first time) and return the observations.

        Args:
            seed: Begin the sequence of episodes of this seed instead.
        """
        if seed is not None:
            self._timestep = self.env.reset(seed=seed)
        elif not self._fresh:
            self._timestep = self.env.reset()
        self._fresh = False
        return self._observations()

    def step(self, actions: Any) -> tuple[Float[Tensor, "N D"], Float[Tensor, " N"], bool]:
        """Advance by one action for each agent (tensor, list or array ``[N]`` of integers).

        Returns:
            Observations ``[N, D]``, rewards ``[N]``, and whether the episode is over.

        Raises:
            ActionError: Not N integers in ``[0, A)``.
            StateError: The episode is over; call ``reset``.
        """
        wanted = f"{self.num_agents} integers in [0, {self.action_dim})"
        try:
            action = torch.as_tensor(actions, device=self.env.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ActionError(f"step: expected {wanted}, got {actions!r}. Give one action for each agent.") from error
        if action.shape != (self.num_agents,) or action.is_floating_point() or action.dtype == torch.bool:
            raise ActionError(
                f"step: expected {wanted}, got {action.dtype} {list(action.shape)}. Give one action for each agent."
            )
        self._timestep = self.env.step(action.to(torch.int64)[None])
        self._fresh = False
        done = bool(self._timestep.done)
        if done:
            self.success = bool(self._timestep.success)
        return self._observations(), self._timestep.reward[0], done

    def render(self, mode: str = "text", cell: int = 16) -> str | NDArray[np.uint8]:
        """What there is to see now, see ``envs.frame.render``.

        Args:
            mode: ``"text"``, a character for each cell; or ``"array"``, uint8 ``[rows * cell, columns * cell, 3]``.
            cell: Side of a grid cell in pixels.

        Raises:
            ConfigError: Another mode, or ``cell`` below 2.
        """
        checks.choice("mode", mode, ("text", "array"))
        scene, alive = self.env.scene(), self._timestep.alive
        return to_text(scene, alive=alive) if mode == "text" else to_rgb(scene, cell=cell, alive=alive)

    def _observations(self) -> Tensor:
        assert isinstance(self._timestep.obs, Tensor)  # made with the flat form
        return self._timestep.obs[0]

    def __repr__(self) -> str:
        return f"MultiAgentEnv({self.env!r})"
