"""Who is near whom among many, without N x N: living agents sorted into the cells of a uniform grid.

Whoever is within ``side`` of an agent lies in its cell or in one that touches it. Along the last axis the three cells
in question lie next to each other in the sorted list, so an agent looks at 3^(axes - 1) stretches of that list.
Results are equal to brute force; memory is bounded whatever the crowd, time is best when agents are spread evenly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from gnncomm.graph import CommGraph
from gnncomm.shapes import Bool, Float, Int
from gnncomm.topology.geometric import separation

BRUTE_UP_TO = 256
"""With more agents than this, cells are faster than all pairs."""
CANDIDATES = 2**20
"""Pairs looked at in one piece."""
MARGIN = 1e-6
"""Relative; above the rounding of float32 distances."""
MAX_AXES = 3


class Cells:
    """The living agents of B environments in cells of ``side [B]``; V counts the living.

    Attributes:
        node_V: int64, ``b * N + n`` of each living agent.
        environment_V: int64.
        place_VP: float32.
    """

    def __init__(self, alive: Bool[Tensor, "B N"], place: Float[Tensor, "B N P"], side: Float[Tensor, " B"]) -> None:
        num_envs, num_agents = alive.shape
        self.node_V = alive.flatten().nonzero().squeeze(-1)
        self.environment_V = self.node_V // num_agents
        self.place_VP = place.flatten(0, 1)[self.node_V]
        axes = min(MAX_AXES, place.shape[-1])
        where_VA = self.place_VP[:, :axes].double()
        if len(where_VA):
            where_VA = where_VA - where_VA.amin(0)
        # Ids must fit into 63 bits; a larger cell only means more candidates.
        bits = (62 - num_envs.bit_length()) // axes - 2
        floor = where_VA.amax().item() * 2.0**-bits if where_VA.numel() else 0.0
        side_B = (side.double() * (1 + MARGIN)).clamp_min(floor or 1.0)
        cell_VA = (where_VA / side_B[self.environment_V].unsqueeze(-1)).to(torch.int64) + 1
        # One empty cell between rows keeps the end of one apart from the beginning of the next.
        extent_A = [int(cell_VA[:, axis].max()) + 2 if len(cell_VA) else 1 for axis in range(axes)]
        stride_A = torch.tensor([math.prod(extent_A[axis + 1 :]) for axis in range(axes)], device=place.device)
        steps_QA = torch.tensor(list(product((-1, 0, 1), repeat=axes - 1)), dtype=torch.int64, device=place.device)
        self._rows_Q = (steps_QA.view(3 ** (axes - 1), axes - 1) * stride_A[:-1]).sum(-1)
        self._id_V = self.environment_V * math.prod(extent_A) + (cell_VA * stride_A).sum(-1)
        self._sorted_V, self._order_V = self._id_V.sort(stable=True)

    def stretches(self, receiver: Int[Tensor, " R"]) -> tuple[Int[Tensor, "R Q"], Int[Tensor, "R Q"]]:
        """Begin and end of the stretches of the sorted list that hold everyone near these agents."""
        center_RQ = self._id_V[receiver].unsqueeze(-1) + self._rows_Q
        begin_RQ = torch.searchsorted(self._sorted_V, center_RQ - 1)
        return begin_RQ, torch.searchsorted(self._sorted_V, center_RQ + 1, right=True)

    def candidates(self, receiver_R: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Receivers ``[r]``, those who may be near ``[r, C]``, and their distance ``[r, C]``, piece by piece.

        Agents are numbers in 0 .. V-1. Infinite distance: an empty place, or the agent itself.
        """
        begin_RQ, end_RQ = self.stretches(receiver_R)
        # Longest lists first: the first of each piece says how wide the piece is.
        width_R, order_R = (end_RQ - begin_RQ).amax(-1).sort(descending=True, stable=True)
        first = 0
        while first < len(order_R):
            width = max(1, int(width_R[first]))
            row_r = order_R[first : first + max(1, CANDIDATES // (width * begin_RQ.shape[1]))]
            first += len(row_r)
            slot_rQC = begin_RQ[row_r].unsqueeze(-1) + torch.arange(width, device=row_r.device)
            empty_rC = (slot_rQC >= end_RQ[row_r].unsqueeze(-1)).flatten(1)
            sender_rC = self._order_V[slot_rQC.clamp_max(len(self._order_V) - 1).flatten(1)]
            receiver_r1 = receiver_R[row_r].unsqueeze(-1)
            distance_rC = separation(self.place_VP[receiver_r1], self.place_VP[sender_rC])
            nobody_rC = empty_rC | (sender_rC == receiver_r1)
            yield receiver_r1.squeeze(-1), sender_rC, distance_rC.masked_fill(nobody_rC, torch.inf)


def within(alive: Bool[Tensor, "B N"], place: Float[Tensor, "B N P"], radius: Float[Tensor, " B"]) -> CommGraph:
    """Everyone hears all living agents at most ``radius`` of their environment away. Sparse layout."""
    cells = Cells(alive, place, radius)
    radius_V = radius[cells.environment_V]
    found = [torch.empty(2, 0, dtype=torch.int64, device=alive.device)]
    for receiver_r, sender_rC, distance_rC in cells.candidates(torch.arange(len(cells.node_V), device=alive.device)):
        heard_rC = (distance_rC <= radius_V[receiver_r].unsqueeze(-1)) & distance_rC.isfinite()
        row_E, slot_E = heard_rC.nonzero(as_tuple=True)
        found.append(torch.stack([cells.node_V[sender_rC[row_E, slot_E]], cells.node_V[receiver_r[row_E]]]))
    return CommGraph.from_edge_index(torch.cat(found, 1), alive.shape[1], alive.shape[0], validate=False)


def nearest(
    alive: Bool[Tensor, "B N"], place: Float[Tensor, "B N P"], k: int
) -> tuple[Int[Tensor, "B N k"], Bool[Tensor, "B N k"]]:
    """The ``k`` nearest living agents of each, and which of these slots are filled.

    Cells begin small and double. An agent is done when its k-th candidate is nearer than anybody outside can be.
    """
    num_envs, num_agents = alive.shape
    index_Nk = torch.zeros(num_envs * num_agents, k, dtype=torch.int64, device=alive.device)
    present_Nk = torch.zeros_like(index_Nk, dtype=torch.bool)
    shape = (num_envs, num_agents, k)
    side, extent = _first_side(alive, place, k)
    waiting_R = torch.arange(int(alive.sum()), device=alive.device)
    while len(waiting_R):
        cells = Cells(alive, place, place.new_full((num_envs,), side))
        begin_RQ, end_RQ = cells.stretches(waiting_R)
        last = side > extent
        ready_R = (end_RQ - begin_RQ).sum(-1) > (0 if last else 3 * k)
        done_V = torch.zeros(len(cells.node_V), dtype=torch.bool, device=alive.device)
        for receiver_r, sender_rC, distance_rC in cells.candidates(waiting_R[ready_R]):
            agent_rC = cells.node_V[sender_rC] % num_agents
            best_rk, far_rk = first_of(distance_rC, agent_rC, k)
            done_r = (far_rk.amax(-1) < side) if not last else torch.ones_like(receiver_r, dtype=torch.bool)
            node_r, filled = cells.node_V[receiver_r[done_r]], best_rk.shape[1]
            index_Nk[node_r, :filled] = best_rk[done_r]
            present_Nk[node_r, :filled] = far_rk[done_r].isfinite()
            done_V[receiver_r] = done_r
        waiting_R = waiting_R[~done_V[waiting_R]]
        side *= 2
    return index_Nk.view(shape), present_Nk.view(shape)


def first_of(distance: Float[Tensor, "*R C"], agent: Int[Tensor, "*S C"], k: int) -> tuple[Tensor, Tensor]:
    """Agents and distances ``[*R, min(k, C)]`` of the ``k`` smallest distances; of equal ones, the smaller agents."""
    # Floats that are not negative are ordered like their bits; below the bits, the index decides between equals.
    rank = (distance.view(torch.int32).to(torch.int64) << 32) | agent
    best = rank.topk(min(k, distance.shape[-1]), largest=False, sorted=False).values
    return best & 0xFFFFFFFF, (best >> 32).to(torch.int32).view(torch.float32)


def _first_side(alive: Tensor, place: Tensor, k: int) -> tuple[float, float]:
    """A cell that is too small for most agents, judged by the middle half of the crowd; and the crowd's extent."""
    place_VA = place[alive][:, :MAX_AXES]
    count, axes = place_VA.shape
    if count == 0:
        return 1.0, 0.0
    sorted_VA = place_VA.sort(dim=0).values.double()
    extent = float((sorted_VA[-1] - sorted_VA[0]).amax())
    if extent == 0.0:
        return 1.0, 0.0
    spread_A = (sorted_VA[(3 * count) // 4] - sorted_VA[count // 4]).clamp_min(extent * 1e-6)
    crowd = count / alive.shape[0] * 0.5**axes
    return 0.5 * float(spread_A.prod() * k / crowd) ** (1 / axes), extent
