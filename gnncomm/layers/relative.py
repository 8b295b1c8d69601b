"""Edge features that a receiver measures: where it sees each sender."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.typing import OptTensor

from gnncomm.errors import ConfigError, ShapeError
from gnncomm.graph import CommGraph
from gnncomm.layers.base import CommLayer
from gnncomm.shapes import Float


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


def expected_features(
    layer: CommLayer, edge_dim: int, edge_index: Tensor, edge_attr: OptTensor, like: Tensor
) -> OptTensor:
    """``edge_attr [E, D]`` if it is what a layer of ``edge_dim`` expects; no edges lack no features.

    Raises:
        ConfigError: features of another width, none where some are expected, or some where none are.
    """
    if edge_attr is None and edge_index.shape[1] == 0 and edge_dim:
        return like.new_zeros(0, edge_dim)
    width = 0 if edge_attr is None else edge_attr.shape[-1]
    if width != edge_dim:
        raise ConfigError(
            f"{layer!r} expects edge features of width {edge_dim}, got {width or 'none'}: give the graph features "
            "with relative_features(graph, pos), or set edge_dim."
        )
    return edge_attr
