"""``record``: let a policy play one episode and keep everything that can be drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import EnvContractError
from gnncomm.evaluate.play import evaluating
from gnncomm.graph import CommGraph
from gnncomm.layers import CommStack
from gnncomm.layers.base import Attention
from gnncomm.policy import CommPolicy, Decision
from gnncomm.record.episode import Episode
from gnncomm.types import Scene, TimeStep, VectorEnv

__all__ = ["record"]


@runtime_checkable
class Attentive(Protocol):
    """A layer that can say how its inboxes divide their attention."""

    def attention(self, h: Tensor, graph: CommGraph | Tensor) -> Attention: ...


@runtime_checkable
class Configured(Protocol):
    """An environment that knows the settings it was made with."""

    config: Mapping[str, Any]


@torch.no_grad()
def record(policy: CommPolicy, env: VectorEnv, seed: int = 0, greedy: bool = True) -> Episode:
    """Play the episode of ``seed`` in environment 0; others, where there are some, play along unrecorded.

    Whatever the seed, the episode occurs in no training and no evaluation.

    Args:
        policy: neither its weights nor its modes are changed.
        env: its running episodes are given up. Needs ``scene``.
        seed: of the episode; with ``greedy=False`` also the key of the action draws.
        greedy: whether agents take their most likely actions, or sample as in training.

    Raises:
        EnvContractError: the episode does not end within ``env.max_steps``.
    """
    with evaluating(policy):
        return _record(policy, env, seed, None if greedy else seed)


def _record(policy: CommPolicy, env: VectorEnv, seed: int, key: int | None) -> Episode:
    now = env.reset(seed=random.seeds("record", seed, torch.arange(env.num_envs, device=env.device)))
    state = policy.initial_state(env.num_envs, env.num_agents)
    steps, scenes, decisions = [now], [env.scene()], []
    for _ in range(env.max_steps):
        decision = policy.act(now, state, key)
        state = decision.state
        now = env.step(decision.action)
        decisions.append(decision)
        steps.append(now)
        scenes.append(env.scene())
        if bool(now.done[0]):
            return _episode(policy.comm, env, seed, steps, scenes, decisions)
        if bool(now.done.any()):
            now = env.reset(where=now.done)
    raise EnvContractError(
        f"Expected an episode of {env.id!r} to end within max_steps={env.max_steps}, but it still runs. "
        "Mend the environment: set truncated at max_steps."
    )


def _episode(
    comm: CommStack, env: VectorEnv, seed: int, steps: list[TimeStep], scenes: list[Scene], decisions: list[Decision]
) -> Episode:
    first, last = scenes[0], steps[-1]
    messages_E4, weight_E = _messages(comm, decisions)
    return Episode(
        env=env.id,
        config=json.dumps(dict(env.config) if isinstance(env, Configured) else {}, sort_keys=True),
        seed=seed,
        size=first.size,
        success=bool(last.success[0]),
        attention=any(_attends(layer) for layer in comm.rounds),
        agents=_over_time([scene.agents for scene in scenes], np.float32),
        finished=_over_time([scene.finished for scene in scenes], np.bool_),
        alive=_over_time([step.alive for step in steps], np.bool_),
        actions=_over_time([decision.action for decision in decisions], np.int64),
        rewards=_over_time([step.reward for step in steps[1:]], np.float32),
        messages=messages_E4.cpu().numpy(),
        weight=weight_E.float().cpu().numpy(),
        entities={name: _over_time([scene.entities[name] for scene in scenes], np.float32) for name in first.entities},
        active={name: _over_time([scene.active[name] for scene in scenes], np.bool_) for name in first.entities},
        field=None
        if first.field is None
        else _over_time([scene.field for scene in scenes if scene.field is not None], np.float32),
    )


def _over_time(values: list[Tensor], dtype: type) -> Any:
    """Environment 0 of each."""
    return np.stack([value[0].cpu().numpy() for value in values]).astype(dtype)


def _attends(layer: object) -> TypeGuard[Attentive]:
    """Whether the layer has attention: a convolution that is wrapped may have none."""
    return isinstance(layer, Attentive) and bool(getattr(layer, "weighs", True))


def _messages(comm: CommStack, decisions: list[Decision]) -> tuple[Tensor, Tensor]:
    """(step, round, sender, receiver) ``[E, 4]`` and weight ``[E]`` of all messages in environment 0."""
    rows, weights = [], []
    for step, decision in enumerate(decisions):
        graph = decision.graph.select(torch.zeros(1, dtype=torch.int64, device=decision.graph.device))
        sender_E, receiver_E = graph.edge_index
        for number, (layer, before) in enumerate(zip(comm.rounds, decision.rows, strict=True)):
            where_E = torch.full_like(sender_E, step), torch.full_like(sender_E, number)
            rows.append(torch.stack([*where_E, sender_E, receiver_E], 1))
            if _attends(layer):
                # what an agent gives itself comes last, and is no message
                weights.append(layer.attention(before[:1], graph)[1][: len(sender_E)].mean(-1))
            else:
                weights.append(torch.ones(len(sender_E), device=sender_E.device))
    return torch.cat(rows), torch.cat(weights)
