"""Where foreign environments come from: modules, PettingZoo's registry, Gymnasium. Runs in worker processes only."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from gnncomm.integrations.form import Task


class BreachError(Exception):
    """The environment breaks PettingZoo's contract: agent (or None), field, and what was expected and got."""

    def __init__(self, agent: str | None, field: str, text: str) -> None:
        super().__init__(text)
        self.agent, self.field, self.text = agent, field, text


class SettingError(Exception):
    """What the user asked for cannot be had: an unknown module, spaces that are not covered."""


class TupleTeam:
    """A Gymnasium environment of many agents as a ``ParallelEnv``: spaces are ``Tuple``, what is given is a sequence.

    This is the form of lbforaging and rware. All agents act until the one flag of the episode says that it ended.
    """

    def __init__(self, env: Any) -> None:
        for name in ("observation_space", "action_space"):
            if not isinstance(getattr(env, name), spaces.Tuple):
                raise SettingError(
                    f"expected {name} to be gymnasium.spaces.Tuple, one for each agent, got {getattr(env, name)}. Only "
                    "such environments have many agents."
                )
        self.env = env
        self.possible_agents = [f"agent_{n}" for n in range(len(env.action_space))]
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> Any:
        return self.env.observation_space[self.possible_agents.index(agent)]

    def action_space(self, agent: str) -> Any:
        return self.env.action_space[self.possible_agents.index(agent)]

    def reset(self, seed: int) -> tuple[Any, Any]:
        observations, info = self.env.reset(seed=seed)
        self.agents = list(self.possible_agents)
        return self._named("observation", observations), self._shared(info)

    def step(self, actions: Mapping[str, int]) -> tuple[Any, ...]:
        observations, rewards, terminated, truncated, info = self.env.step(list(actions.values()))
        if terminated or truncated:
            self.agents = []
        return (
            self._named("observation", observations),
            self._named("reward", rewards),
            dict.fromkeys(self.possible_agents, terminated),
            dict.fromkeys(self.possible_agents, truncated),
            self._shared(info),
        )

    def _named(self, field: str, values: Any) -> dict[str, Any]:
        if not isinstance(values, list | tuple | np.ndarray) or len(values) != len(self.possible_agents):
            raise BreachError(None, field, f"expected a sequence of {len(self.possible_agents)}, got {short(values)}")
        return dict(zip(self.possible_agents, values, strict=True))

    def _shared(self, info: Any) -> dict[str, Any]:
        return dict.fromkeys(self.possible_agents, info)

    def close(self) -> None:
        self.env.close()


def load(path: str, default: str | None = None) -> Any:
    """What ``module:attribute`` names."""
    module, colon, attribute = path.partition(":")
    if not colon:
        attribute = default or ""
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingError(
            f"expected 'module:attribute' of an installed package, got {path!r} ({error}). Install the package, or "
            "correct the name."
        ) from error
    if not callable(found):
        raise SettingError(f"expected a class or function at {path!r}, got {short(found)}.")
    return found


def build(task: Task) -> Any:
    """The environment that a task names, as a ``ParallelEnv``."""
    if task.kind == "gymnasium":
        import gymnasium

        try:
            return TupleTeam(gymnasium.make(task.source, disable_env_checker=True, **task.settings))
        except (gymnasium.error.Error, ImportError) as error:
            raise SettingError(
                f"expected the id of a registered Gymnasium environment, such as 'lbforaging:Foraging-8x8-2p-1f-v3', "
                f"got {task.source!r} ({error})."
            ) from error
    import pettingzoo

    if "/" in task.source:
        env = pettingzoo.make("parallel", task.source, **task.settings)
    else:
        env = load(task.source, "parallel_env")(**task.settings)
    if not isinstance(env, pettingzoo.ParallelEnv):
        raise SettingError(
            f"expected {task.source!r} to give a pettingzoo.ParallelEnv, got {type(env).__name__}. Name its "
            "parallel_env, or wrap it with pettingzoo.utils.aec_to_parallel in a function of your own."
        )
    return env


def short(value: Any) -> str:
    """Type and beginning of a value, for messages."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"
