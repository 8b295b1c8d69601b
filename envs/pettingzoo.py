"""Every environment as a PettingZoo one: ``parallel_env("predator_prey")``, ``aec_env("predator_prey")``.

Importing this module also enters all ids in PettingZoo's registry, where the installed release has one:
``pettingzoo.make("parallel", "gnncomm/predator_prey")``. Needs the extra ``gnncomm[pettingzoo]``.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.conversions import parallel_to_aec

from gnncomm import checks
from gnncomm.environments import make, names
from gnncomm.errors import ActionError, ConfigError, EnvContractError, StateError, did_you_mean
from gnncomm.types import TimeStep

from .frame.base import GridEnv
from .frame.render import to_rgb, to_text

__all__ = ["GridParallelEnv", "aec_env", "parallel_env", "register"]

_MODES = ("human", "rgb_array", "ansi")
_CELL = 16  # pixels

Dicts = tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, bool]]]


class GridParallelEnv(ParallelEnv):  # type: ignore[misc]  # pettingzoo is untyped
    """One environment of ``envs.make(id, num_envs=1, **settings)`` as ``pettingzoo.ParallelEnv``.

    Row n is the agent ``"agent_n"``. Its observation is the flat vector, ``Box [D]`` float32; where the environment
    masks actions it is ``{"observation": Box [D], "action_mask": Box [A] int8}`` (1 = allowed), the form that
    PettingZoo's own board games and tests use. Actions are ``Discrete(A)``.

    **Who is listed.** An agent that dies or finishes is terminated in that step and then missing from ``agents``. Where
    rows pass from one agent to another within an episode (``renews``: Traffic Junction), all rows stay listed for the
    whole episode, since PettingZoo forbids a name to come back: a row without an agent observes zeros, gets reward 0,
    may send any action, and ``infos[name]["alive"]`` is False. ``infos[name]["entered"]`` is True in the step in which
    it passed on.

    **Ends.** The episode's own end terminates all agents that are left, the time limit truncates them.
    ``infos[name]["success"]`` is the verdict on the episode, meaningful at its end.

    **Seeds.** ``reset(seed=s)`` begins episode 0 of seed s, ``reset()`` the next episode of the same seed (0 if none
    was given). ``options`` are accepted and ignored, as there are none.

    Raises:
        ConfigError: An unknown id, setting or render mode, or an environment that is no ``envs.GridEnv``.
    """

    def __init__(self, id: str, render_mode: str | None = None, **settings: Any) -> None:
        if render_mode is not None:
            checks.choice("render_mode", render_mode, _MODES)
        env = make(id, num_envs=1, **settings)
        if not isinstance(env, GridEnv):
            raise ConfigError(f"parallel_env: expected an envs.GridEnv behind {id!r}, got {type(env).__name__}.")
        self.env: GridEnv[Any, Any] = env
        self.render_mode = render_mode
        self.metadata = {
            "name": id.replace("/", "-"),
            "render_modes": list(_MODES),
            "render_fps": 4,
            "is_parallelizable": True,
        }
        self.possible_agents = [f"agent_{n}" for n in range(env.num_agents)]
        self.agents: list[str] = []
        self._timestep: TimeStep | None = None
        self._closed = False
        masked = env.reset(seed=0).action_mask is not None
        self.observation_spaces = {name: self._observation_space(masked) for name in self.possible_agents}
        self.action_spaces = {name: spaces.Discrete(env.num_actions) for name in self.possible_agents}
        self.state_space = spaces.Box(-np.inf, np.inf, (env.state_dim,), np.float32)

    def _observation_space(self, masked: bool) -> spaces.Space[Any]:
        vector = spaces.Box(-np.inf, np.inf, (self.env.obs_dim,), np.float32)
        if not masked:
            return vector
        return spaces.Dict({"observation": vector, "action_mask": spaces.Box(0, 1, (self.env.num_actions,), np.int8)})

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The same object at every call. Raises ``ConfigError`` where there is no such agent."""
        self._row(agent)
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        """The same object at every call. Raises ``ConfigError`` where there is no such agent."""
        self._row(agent)
        return self.action_spaces[agent]

    def _row(self, agent: str) -> int:
        if agent not in self.possible_agents:
            raise ConfigError(f"Expected the name of an agent, got {agent!r}. {_known(agent, self.possible_agents)}")
        return self.possible_agents.index(agent)

    def reset(
        self, seed: int | np.integer[Any] | None = None, options: Any = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, bool]]]:
        """Begin an episode; see the class for seeds.

        Raises:
            ConfigError: ``seed`` is no integer in ``[0, 2^63)``, or ``options`` is no dict.
            StateError: After ``close``.
        """
        self._open("reset")
        if not isinstance(options, dict | None):
            raise ConfigError(f"options: expected a dict or None, got {options!r}. Leave it out: there are none.")
        if isinstance(seed, np.integer):
            seed = int(seed)
        self._timestep = step = self.env.reset(seed=0 if seed is None and self._timestep is None else seed)
        alive = step.alive[0].tolist()
        self.agents = [name for name, here in zip(self.possible_agents, alive, strict=True) if here or self.env.renews]
        return self._observations(step, self.agents), self._infos(step, self.agents)

    def step(self, actions: Mapping[str, Any]) -> Dicts:
        """Advance by one action for each agent in ``agents``.

        Raises:
            StateError: Before the first reset, after the end of the episode, after ``close``.
            ActionError: No dict; unknown, finished or missing agents; an action that is no integer in ``[0, A)``.
        """
        self._require_running()
        action = torch.zeros(1, self.env.num_agents, dtype=torch.int64, device=self.env.device)
        for name, value in self._actions(actions).items():
            action[0, self.possible_agents.index(name)] = value
        self._timestep = step = self.env.step(action)
        acted, alive = self.agents, step.alive[0].tolist()
        rows = {name: self.possible_agents.index(name) for name in acted}
        ended, cut = bool(step.terminated[0]), bool(step.truncated[0])
        terminations = {name: ended or not (alive[n] or self.env.renews) for name, n in rows.items()}
        truncations = {name: cut and not terminations[name] for name in acted}
        self.agents = [name for name in acted if not terminations[name] and not truncations[name]]
        self._require_no_revival(alive)
        rewards = step.reward[0].tolist()
        return (
            self._observations(step, acted),
            {name: rewards[n] for name, n in rows.items()},
            terminations,
            truncations,
            self._infos(step, acted),
        )

    def _require_no_revival(self, alive: list[bool]) -> None:
        back = [
            name for name, here in zip(self.possible_agents, alive, strict=True) if here and name not in self.agents
        ]
        if back and self.agents and not self.env.renews:
            raise EnvContractError(
                f"{self.env.id}: expected agents that are gone to stay away, got {back} again. Set renews = True on "
                "the class if its rows pass to other agents."
            )

    def _actions(self, actions: object) -> dict[str, int]:
        if not isinstance(actions, Mapping):
            raise ActionError(
                f"step: expected a dict from the name of each agent to its action, got {type(actions).__name__}. Pass "
                "{agent: action for agent in env.agents}."
            )
        unknown = [name for name in actions if name not in self.possible_agents]
        if unknown:
            raise ActionError(
                f"step: expected actions of {self.agents}, got unknown agents {unknown}. "
                f"{_known(unknown[0], self.possible_agents)}"
            )
        gone = [name for name in actions if name not in self.agents]
        missing = [name for name in self.agents if name not in actions]
        if gone or missing:
            raise ActionError(
                f"step: expected exactly the actions of {self.agents}, got none of {missing} and some of {gone}, who "
                "are no longer there. Loop over env.agents."
            )
        return {name: self._action(name, value) for name, value in actions.items()}

    def _action(self, name: str, value: object) -> int:
        count = self.env.num_actions
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if isinstance(value, np.ndarray) and value.shape == () and np.issubdtype(value.dtype, np.integer):
            whole = True
        if not whole:
            raise ActionError(
                f"step: expected an integer in [0, {count}) from {name!r}, got {value!r} ({type(value).__name__}). "
                "Sample from env.action_space(agent)."
            )
        number = int(cast(int, value))
        if not 0 <= number < count:
            raise ActionError(
                f"step: expected actions in [0, {count}), got {number} from {name!r}. Choose one of the {count} "
                "actions."
            )
        return number

    def _observations(self, step: TimeStep, agents: list[str]) -> dict[str, Any]:
        assert isinstance(step.obs, torch.Tensor)  # made with the flat form
        vectors = step.obs[0].cpu().numpy().copy()
        if step.action_mask is None:
            return {name: vectors[self.possible_agents.index(name)] for name in agents}
        # Nobody's action counts for nothing, and Discrete.sample needs at least one.
        masks = (step.action_mask[0] | ~step.alive[0, :, None]).cpu().numpy().astype(np.int8)
        rows = {name: self.possible_agents.index(name) for name in agents}
        return {name: {"observation": vectors[n], "action_mask": masks[n]} for name, n in rows.items()}

    def _infos(self, step: TimeStep, agents: list[str]) -> dict[str, dict[str, bool]]:
        success, alive = bool(step.success[0]), step.alive[0].tolist()
        entered = [False] * len(alive) if step.entered is None else step.entered[0].tolist()
        rows = {name: self.possible_agents.index(name) for name in agents}
        return {name: {"alive": alive[n], "success": success, "entered": entered[n]} for name, n in rows.items()}

    def state(self) -> NDArray[np.float32]:
        """Everything there is to know, float32 ``[S]``: ``GridEnv.state``; for central critics in training.

        Raises:
            StateError: Before the first reset or after ``close``.
        """
        self._seen("state")
        return self.env.state()[0].cpu().numpy().copy()

    def render(self) -> NDArray[np.uint8] | str | None:
        """What there is to see: uint8 ``[rows * 16, columns * 16, 3]`` (``rgb_array``), text (``ansi``), or None after
        writing that text to the standard output (``human``). None of them needs a display.

        Raises:
            StateError: Before the first reset or after ``close``.
            ConfigError: Made without a render mode.
        """
        step = self._seen("render")
        if self.render_mode is None:
            raise ConfigError(f"render: expected an environment made with render_mode=..., one of {list(_MODES)}.")
        if self.render_mode == "rgb_array":
            return to_rgb(self.env.scene(), cell=_CELL, alive=step.alive)
        text = to_text(self.env.scene(), alive=step.alive)
        if self.render_mode == "ansi":
            return text
        sys.stdout.write(text + "\n\n")
        return None

    def close(self) -> None:
        """Nothing is left to be released; calls other than ``close`` fail from now on."""
        self._closed, self.agents = True, []

    def _open(self, verb: str) -> None:
        if self._closed:
            raise StateError(f"{verb}: expected an open environment, but it was closed. Make another one.")

    def _seen(self, verb: str) -> TimeStep:
        self._open(verb)
        if self._timestep is None:
            raise StateError(f"{verb}: expected an episode, but there was no reset yet. Call reset() first.")
        return self._timestep

    def _require_running(self) -> None:
        self._seen("step")
        if not self.agents:
            raise StateError("step: expected a running episode, but it ended. Call reset() first.")

    def __repr__(self) -> str:
        return f"GridParallelEnv({self.env!r})"


def _known(name: object, agents: list[str]) -> str:
    return did_you_mean(str(name), agents)


def parallel_env(id: str, render_mode: str | None = None, **settings: Any) -> GridParallelEnv:
    """The environment ``id`` (see ``envs.names()``) with ``settings`` as ``pettingzoo.ParallelEnv``.

    Args:
        id: A short name or a full id.
        render_mode: ``"rgb_array"``, ``"ansi"``, ``"human"`` (text on the standard output), or None.
        **settings: Those of the environment, and ``device``.

    Raises:
        ConfigError: An unknown id, setting or render mode.
    """
    return GridParallelEnv(id, render_mode, **settings)


def aec_env(id: str, render_mode: str | None = None, **settings: Any) -> AECEnv:
    """The same as ``pettingzoo.AECEnv``, agent by agent, through PettingZoo's own conversion."""
    return parallel_to_aec(parallel_env(id, render_mode, **settings))


def register() -> None:
    """Enter every id in PettingZoo's registry as ``gnncomm/ID``, with ``.`` for ``/``; does nothing the second time.

    ``traffic_junction/easy-v0`` becomes ``gnncomm/traffic_junction.easy-v0``. Releases without a registry (before 1.27)
    are left alone.
    """
    if importlib.util.find_spec("pettingzoo.env_registry") is None:
        return
    import pettingzoo

    for known_id in names():
        name = f"gnncomm/{known_id.replace('/', '.')}"
        for kind, build, known in (
            ("parallel", parallel_env, pettingzoo.parallel_registry),
            ("aec", aec_env, pettingzoo.aec_registry),
        ):
            if name not in known:
                pettingzoo.register(kind, name, partial(build, known_id))


register()
