"""The law that who has left changes nothing any more, and that an action that is not at hand does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import StateError
from gnncomm.testing.contract import EnvFactory
from gnncomm.testing.law import require, require_bits, require_same_tensors
from gnncomm.types import Scene, TimeStep, VectorEnv

__all__ = ["Departing", "check_departed", "check_masked_actions"]

_LAW, _MASKED = "the departed", "masked actions"
_ROW = ("environment", "agent")


@runtime_checkable
class Departing(Protocol):
    """An environment that says what of its state is about those who have left alone."""

    def departed(self) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Who is gone ``[B, N]``; name in ``state_dict`` -> bool ``[B, M]``, True for the rows that are theirs."""
        ...


def check_departed(factory: EnvFactory, num_envs: int = 16, steps: int | None = None, seed: int = 0) -> int:
    """Whatever the state says of those who have left: the others see, get and do the same, and are drawn as they were.

    At every step of a game of random and ceiling actions the rows that ``departed()`` names are overwritten with rows
    of other agents and environments, in a twin that then takes the same step. Actions of those who are gone are other
    ones there, too.

    Args:
        factory: builds the same environment for any number of slots; it must be ``Departing``.
        num_envs: slots of the trial.
        steps: length of the trial; None takes ``max_steps + 2``.
        seed: of the trial, at least 0.

    Returns:
        How many rows were overwritten; a trial without any shows nothing.

    Raises:
        LawError: names the tensor, the environment and the agent.
    """
    env, twin = factory(num_envs), factory(num_envs)
    name = type(env).__name__
    require(isinstance(env, Departing), _LAW, f"{name} has no departed(): expected who is gone, and their state.")
    now, overwritten = env.reset(seed=seed), 0
    best = _best(env)
    twin.reset(seed=seed)
    for count in range(env.max_steps + 2 if steps is None else steps):
        assert isinstance(env, Departing)
        gone, theirs = env.departed()
        state = env.state_dict()
        spoilt = _overwritten(state, theirs, seed + count)
        overwritten += sum(int(rows.sum()) for rows in theirs.values())
        _require_same(env, twin, now, twin.load_state_dict(spoilt), best, "their state was overwritten")
        action = _some_actions(env, now, best, seed + count)
        other = torch.where(gone, _draw(now.key, env.num_actions, count, gone.shape[1]), action)
        now = env.step(action)
        best = _best(env)
        _require_same(env, twin, now, twin.step(other), best, "their state was overwritten a step before")
        if bool(now.done.any()):
            now = env.reset(where=now.done)
            best = _best(env)
    return overwritten


def check_masked_actions(factory: EnvFactory, no_op: int, num_envs: int = 16, steps: int = 40, seed: int = 0) -> int:
    """An action that ``action_mask`` takes away does what the action ``no_op`` does.

    Returns:
        How many masked actions were tried.

    Raises:
        LawError: names the tensor, the environment and the agent.
    """
    env, twin = factory(num_envs), factory(num_envs)
    now, tried = env.reset(seed=seed), 0
    twin.reset(seed=seed)
    for count in range(steps):
        assert now.action_mask is not None
        action = torch.where(
            _draw(now.key, 2, count, env.num_agents, "ceiling") == 0,
            _some_actions(env, now, _best(env), seed + count),
            _draw(now.key, env.num_actions, count, env.num_agents),
        )
        masked = ~now.action_mask.gather(2, action[..., None]).squeeze(-1) & now.alive
        tried += int(masked.sum())
        twin.load_state_dict(env.state_dict())
        now, other = env.step(action), twin.step(torch.where(masked, no_op, action))
        why = "masked actions were replaced by the one that does nothing"
        require_same_tensors(_MASKED, other.tensors(), now.tensors(), _ROW, why)
        require_same_tensors(_MASKED, twin.state_dict(), env.state_dict(), _ROW, why)
        if bool(now.done.any()):
            now = env.reset(where=now.done)
    return tried


def _draw(key: Tensor, below: int, count: int, agents: int, stream: str = "departed") -> Tensor:
    numbers = torch.arange(agents, device=key.device)
    return random.integers(random.stream(key, stream)[:, None], below, count, numbers)


def _best(env: VectorEnv) -> Tensor | None:
    """The ceiling action; None where nobody knows it. Planning is most of a trial's time: once for each state."""
    try:
        return env.ceiling_action()
    except StateError:
        return None


def _some_actions(env: VectorEnv, now: TimeStep, best: Tensor | None, count: int) -> Tensor:
    """Two of three agents do what is best: otherwise few would ever leave."""
    agents = now.alive.shape[1]
    drawn = _draw(now.key, env.num_actions, count, agents)
    return drawn if best is None else torch.where(_draw(now.key, 3, count, agents, "share") > 0, best, drawn)


def _overwritten(state: Mapping[str, Tensor], theirs: Mapping[str, Tensor], salt: int) -> dict[str, Tensor]:
    """``state`` with the rows in ``theirs`` replaced by other rows of the same tensor, in the first half of the trials
    by those of the same environment, so that the gone come to stand where others do."""
    found = dict(state)
    for name, rows in theirs.items():
        value = state[name]
        environments, members = rows.shape
        entry = torch.arange(environments * members, device=value.device).view(environments, members)
        pick = random.integers(salt, environments * members, entry)
        near = entry[:, :1] + pick % members
        source = torch.where(entry % 2 == salt % 2, near, pick)
        other = value.flatten(0, 1)[source.flatten()].view_as(value)
        found[name] = torch.where(rows.view(*rows.shape, *[1] * (value.dim() - 2)), other, value)
    return found


def _require_same(
    env: VectorEnv, twin: VectorEnv, now: TimeStep, other: TimeStep, best: Tensor | None, why: str
) -> None:
    """All but the rows of the gone: time steps, states, ceiling actions (``best`` is that of ``env``) and pictures."""
    assert isinstance(env, Departing)
    assert isinstance(twin, Departing)
    gone, theirs = env.departed()
    gone_too, theirs_too = twin.departed()
    require_bits(_LAW, "who is gone", gone_too, gone, _ROW, why)
    mine, yours = _without(now.tensors(), gone), _without(other.tensors(), gone)
    require_same_tensors(_LAW, yours, mine, _ROW, why)
    before, after = env.state_dict(), twin.state_dict()
    for name, rows in theirs.items():
        require_bits(_LAW, f"departed {name}", theirs_too[name], rows, _ROW, why)
        hidden = rows.view(*rows.shape, *[1] * (before[name].dim() - 2))
        before[name], after[name] = (x.masked_fill(hidden, 0) for x in (before[name], after[name]))
    require_same_tensors(_LAW, after, before, _ROW, why)
    best_too = _best(twin)
    require((best is None) == (best_too is None), _LAW, f"ceiling_action is known to one of two only: {why}.")
    if best is not None and best_too is not None:
        require_bits(_LAW, "ceiling_action", best_too.masked_fill(gone, 0), best.masked_fill(gone, 0), _ROW, why)
    require_same_tensors(_LAW, _drawn(twin.scene(), other.alive), _drawn(env.scene(), now.alive), _ROW, why)


def _without(tensors: Mapping[str, Tensor], gone: Tensor) -> dict[str, Tensor]:
    """Zeros in the rows of the gone."""
    return {
        name: value.masked_fill(gone.view(*gone.shape, *[1] * (value.dim() - 2)), 0)
        if value.shape[:2] == gone.shape
        else value
        for name, value in tensors.items()
    }


def _drawn(scene: Scene, alive: Tensor) -> dict[str, Tensor]:
    """What can be seen of a scene."""
    present = alive if scene.present is None else scene.present
    shown = {"scene.agents": torch.where(present[..., None], scene.agents, 0), "scene.present": present}
    for name, place in scene.entities.items():
        shown[f"scene.{name}"] = torch.where(scene.active[name][..., None], place, 0)
        shown[f"scene.{name} active"] = scene.active[name]
    return shown if scene.field is None else {**shown, "scene.field": scene.field}
