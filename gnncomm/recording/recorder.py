"""``record``: let a policy play one episode and keep everything that can be drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_geometric.typing import OptTensor

from gnncomm import random
from gnncomm.channel import Arrival
from gnncomm.errors import EnvContractError
from gnncomm.evaluation.play import evaluating
from gnncomm.layers import CommLayer, CommStack
from gnncomm.layers.weighing import attends
from gnncomm.learn.returns import paid
from gnncomm.policy import CommPolicy, Play, Talk, team
from gnncomm.recording.episode import Episode
from gnncomm.types import Scene, TimeStep, VectorEnv

__all__ = ["record"]


MAX_CONTENTS = 1 << 26
"""Numbers of all messages together, beyond which an episode is kept without what they say (256 MiB)."""


@dataclass(frozen=True)
class _Heard:
    """What was read in environment 0 in one round of one step: E messages."""

    where: Tensor  # [E, 4] int64 (step, round, sender, receiver)
    sent: Tensor  # [E] int64
    weight: Tensor  # [E]
    contents: Tensor  # [E, M]


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
    first = env.reset(seed=random.seeds("record", seed, torch.arange(env.num_envs, device=env.device)))
    play = Play(env, first, team(policy, policy.initial_state(env.num_envs, env.num_agents), key))
    steps, scenes = [first], [env.scene()]
    actions: list[Tensor] = []
    heard: list[_Heard] = []
    for _, decision, after in play.steps(env.max_steps):
        heard += _heard(policy.comm, decision.talk, len(actions))
        actions.append(decision.action)
        steps.append(after)
        scenes.append(env.scene())
        if bool(after.done[0]):
            return _episode(policy.comm, env, seed, steps, scenes, actions, heard)
    raise EnvContractError(
        f"Expected an episode of {env.id!r} to end within max_steps={env.max_steps}, but it still runs. "
        "Mend the environment: set truncated at max_steps."
    )


def _episode(
    comm: CommStack,
    env: VectorEnv,
    seed: int,
    steps: list[TimeStep],
    scenes: list[Scene],
    actions: list[Tensor],
    heard: list[_Heard],
) -> Episode:
    first, last = scenes[0], steps[-1]
    return Episode(
        env=env.id,
        config=json.dumps(dict(env.config) if isinstance(env, Configured) else {}, sort_keys=True),
        seed=seed,
        size=first.size,
        success=bool(last.success[0]),
        attention=any(attends(layer) for layer in comm.rounds),
        agents=_over_time([scene.agents for scene in scenes], np.float32),
        finished=_over_time([scene.finished for scene in scenes], np.bool_),
        alive=_over_time(
            [
                step.alive if scene.present is None else step.alive & scene.present
                for step, scene in zip(steps, scenes, strict=True)
            ],
            np.bool_,
        ),
        actions=_over_time(actions, np.float32 if actions[0].is_floating_point() else np.int64),
        rewards=_over_time(
            [torch.where(paid(now, after), after.reward, 0.0) for now, after in pairwise(steps)], np.float32
        ),
        messages=torch.cat([each.where for each in heard]).cpu().numpy(),
        weight=torch.cat([each.weight for each in heard]).float().cpu().numpy(),
        entities={name: _over_time([scene.entities[name] for scene in scenes], np.float32) for name in first.entities},
        active={name: _over_time([scene.active[name] for scene in scenes], np.bool_) for name in first.entities},
        field=None
        if first.field is None
        else _over_time([scene.field for scene in scenes if scene.field is not None], np.float32),
        sent=torch.cat([each.sent for each in heard]).cpu().numpy(),
        contents=_contents(heard),
    )


def _over_time(values: list[Tensor], dtype: type) -> Any:
    """Environment 0 of each."""
    return np.stack([value[0].cpu().numpy() for value in values]).astype(dtype)


def _contents(heard: list[_Heard]) -> NDArray[np.float32] | None:
    """``[E, M]`` of all messages, as wide as the widest; None where that is too large."""
    count, width = sum(len(each.where) for each in heard), max(each.contents.shape[1] for each in heard)
    if count * width > MAX_CONTENTS:
        return None
    wide = [nn.functional.pad(each.contents.float(), (0, width - each.contents.shape[1])) for each in heard]
    return torch.cat(wide).cpu().numpy()


def _heard(comm: CommStack, talk: Talk, step: int) -> Iterator[_Heard]:
    """What was read in each round of a step, as it was delivered: nothing is sent, scheduled or carried again."""
    for number, (layer, h, arrivals, spoke) in enumerate(
        zip(comm.rounds, talk.rows, talk.arrivals, talk.spoke, strict=True)
    ):
        first = torch.zeros(1, dtype=torch.int64, device=h.device)
        parts = [replace(arrival, graph=arrival.graph.select(first)) for arrival in arrivals]
        sender_E, receiver_E = torch.cat([part.graph.edge_index for part in parts], 1)
        step_E = torch.full_like(sender_E, step)
        yield _Heard(
            torch.stack([step_E, torch.full_like(sender_E, number), sender_E, receiver_E], 1),
            torch.cat([_sent(part, spoke[0], step) for part in parts]),
            _weights(layer, h[0], parts),
            torch.cat([part.msg[0, part.graph.edge_index[0]] for part in parts]),
        )


def _sent(arrival: Arrival, spoke_N: Tensor, step: int) -> Tensor:
    """``[E]``: when what arrived was sent; -1 where it is a repetition or an invention."""
    sender_E, receiver_E = arrival.graph.edge_index
    known_E = (spoke_N[sender_E] | (sender_E == receiver_E)) & arrival.fresh | (arrival.age > 0)
    return torch.where(known_E, step - arrival.age, -1)


def _weights(layer: CommLayer, row_NF: Tensor, arrivals: Sequence[Arrival]) -> Tensor:
    """``[E]``: how much each message counted."""

    def joined(features: list[OptTensor]) -> OptTensor:
        given = [value.to(row_NF.dtype) for value in features if value is not None]
        return torch.cat(given) if given else None

    edges_2E = torch.cat([arrival.graph.edge_index for arrival in arrivals], 1)
    weight_E = joined([arrival.graph.edge_weight for arrival in arrivals])
    if not attends(layer):
        return row_NF.new_ones(edges_2E.shape[1]) if weight_E is None else weight_E
    # Of one sender there may be several messages: each arrival has its own copy of the senders.
    offset_E = torch.cat(
        [torch.full_like(part.graph.edge_index[0], len(row_NF) * n) for n, part in enumerate(arrivals)]
    )
    numbered_2E = torch.stack([edges_2E[0] + offset_E, edges_2E[1]])
    attr_ED = joined([arrival.graph.edge_attr for arrival in arrivals])
    msg_SM = torch.cat([arrival.msg[0] for arrival in arrivals])
    alpha_EH = layer.attention(row_NF, numbered_2E, attr_ED, weight_E, msg=msg_SM)[1]
    return alpha_EH[: edges_2E.shape[1]].mean(-1)  # what an agent gives itself comes last, and is no message
