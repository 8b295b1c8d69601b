"""Which fast form a graph gets. The measurements behind the rule are in docs/speed.md."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from gnncomm.graph import CommGraph, Layout
from gnncomm.layers.kernels.dense import DenseAttention, DenseMean
from gnncomm.layers.kernels.full import FullMean
from gnncomm.layers.kernels.gather import GatherAttention, GatherMean, Slots
from gnncomm.layers.kernels.round import Kernel
from gnncomm.layers.kernels.segments import Edges, SegmentAttention, SegmentMean
from gnncomm.layers.kernels.shifts import ShiftAttention, ShiftMean

SHIFTS_SMALL = 2
"""Up to so many shifts beat products of N x N matrices at any N."""
SHIFTS_SHARE = 0.25
"""Up to this share of N, shifts beat products of N x N matrices."""


def attention_kernel(graph: CommGraph, h: Tensor, heads: int, keys: int, values: int) -> Kernel | None:
    """For softmax attention."""
    sizes = heads, keys, values
    return _kernel(
        graph,
        lambda: DenseAttention(graph.dense, *sizes, h),
        lambda shifts: ShiftAttention(shifts, graph.num_agents, *sizes, h),
        lambda slots: GatherAttention(slots, *sizes, h),
        lambda edges: SegmentAttention(edges, *sizes, h),
    )


def mean_kernel(graph: CommGraph, h: Tensor) -> Kernel | None:
    """For means."""
    heard = 0 if graph.shifts is None else len(graph.shifts)
    if graph.weight is None and heard and heard >= graph.num_agents - 1:
        loops = heard == graph.num_agents
        if loops or 0 not in (graph.shifts or ()):
            return FullMean(graph.num_agents, loops)
    return _kernel(
        graph,
        lambda: DenseMean(graph.dense, h),
        lambda shifts: ShiftMean(shifts, graph.num_agents),
        lambda slots: GatherMean(slots, h),
        lambda edges: SegmentMean(edges, h),
    )


def _kernel(
    graph: CommGraph,
    dense: Callable[[], Kernel],
    shifted: Callable[[tuple[int, ...]], Kernel],
    gathered: Callable[[Slots], Kernel],
    segmented: Callable[[Edges], Kernel],
) -> Kernel | None:
    if graph.weight is not None:
        return None
    shifts = graph.shifts
    if shifts is not None and (len(shifts) <= max(SHIFTS_SMALL, SHIFTS_SHARE * graph.num_agents)):
        return shifted(shifts)
    if graph.layout is Layout.DENSE:
        return dense()
    if graph.layout is Layout.REGULAR:
        return gathered(Slots(graph.neighbors, graph.neighbor_present)) if graph.neighbors.shape[2] else None
    return segmented(Edges(graph.edge_index, graph.num_agents, graph.num_graphs))
