"""Graphs of different sizes side by side: filled up with agents that have no edges, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gnncomm.errors import GraphError, ShapeError
from gnncomm.graph import checks


def places_of_nodes(data: Any) -> tuple[Tensor, Tensor]:
    """Of each node of a Batch its number in its graph ``[V]``; which places of each graph have a node ``[G, N]``."""
    batch_V = getattr(data, "batch", None)
    if batch_V is None:
        batch_V = torch.zeros(int(data.num_nodes or 0), dtype=torch.int64, device=data.edge_index.device)
    if bool((batch_V[1:] < batch_V[:-1]).any()):
        raise GraphError("batch is unsorted: expected the nodes of each graph in one block, 0 0 .. 1 1 .. .")
    # a batch that was made of a list knows of graphs without nodes
    count_G = torch.bincount(batch_V, minlength=int(getattr(data, "num_graphs", 1)))
    first_G = count_G.cumsum(0) - count_G
    place_V = torch.arange(len(batch_V), device=batch_V.device) - first_G[batch_V]
    largest = int(count_G.max()) if len(count_G) else 0
    return place_V, torch.arange(largest, device=batch_V.device) < count_G.unsqueeze(1)


def padded(rows: Tensor, mask: Tensor) -> Tensor:
    """``[V, F]`` of the nodes, graph after graph -> ``[G, N, F]``; zeros where ``mask [G, N]`` is False."""
    out = rows.new_zeros(*mask.shape, *rows.shape[1:])
    return out.masked_scatter(mask.view(*mask.shape, *[1] * (rows.dim() - 1)), rows)


def unpad(rows: Tensor, mask: Tensor) -> Tensor:
    """``[G, N, F]`` and ``mask [G, N]`` as ``CommGraph.from_batch`` gives it -> ``[V, F]``, in the order of the batch.

    Raises:
        ShapeError: rows of other graphs.
    """
    if rows.shape[: mask.dim()] != mask.shape:
        raise ShapeError(
            f"mask says which rows are nodes: expected rows {[*mask.shape, 'F']}, got {checks.shape_of(rows)}."
        )
    return rows[mask]
