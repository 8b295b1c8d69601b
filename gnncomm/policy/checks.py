"""What a policy refuses at its doors: shapes that would be broadcast, and numbers that are none.

``torch.where`` and the operators broadcast in silence: one agent's observation, or an observation without its axis of
environments, would give each agent plausible numbers. NaN in a logit would be action 0. The checks of shapes cost no
kernel, that of numbers two kernels for a step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar

import torch
from torch import Tensor

from gnncomm.errors import DtypeError, NonFiniteError, ShapeError
from gnncomm.host import refuse_unless_finite
from gnncomm.types import SparseObs, TimeStep

_planted: ContextVar[bool] = ContextVar("planted", default=False)
_AXES = {1: "B", 2: "T, B"}


@contextlib.contextmanager
def planted_nan() -> Iterator[None]:
    """Within: NaN may enter and leave. For the laws, which plant it to see how far it gets."""
    before = _planted.set(True)
    try:
        yield
    finally:
        _planted.reset(before)


def require_timestep(timestep: TimeStep, axes: int) -> None:
    """Refuse a time step whose tensors do not share ``axes`` leading axes ([B], or [T, B]) and one number of agents.

    Raises:
        ShapeError, DtypeError: names the tensor, with what was expected and got.
    """
    alive, obs = timestep.alive, timestep.obs
    rows = _shape("alive", alive)
    if len(rows) != axes + 1 or alive.dtype != torch.bool:
        raise ShapeError(f"Expected alive [{_AXES[axes]}, N] of bool, got {list(rows)} of {alive.dtype}.")
    lead = rows[:-1]
    values = obs.value if isinstance(obs, SparseObs) else obs
    if _shape("obs", values)[:-1] != rows or (isinstance(obs, SparseObs) and _shape("obs", obs.index) != values.shape):
        raise ShapeError(_wanted("obs", f"[{_AXES[axes]}, N, ...]", (*rows, "..."), values))
    if not _shape("step", timestep.step) == _shape("key", timestep.key) == _shape("first", timestep.first) == lead:
        for name in ("step", "key", "first"):
            require_shape(name, getattr(timestep, name), lead, f"[{_AXES[axes]}]")
    if timestep.entered is not None:
        require_shape("entered", timestep.entered, rows, f"[{_AXES[axes]}, N]")
    if timestep.pos is not None and _shape("pos", timestep.pos)[:-1] != rows:
        raise ShapeError(_wanted("pos", f"[{_AXES[axes]}, N, P]", (*rows, "P"), timestep.pos))


def require_like(name: str, value: Tensor, like: Tensor) -> None:
    """Refuse a tensor of another type than ``like``.

    Raises:
        DtypeError: names it.
    """
    if value.dtype != like.dtype:
        raise DtypeError(f"Expected {name} of {like.dtype}, got {value.dtype}: use initial_state.")


def require_key(key: int | Tensor | None) -> None:
    """Refuse a tensor of keys: one key names the draws of the whole batch.

    Raises:
        ShapeError: it has an axis.
    """
    if isinstance(key, Tensor) and key.dim():
        raise ShapeError(f"Expected one key for the draws of all environments, got {list(key.shape)}.")


def require_shape(name: str, value: Tensor, shape: tuple[int, ...], meaning: str) -> None:
    """Refuse a tensor of another shape.

    Raises:
        ShapeError: names it, with ``meaning`` for its axes.
    """
    if _shape(name, value) != shape:
        raise ShapeError(_wanted(name, meaning, shape, value))


def require_finite(
    alive: Tensor, log_prob: Tensor, value: Tensor, suspects: Callable[[], Mapping[str, Tensor]]
) -> None:
    """Refuse a decision of a living agent that is made of NaN or infinity.

    Args:
        alive: ``[B, N]``.
        log_prob: ``[B, N]`` of the action; NaN where any logit is NaN or plus infinity.
        value: ``[B, N]``.
        suspects: gives by name what it may come from: weights, and ``[B, N, ...]`` tensors called "state...".

    Raises:
        NonFiniteError: names environment and agent, and the first suspect that is not finite.
    """
    log_prob, value = log_prob.detach(), value.detach()

    def not_finite() -> NonFiniteError | None:
        bad = (alive & ~(log_prob.isfinite() & value.isfinite())).nonzero()
        if not len(bad):  # of the dead, or finite numbers whose sum is not
            return None
        env, agent = bad[0].tolist()
        return NonFiniteError(
            f"Expected finite logits and value of agent {agent} in environment {env}, got log-probability "
            f"{float(log_prob[env, agent]):g} and value {float(value[env, agent]):g}. {_cause(alive, suspects())}"
        )

    if not _planted.get():
        refuse_unless_finite((log_prob + value).sum(), not_finite)


def _cause(alive: Tensor, suspects: Mapping[str, Tensor]) -> str:
    for name, value in suspects.items():
        wrong = ~value.detach().isfinite()
        if name.startswith("state"):
            wrong = wrong & alive.view(*alive.shape, *[1] * (value.dim() - 2))
        at = wrong.nonzero()
        if not len(at):
            continue
        if name.startswith("state"):
            env, agent = at[0].tolist()[:2]
            return f"{name} of agent {agent} in environment {env} holds NaN or infinity: begin with initial_state."
        return f"The weight {name!r} holds NaN or infinity in {len(at)} entries: load the policy again."
    return "All weights and what is remembered are finite: observations, messages or weights are too large."


def _shape(name: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, Tensor):
        raise ShapeError(f"Expected {name} as a tensor, got {type(value).__name__}: use torch.as_tensor.")
    return value.shape


def _wanted(name: str, meaning: str, shape: tuple[object, ...], value: Tensor) -> str:
    sizes = ", ".join(map(str, shape))
    return f"Expected {name} {meaning} = [{sizes}], got {list(value.shape)}: nothing is repeated to fit."
