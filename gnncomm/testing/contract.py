"""What a time step must be: names, shapes, types, finite numbers, flags that fit together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gnncomm.testing.law import require, require_bits, require_finite
from gnncomm.types import SparseObs, TimeStep, VectorEnv

EnvFactory = Callable[[int], VectorEnv]
"""``factory(num_envs) -> VectorEnv``."""

_LAW = "the contract"
_ROW = ("environment", "agent")


def check_timestep(env: VectorEnv, now: TimeStep) -> None:
    """Shapes, types and devices of all tensors; numbers of the living are finite; masks leave them something to do."""
    rows, agents = (env.num_envs,), (env.num_envs, env.num_agents)
    wanted: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "reward": (agents, torch.float32),
        "discount": (agents, torch.float32),
        "alive": (agents, torch.bool),
        **dict.fromkeys(("terminated", "truncated", "success", "first"), (rows, torch.bool)),
        **dict.fromkeys(("key", "step"), (rows, torch.int64)),
    }
    for name, (shape, dtype) in wanted.items():
        _check_tensor(env, name, getattr(now, name), shape, dtype)
    _check_observation(env, now)
    _check_options(env, now)
    require_finite(_LAW, "reward", now.reward, _ROW, "rewards are numbers")
    zero_or_one = (now.discount == 0) | (now.discount == 1)
    require(
        zero_or_one.all(), _LAW, "discount is 0 where the return of an agent ends and 1 elsewhere, nothing between."
    )


def _check_tensor(env: VectorEnv, name: str, value: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    fits = tuple(value.shape) == shape and value.dtype == dtype
    require(fits, _LAW, f"{name} is {value.dtype} {list(value.shape)}, expected {dtype} {list(shape)}.")
    require(value.device == env.device, _LAW, f"{name} is on {value.device}, expected {env.device}.")


def _check_observation(env: VectorEnv, now: TimeStep) -> None:
    agents = (env.num_envs, env.num_agents)
    if isinstance(now.obs, SparseObs):
        count = now.obs.index.shape[-1]
        require(now.obs.width == env.obs_dim, _LAW, f"obs.width is {now.obs.width}, expected obs_dim={env.obs_dim}.")
        _check_tensor(env, "obs.index", now.obs.index, (*agents, count), torch.int64)
        _check_tensor(env, "obs.value", now.obs.value, (*agents, count), torch.float32)
        inside = (now.obs.index >= 0) & (now.obs.index < env.obs_dim)
        require(inside.all(), _LAW, f"obs.index is outside [0, {env.obs_dim}).")
        values = now.obs.value
    else:
        _check_tensor(env, "obs", now.obs, (*agents, env.obs_dim), torch.float32)
        values = now.obs
    require_finite(_LAW, "obs", torch.where(now.alive.unsqueeze(-1), values, 0.0), _ROW, "a living agent observes it")


def _check_options(env: VectorEnv, now: TimeStep) -> None:
    agents = (env.num_envs, env.num_agents)
    if now.pos is not None:
        _check_tensor(env, "pos", now.pos, (*agents, now.pos.shape[-1]), torch.float32)
        living = torch.where(now.alive.unsqueeze(-1), now.pos, 0.0)
        require_finite(_LAW, "pos", living, _ROW, "a living agent is somewhere")
    if now.entered is not None:
        _check_tensor(env, "entered", now.entered, agents, torch.bool)
        ended = now.entered & (now.discount != 0)
        require(~ended.any(), _LAW, "discount is not 0 where a row passed to another agent: its return ended.")
    if now.cut is not None:
        _check_tensor(env, "cut", now.cut, agents, torch.bool)
        gone = ~now.cut | (~now.alive & (now.discount == 1))
        require(gone.all(), _LAW, "cut names an agent that goes on or ended: expected alive False and discount 1.")
    if now.action_mask is not None:
        _check_tensor(env, "action_mask", now.action_mask, (*agents, env.num_actions), torch.bool)
        stuck = now.alive & ~now.action_mask.any(-1)
        require(~stuck.any(), _LAW, "action_mask leaves a living agent nothing to do.")


def check_reset_flags(now: TimeStep, where: Tensor) -> None:
    """A new episode: first, at step 0, not ended."""
    require(now.first[where].all(), _LAW, "first is False after a reset: expected True in the environments reset.")
    require((now.step[where] == 0).all(), _LAW, "step is not 0 after a reset.")
    require(~now.done[where].any(), _LAW, "an episode is terminated or truncated right after its reset.")


def check_step_flags(env: VectorEnv, before: TimeStep, after: TimeStep) -> None:
    """How a step follows on the one before, how an episode ends, and what the discount is then."""
    require_bits(_LAW, "key", after.key, before.key, _ROW[:1], "a step does not leave the episode")
    require_bits(_LAW, "step", after.step, before.step + 1, _ROW[:1], "step counts the steps since the reset")
    require(~after.first.any(), _LAW, "first is True after a step: environments never reset themselves.")
    require(~(after.terminated & after.truncated).any(), _LAW, "an episode is both terminated and truncated.")
    at_limit = after.step >= env.max_steps
    require((after.done | ~at_limit).all(), _LAW, f"an episode runs on after max_steps={env.max_steps} steps.")
    ended = after.terminated.unsqueeze(-1) & (after.discount != 0)
    require(~ended.any(), _LAW, "discount is not 0 for every agent of a terminated episode.")
    handed_on = torch.zeros_like(after.alive) if after.entered is None else after.entered
    lost = ~handed_on & after.alive & ~after.terminated.unsqueeze(-1) & before.alive & (after.discount != 1)
    require(
        ~lost.any(),
        _LAW,
        "discount is 0 for a living agent whose episode did not terminate: a truncated return goes on, unobserved.",
    )
