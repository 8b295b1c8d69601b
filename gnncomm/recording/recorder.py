"""``record``: let a policy play one episode and keep everything that can be drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnncomm import random
from gnncomm.errors import EnvContractError
from gnncomm.evaluation.play import evaluating
from gnncomm.layers.weighing import attends
from gnncomm.learn.returns import paid
from gnncomm.policy import CommPolicy, Decision, Play, team
from gnncomm.policy.actions import Actions, chances
from gnncomm.recording.episode import Episode
from gnncomm.recording.hearing import Listener
from gnncomm.recording.kept import Kept
from gnncomm.types import Named, Pictured, Scene, SparseObs, TimeStep, VectorEnv

__all__ = ["record"]


@runtime_checkable
class Configured(Protocol):
    """An environment that knows the settings it was made with."""

    config: Mapping[str, Any]


@torch.no_grad()
def record(policy: CommPolicy, env: VectorEnv, seed: int = 0, greedy: bool = True, title: str = "") -> Episode:
    """Play the episode of ``seed`` in environment 0; others, where there are some, play along unrecorded.

    Whatever the seed, the episode occurs in no training and no evaluation. What is kept is what the policy decided,
    said and read while it played; nothing is computed a second time. An episode larger than ``kept.MAX_BYTES`` is kept
    without what ``kept.ORDER`` names first, see ``Episode.left_out``.

    Args:
        policy: neither its weights nor its modes are changed.
        env: its running episodes are given up. Needs ``scene``.
        seed: of the episode; with ``greedy=False`` also the key of the action draws.
        greedy: whether agents take their most likely actions, or sample as in training.
        title: a text that names who plays.

    Raises:
        EnvContractError: the episode does not end within ``env.max_steps``. ResourceError: its states alone are larger
            than the limit.
    """
    with evaluating(policy):
        return _record(policy, env, seed, None if greedy else seed, title)


def _record(policy: CommPolicy, env: VectorEnv, seed: int, key: int | None, title: str) -> Episode:
    first = env.reset(seed=random.seeds("record", seed, torch.arange(env.num_envs, device=env.device)))
    play = Play(env, first, team(policy, policy.initial_state(env.num_envs, env.num_agents), key))
    kept, listener = Kept(), Listener(policy.comm, policy.wire.channel.max_age)
    kept.add(**_state(first, env.scene()), **_drawn(env))
    for step, (now, decision, after) in enumerate(play.steps(env.max_steps)):
        kept.add(**_decided(policy.actions, now, decision, env.num_actions))
        kept.add(rewards=_numbers(torch.where(paid(now, after), after.reward, 0.0)))
        kept.add(**listener.hear(decision.talk, step))
        kept.add(**_state(after, env.scene()), **_drawn(env))
        if bool(after.done[0]):
            return _episode(policy, env, seed, title, kept, bool(after.success[0]))
    raise EnvContractError(
        f"Expected an episode of {env.id!r} to end within max_steps={env.max_steps}, but it still runs. "
        "Mend the environment: set truncated at max_steps."
    )


def _episode(policy: CommPolicy, env: VectorEnv, seed: int, title: str, kept: Kept, success: bool) -> Episode:
    scene = env.scene()
    over_time = ("finished", "alive", "actions", "rewards", "observations", "chances", "values", "spoke", "bits")
    found = {name: kept.stacked(name) for name in ("agents", "field", "pictures", *over_time)}
    found |= {name: kept.joined(name) for name in ("messages", "sent", "weight", "contents", "symbols", "lost")}
    return Episode(
        env=env.id,
        config=json.dumps(dict(env.config) if isinstance(env, Configured) else {}, sort_keys=True),
        seed=seed,
        size=scene.size,
        success=success,
        attention=any(attends(layer) for layer in policy.comm.rounds),
        entities={name: kept.stacked(f"entities.{name}") for name in scene.entities},  # type: ignore[misc]  # kept
        active={name: kept.stacked(f"active.{name}") for name in scene.entities},  # type: ignore[misc]  # kept
        marks={name: kept.stacked(f"marks.{name}") for name in scene.marks},  # type: ignore[misc]  # kept
        action_names=tuple(env.action_names) if isinstance(env, Named) else (),
        title=title,
        left_out=tuple(kept.left_out),
        **found,  # type: ignore[arg-type]  # what no episode lacks is always kept
    )


def _state(step: TimeStep, scene: Scene) -> dict[str, NDArray[Any]]:
    """What there is before a decision."""
    alive = step.alive if scene.present is None else step.alive & scene.present
    found = {"agents": _numbers(scene.agents), "finished": _first(scene.finished), "alive": _first(alive)}
    for name in scene.entities:
        found[f"entities.{name}"] = _numbers(scene.entities[name])
        found[f"active.{name}"] = _first(scene.active[name])
    found |= {f"marks.{name}": _first(marks).astype(np.int64) for name, marks in scene.marks.items()}
    return found if scene.field is None else found | {"field": _numbers(scene.field)}


def _drawn(env: VectorEnv) -> dict[str, NDArray[Any]]:
    """As the environment draws itself."""
    picture = env.picture() if isinstance(env, Pictured) else None
    return {} if picture is None else {"pictures": picture}


def _decided(actions: Actions, now: TimeStep, decision: Decision, num_actions: int) -> dict[str, NDArray[Any]]:
    """What was seen and decided; rows of the dead are 0."""
    obs = now.obs.to_flat() if isinstance(now.obs, SparseObs) else now.obs
    alive, discrete = now.alive, not decision.action.is_floating_point()
    talk = decision.talk
    found = {
        "observations": _exact(_numbers(torch.where(alive.unsqueeze(-1), obs, 0.0))),
        "actions": _first(decision.action) if discrete else _numbers(decision.action),
        "values": _numbers(torch.where(alive, decision.value, 0.0)),
        "spoke": np.stack([_first(spoke) for spoke in talk.spoke]),
        "bits": _numbers(torch.where(alive.unsqueeze(-1), talk.round_bits, 0.0).transpose(1, 2)),
    }
    if discrete:
        likely = chances(actions, decision.logits, num_actions)
        found["chances"] = _numbers(torch.where(alive.unsqueeze(-1), likely, 0.0))
    return found


def _first(value: Tensor) -> NDArray[Any]:
    """Environment 0."""
    return value[0].cpu().numpy()


def _numbers(value: Tensor) -> NDArray[np.float32]:
    return _first(value.float())


def _exact(value: NDArray[np.float32]) -> NDArray[Any]:
    """``value`` as float16 where that says the same."""
    with np.errstate(over="ignore"):
        half = value.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), value) else value
