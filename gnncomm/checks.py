"""Checks of what users pass to an environment, bundled or foreign. What is wrong is refused, never mended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gnncomm import host, random
from gnncomm.errors import ActionError, ConfigError, DeviceError, DtypeError, ShapeError, StateError, did_you_mean

_MAX_SEED = 2**63 - 1


def integer(name: str, value: object, low: int, high: int | None = None) -> int:
    """An int (no bool, no float) in ``[low, high]``."""
    top = "" if high is None else f" and at most {high}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name}: expected an integer of at least {low}{top}, got {value!r}. Pass a Python int.")
    if value < low or (high is not None and value > high):
        raise ConfigError(f"{name}: expected an integer of at least {low}{top}, got {value}. Choose one in the range.")
    return value


def number(name: str, value: object, low: float, high: float = math.inf) -> float:
    """A finite int or float in ``[low, high]``, as float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name}: expected a number in [{low}, {high}], got {value!r}. Pass an int or a float.")
    if not (math.isfinite(value) and low <= value <= high):
        raise ConfigError(f"{name}: expected a finite number in [{low}, {high}], got {value}. Choose one in the range.")
    return float(value)


def flag(name: str, value: object) -> bool:
    """A bool, and nothing that merely counts as one."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: expected True or False, got {value!r}. Pass a bool.")
    return value


def choice(name: str, value: object, allowed: Sequence[str]) -> str:
    """One of the names in ``allowed``."""
    if not isinstance(value, str) or value not in allowed:
        raise ConfigError(
            f"{name}: expected one of {list(allowed)}, got {value!r}. {did_you_mean(str(value), allowed)}"
        )
    return value


def device(value: object) -> torch.device:
    """A device that exists and can hold numbers here; no fallback to the CPU."""
    if not isinstance(value, str | torch.device):
        raise DeviceError(f"device: expected a name such as 'cpu' or 'cuda:0', got {value!r}. Pass a str.")
    try:
        probe = torch.zeros(1, device=value)
        probe.item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DeviceError(
            f"device: expected one that this machine has, got {str(value)!r} ({reason}). Use 'cpu', or a device that "
            "torch lists."
        ) from error
    return probe.device


def seeds(value: object, num_envs: int, where: torch.device) -> Tensor:
    """``[B]`` int64 in ``[0, 2^63)``: drawn from (``value``, b) for an int, ``value[b]`` for a tensor."""
    if isinstance(value, Tensor):
        if value.dtype != torch.int64 or value.shape != (num_envs,):
            raise ConfigError(
                f"seed: expected an int64 tensor [{num_envs}] (one for each environment), got {value.dtype} "
                f"{list(value.shape)}. Pass an int, or such a tensor."
            )
        if bool((value < 0).any()):
            raise ConfigError(f"seed: expected numbers of at least 0, got {int(value.min())}. Choose others.")
        return value.to(where, copy=True)
    seed = integer("seed", value, 0, _MAX_SEED)
    return random.seeds("environment", seed, torch.arange(num_envs, device=where))


def rows(where: Tensor, num_envs: int) -> Tensor:
    """A bool mask ``[B]``."""
    if where.shape != (num_envs,):
        raise ShapeError(f"reset: expected where [{num_envs}], got {list(where.shape)}. Pass timestep.done.")
    if where.dtype != torch.bool:
        raise DtypeError(f"reset: expected where of bool, got {where.dtype}. Pass timestep.done.")
    return where


def keys(value: Tensor, num_envs: int) -> Tensor:
    """Keys of counter-based draws, int64 ``[B]``."""
    if value.shape != (num_envs,) or value.dtype != torch.int64:
        raise ShapeError(
            f"floor_action: expected key int64 [{num_envs}], got {value.dtype} {list(value.shape)}. Pass timestep.key, "
            "or one made from it."
        )
    return value


def actions(
    value: object,
    alive: Tensor | None,
    shape: tuple[int, int],
    num_actions: int | Tensor,
    where: torch.device,
    names: Sequence[str] = (),
) -> Tensor:
    """A copy: int64 ``[B, N]`` in ``[0, num_actions)``, 0 for agents that are not ``alive [B, N]`` (None: all are).

    ``num_actions`` may differ from agent to agent, ``[N]``; ``names`` of agents are for the message.
    """
    wanted = f"an int64 tensor [num_envs={shape[0]}, num_agents={shape[1]}]"
    if not isinstance(value, Tensor):
        raise ActionError(f"step: expected {wanted}, got {type(value).__name__}. Use torch.as_tensor(action).")
    if value.shape != shape:
        raise ActionError(f"step: expected {wanted}, got shape {list(value.shape)}. Give each agent one action.")
    if value.dtype != torch.int64:
        raise ActionError(f"step: expected {wanted}, got {value.dtype}. Use action.long() if it holds integers.")
    if value.device != where:
        raise DeviceError(f"step: expected an action on {where}, got {value.device}. Use action.to(...).")
    taken = torch.where(alive, value.to(alive.device), 0) if alive is not None else value.clone()
    wrong = (taken < 0) | (taken >= num_actions)

    def outside() -> ActionError:
        env, agent = wrong.nonzero()[0].tolist()
        count = num_actions if isinstance(num_actions, int) else int(num_actions[agent])
        return ActionError(
            f"step: expected actions in [0, {count}), got {int(taken[env, agent])} from agent "
            f"{repr(names[agent]) if names else agent} of environment {env}. Choose one of the {count} actions, and "
            "respect timestep.action_mask."
        )

    host.refuse(wrong, outside)
    return torch.where(wrong, 0, taken) if host.waits() else taken


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


def over(ended: Tensor) -> StateError:
    """What a step says where ``ended [B]`` is true: of an episode that is over already."""
    which = ended.nonzero().squeeze(-1)[:8].tolist()
    return StateError(
        f"step: expected running episodes, but those of environments {which} ended. Call "
        "reset(where=timestep.done) first."
    )


def saved_state(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], id: str) -> None:
    """The names, shapes and types of ``expected``."""
    if state.keys() != expected.keys():
        missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
        raise StateError(
            f"load_state_dict: expected the state of {id!r}, got one without {missing} and with unknown {unknown}. "
            "Load the state of the same environment."
        )
    for name, want in expected.items():
        if state[name].shape != want.shape:
            raise ShapeError(
                f"load_state_dict: expected {name} {list(want.shape)}, got {list(state[name].shape)}. Build the "
                "environment with the num_envs and settings it was saved with."
            )
        if state[name].dtype != want.dtype:
            raise DtypeError(
                f"load_state_dict: expected {name} of {want.dtype}, got {state[name].dtype}. Load the dict as it was "
                "saved."
            )
