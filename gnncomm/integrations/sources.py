"""Where foreign environments come from: modules, PettingZoo's registry, Gymnasium. Runs in worker processes only."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import FunctionType
from typing import Any, get_origin, get_type_hints

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
        self.env, self.metadata = env, env.metadata
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

    @property
    def render_mode(self) -> str | None:
        mode: str | None = self.env.render_mode
        return mode

    def render(self) -> Any:
        return self.env.render()

    def close(self) -> None:
        self.env.close()


def load(path: str, default: str | None = None) -> Any:
    """What ``module:attribute`` names: imported, and not called."""
    module, colon, attribute = path.partition(":")
    if not colon:
        attribute = default or ""
    try:
        found: Any = _import(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise SettingError(
            f"expected 'module:attribute' of an installed package, got {path!r} ({error}). "
            + (_where_to_look(module) if isinstance(error, ImportError) else "Correct the name.")
        ) from error
    return found


def _where_to_look(module: str) -> str:
    name = module.partition(".")[0]
    if any(os.path.exists(name + ending) for ending in (".py", "/__init__.py")):
        return f"{name} lies in the current folder, which is not searched: begin the command with PYTHONPATH=. ."
    return "Install the package, or correct the name."


def function(path: str) -> Any:
    """A function that ``module:attribute`` names, for ``pos``: written in Python, in that very package."""
    found = load(path)
    home = path.partition(":")[0].partition(".")[0]
    own = isinstance(found, FunctionType) and found.__module__.partition(".")[0] == home
    if not own or home in sys.stdlib_module_names:
        raise SettingError(f"expected a function of the package {home!r} itself at {path!r}, got {short(found)}.")
    return found


def build(task: Task) -> Any:
    """The environment that a task names, as a ``ParallelEnv``. What makes it is looked at before it is called."""
    env = _made(task)
    offered = (getattr(env, "metadata", None) or {}).get("render_modes") or ()
    if task.pictures and "rgb_array" in offered and "render_mode" not in task.settings:
        with contextlib.suppress(TypeError):  # a function of one's own that takes no such argument
            drawing = _made(replace(task, settings={**task.settings, "render_mode": "rgb_array"}))
            env.close()
            return drawing
    return env


def _made(task: Task) -> Any:
    if task.kind == "gymnasium":
        return _gymnasium(task)
    import pettingzoo

    if "/" in task.source:
        env = pettingzoo.make("parallel", task.source, **task.settings)
    else:
        env = _maker(task.source, pettingzoo.ParallelEnv)(**task.settings)
    if not isinstance(env, pettingzoo.ParallelEnv):
        raise SettingError(
            f"expected {task.source!r} to give a pettingzoo.ParallelEnv, got {type(env).__name__}. Name its "
            "parallel_env, or wrap it with pettingzoo.utils.aec_to_parallel in a function of your own."
        )
    return env


def _gymnasium(task: Task) -> TupleTeam:
    import gymnasium
    from gymnasium.envs.registration import load_env_creator

    module, _, name = task.source.rpartition(":")
    try:
        if module:
            _import(module)  # registers its environments
        spec = gymnasium.registry.get(name)
        maker: Any = spec.entry_point if spec is not None else None
        maker = load_env_creator(maker) if isinstance(maker, str) else maker
        is_env = isinstance(maker, type) and issubclass(maker, gymnasium.Env)
        if not is_env and not isinstance(maker, FunctionType | None):
            raise SettingError(f"expected {task.source!r} to be a gymnasium.Env, got {short(maker)}. Not called.")
        return TupleTeam(gymnasium.make(task.source, disable_env_checker=True, **task.settings))
    except (gymnasium.error.Error, ImportError) as error:
        raise SettingError(
            f"expected the id of a registered Gymnasium environment, such as 'lbforaging:Foraging-8x8-2p-1f-v3', "
            f"got {task.source!r} ({error}). {_where_to_look(module)}"
        ) from error


def _import(module: str) -> Any:
    if not all(part.isidentifier() for part in module.split(".")):
        raise ImportError(f"{module!r} is not the name of a module")
    return importlib.import_module(module)


def _maker(source: str, wanted: type) -> Any:
    """The class or function that ``source`` names, if it is one that makes a ``wanted``: nothing else is ever called.

    That is a subclass, a function that is annotated to return one, or the function ``parallel_env`` of a module, as
    PettingZoo calls it.
    """
    found = load(source, "parallel_env")
    if isinstance(found, type):
        promised = issubclass(found, wanted)
    elif isinstance(found, FunctionType):
        promised = source.partition(":")[2] in ("", "parallel_env") or _returns(found, wanted)
    else:
        promised = False
    if not promised:
        raise SettingError(
            f"expected a subclass of pettingzoo.{wanted.__name__} at {source!r}, a function annotated to return "
            "one ('def make() -> ParallelEnv:'), or a module's parallel_env, got "
            f"{short(found)}. It was not called. Name the class, or annotate the function."
        )
    return found


def _returns(maker: FunctionType, wanted: type) -> bool:
    try:
        given = get_type_hints(maker).get("return")
    except (NameError, TypeError, AttributeError, SyntaxError):  # names that exist for type checkers only
        given = None
    given = get_origin(given) or given
    return isinstance(given, type) and issubclass(given, wanted)


def short(value: Any) -> str:
    """Type and beginning of a value, for messages."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"
