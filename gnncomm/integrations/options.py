"""Checks of what users pass to a foreign environment. What is wrong is refused, never mended."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import (
    ActionError,
    CheckpointMismatchError,
    ConfigError,
    DeviceError,
    DtypeError,
    ShapeError,
    StateError,
)

_SLICE = re.compile(r"observation\[(\d+):(\d+)\]")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def whole(name: str, value: object) -> int:
    """An integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name}: expected an integer of at least 1, got {value!r}. Choose another.")
    return value


def device(name: str | torch.device) -> torch.device:
    """A device that exists."""
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ImportError) as error:
        raise DeviceError(
            f"device: expected one that this machine has, got {str(name)!r}. Use 'cpu', or a device that torch lists."
        ) from error


def positions(text: object) -> tuple[tuple[int, int] | None, str | None]:
    """Slice of the observation, or name of a function; neither for None."""
    if text is None:
        return None, None
    found = _SLICE.fullmatch(text) if isinstance(text, str) else None
    if found is not None and int(found[1]) < int(found[2]):
        return (int(found[1]), int(found[2])), None
    if isinstance(text, str) and _FUNCTION.fullmatch(text):
        return None, text
    raise ConfigError(
        f"pos: expected 'observation[2:4]' or 'module:function', got {text!r}. Name the entries of an agent's "
        "observation, or a function that gives a dict from agents to coordinates."
    )


def area(text: object) -> tuple[float, float]:
    """``"low:high"`` as two numbers."""
    parts = text.split(":") if isinstance(text, str) else []
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"area: expected 'low:high' with low < high, such as '-1:1', got {text!r}. Choose another.")
    return low, high


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they come out of JSON."""
    try:
        same: dict[str, Any] = json.loads(json.dumps(settings, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"Expected settings that JSON can hold, since they go to other processes, got {dict(settings)!r} "
            f"({error}). Write a function in a module of yours that makes the environment, and name it "
            "'pettingzoo:module:function'."
        ) from error
    return same


def saved_state(state: Mapping[str, Tensor], blank: Mapping[str, Tensor], id: str) -> None:
    """The names, shapes and types of ``blank``."""
    if state.keys() != blank.keys():
        raise StateError(
            f"load_state_dict: expected the state of {id!r} with {sorted(blank)}, got {sorted(state)}. Load the state "
            "of the same environment."
        )
    for name, want in blank.items():
        if state[name].shape != want.shape:
            raise ShapeError(
                f"load_state_dict: expected {name} {list(want.shape)}, got {list(state[name].shape)}. Build the "
                "environment with the num_envs and settings it was saved with."
            )
        if state[name].dtype != want.dtype:
            raise DtypeError(
                f"load_state_dict: expected {name} of {want.dtype}, got {state[name].dtype}. Load it as saved."
            )


def replayable(state: Mapping[str, Tensor], max_steps: int, bounds: tuple[Tensor, Tensor], id: str) -> None:
    """Counters and actions that an episode can have; whoever replays it counts on them."""
    step_B, actions_BTN = state["step"], state["actions"]
    bad = {
        "seed": (state["seed"] < 0).any(),
        "episode": (state["episode"] < 0).any(),
        "step": ((step_B < 0) | (step_B > max_steps)).any(),
        "actions": ~(((actions_BTN >= bounds[0]) & (actions_BTN <= bounds[1])) | (actions_BTN == 0)).all(),
    }
    for name, wrong in bad.items():
        if bool(wrong):
            raise CheckpointMismatchError(
                f"load_state_dict: expected {name} of {id!r} in its range, got one outside. Load the state as saved."
            )


def seeds(seed: int | Tensor, num_envs: int) -> Tensor:
    """``[B]`` int64 in ``[0, 2^63)``: drawn from (``seed``, b) for an int, ``seed[b]`` for a tensor."""
    if isinstance(seed, Tensor):
        if seed.dtype != torch.int64 or seed.shape != (num_envs,) or bool((seed < 0).any()):
            raise ConfigError(
                f"seed: expected int64 [{num_envs}] of at least 0, got {seed.dtype} {list(seed.shape)}. Pass an int, "
                "or such a tensor."
            )
        return seed.cpu().clone()
    return random.seeds("environment", seed, torch.arange(num_envs))


def rows(where: Tensor, num_envs: int) -> Tensor:
    """A bool mask ``[B]``."""
    if where.shape != (num_envs,):
        raise ShapeError(f"reset: expected where [{num_envs}], got {list(where.shape)}. Pass timestep.done.")
    if where.dtype != torch.bool:
        raise DtypeError(f"reset: expected where of bool, got {where.dtype}. Pass timestep.done.")
    return where.cpu()


def actions(action: object, alive_BN: Tensor, counts_N: Tensor, where: torch.device, names: Sequence[str]) -> Tensor:
    """int64 ``[B, N]`` in ``[0, counts_N)``, with 0 in the places of agents that are not alive."""
    num_envs, num_agents = alive_BN.shape
    wanted = f"an int64 tensor [num_envs={num_envs}, num_agents={num_agents}]"
    if not isinstance(action, Tensor):
        raise ActionError(f"step: expected {wanted}, got {type(action).__name__}. Use torch.as_tensor(action).")
    if action.shape != alive_BN.shape or action.dtype != torch.int64:
        raise ActionError(
            f"step: expected {wanted}, got {action.dtype} {list(action.shape)}. Give each agent one action."
        )
    if action.device != where:
        raise DeviceError(f"step: expected an action on {where}, got {action.device}. Use action.to(...).")
    taken = torch.where(alive_BN, action.cpu(), 0)
    bad = ((taken < 0) | (taken >= counts_N)).nonzero()
    if len(bad):
        env, agent = bad[0].tolist()
        raise ActionError(
            f"step: expected actions in [0, {int(counts_N[agent])}) from agent {names[agent]!r}, got "
            f"{int(taken[env, agent])} in environment {env}. Respect timestep.action_mask."
        )
    return taken


def numbers(
    action: object, alive_BN: Tensor, bounds: tuple[Tensor, Tensor], where: torch.device, names: Sequence[str]
) -> Tensor:
    """float32 ``[B, N, A]`` within ``bounds`` (``[N, A]`` each), with 0 in the places of agents that are not alive."""
    low, high = bounds
    shape = [*alive_BN.shape, low.shape[1]]
    wanted = f"a floating-point tensor [num_envs, num_agents, A] = {shape}"
    if not isinstance(action, Tensor) or list(action.shape) != shape or not action.is_floating_point():
        got = f"{action.dtype} {list(action.shape)}" if isinstance(action, Tensor) else type(action).__name__
        raise ActionError(f"step: expected {wanted}, got {got}. Give each agent the numbers of one action.")
    if action.device != where:
        raise DeviceError(f"step: expected an action on {where}, got {action.device}. Use action.to(...).")
    taken = torch.where(alive_BN.unsqueeze(-1), action.detach().cpu().to(torch.float32), 0.0)
    slack = 1e-6 * (high - low)  # of sums in float32
    bad = (alive_BN.unsqueeze(-1) & ~((taken >= low - slack) & (taken <= high + slack))).nonzero()
    if len(bad):
        env, agent, number = bad[0].tolist()
        raise ActionError(
            f"step: expected numbers in [{float(low[agent, number]):g}, {float(high[agent, number]):g}] from agent "
            f"{names[agent]!r}, got {float(taken[env, agent, number]):g} in environment {env}. Stay within env.box."
        )
    return torch.where(alive_BN.unsqueeze(-1), torch.minimum(torch.maximum(taken, low), high), 0.0)


def flag(name: str, value: object) -> bool:
    """A bool, and nothing that merely counts as one."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: expected True or False, got {value!r}. Pass a bool.")
    return value


def seconds(name: str, value: object) -> float:
    """A positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f"{name}: expected a positive number of seconds, got {value!r}. Choose another.")
    return float(value)
