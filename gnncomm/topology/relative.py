"""Edge features that a receiver measures: where it sees each sender."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.errors import GraphError, ShapeError
from gnncomm.graph import CommGraph
from gnncomm.shapes import Float
from gnncomm.topology.base import Alive, Keys, Places, Steps, Topology


def relative_features(
    graph: CommGraph, pos: Float[Tensor, "B N P"], vel: Float[Tensor, "B N P"] | None = None, vector: bool = True
) -> CommGraph:
    r"""``graph`` with the features :math:`[p_j - p_i, \lVert p_j - p_i \rVert, v_j - v_i]` on each edge j -> i.

    Sender minus receiver; features and weights that the graph had are replaced and kept, respectively.

    Args:
        graph: G graphs, one for each row of ``pos`` or one for all.
        pos: positions.
        vel: velocities; None leaves their difference out.
        vector: whether :math:`p_j - p_i` is among the features, or only the distance.

    Raises:
        ShapeError: positions or velocities of other agents or environments.
    """
    num_envs = max(graph.num_graphs, len(pos))
    for name, value in (("pos", pos), ("vel", vel)):
        if value is not None and (value.dim() != 3 or value.shape[:2] != (num_envs, graph.num_agents)):
            raise ShapeError(
                f"relative_features needs a row for each agent: expected {name} {[num_envs, graph.num_agents, 'P']}, "
                f"got {list(value.shape)}."
            )
    spread = graph.expand(num_envs)
    env, sender, receiver = spread.endpoints(num_envs)
    apart = pos[env, sender] - pos[env, receiver]
    # The root of 0 has no derivative: choose before it, so that an agent that hears itself has gradient 0.
    square = (apart * apart).sum(-1, keepdim=True)
    together = square == 0
    distance = torch.where(together, 0.0, torch.where(together, 1.0, square).sqrt())
    features = [apart, distance] if vector else [distance]
    if vel is not None:
        features.append(vel[env, sender] - vel[env, receiver])
    attr = torch.cat(features, -1)
    return spread.with_features(attr.expand(*spread.shape, attr.shape[-1]), spread.weight)


@dataclass(frozen=True)
class Relative(Topology):
    r"""The edges of ``inner`` with features :math:`[p_j - p_i, \lVert p_j - p_i \rVert]`: ``full.relative()``.

    P + 1 numbers, sender minus receiver, for layers that read edge features: ``hetgppo:edge_dim=3`` where positions
    have two coordinates. The receiver measures them: they are not on the wire.
    """

    inner: Topology

    def __call__(self, alive: Alive, pos: Places = None, step: Steps = 0, key: Keys = None) -> CommGraph:
        return _measured(self, alive, pos, step, key, vector=True)


@dataclass(frozen=True)
class Distance(Topology):
    r"""The edges of ``inner`` with the feature :math:`\lVert p_j - p_i \rVert`: ``full.distance()``, ``edge_dim=1``."""

    inner: Topology

    def __call__(self, alive: Alive, pos: Places = None, step: Steps = 0, key: Keys = None) -> CommGraph:
        return _measured(self, alive, pos, step, key, vector=False)


def _measured(
    topology: Relative | Distance,
    alive: Tensor,
    pos: Tensor | None,
    step: int | Tensor,
    key: Tensor | None,
    vector: bool,
) -> CommGraph:
    if pos is None:
        raise GraphError(
            f"{type(topology).__name__} measures positions: expected pos [B, N, P], got None. Use an environment with "
            "pos, or the topology alone."
        )
    # Where a dead agent is does not matter, and may be no number.
    here = torch.where(alive.unsqueeze(-1), pos, 0.0)
    return relative_features(topology.inner(alive, pos, step, key), here, vector=vector)
