"""Edge features: what a layer expects of them."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.typing import OptTensor

from gnncomm.errors import ConfigError
from gnncomm.layers.base import CommLayer


def expected_features(
    layer: CommLayer, edge_dim: int, edge_index: Tensor, edge_attr: OptTensor, like: Tensor
) -> OptTensor:
    """``edge_attr [E, D]`` if it is what a layer of ``edge_dim`` expects; no edges lack no features.

    Raises:
        ConfigError: features of another width, none where some are expected, or some where none are.
    """
    if edge_attr is None and edge_dim and edge_index.shape[1] == 0:
        return like.new_zeros(0, edge_dim)
    width = 0 if edge_attr is None else edge_attr.shape[-1]
    if width != edge_dim:
        raise ConfigError(
            f"{layer!r} expects edge features of width {edge_dim}, got {width or 'none'}: give the graph features "
            "with relative_features(graph, pos), or set edge_dim."
        )
    return edge_attr
