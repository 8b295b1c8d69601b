"""Edge lists sorted by receiver: the edges of one inbox lie side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from gnncomm.graph import views
from gnncomm.layers.kernels.round import Kernel, rows_in_work

EDGES_PER_ROW = 2
"""Edges in work at a time, for each row in work."""


@dataclass(frozen=True)
class Segment:
    """Some receivers of a chunk, all of their edges, and where each inbox begins among those."""

    rows: slice
    edges: slice  # of the chunk
    senders: Tensor  # [E] rows of the chunk
    receivers: Tensor  # [E] 0 .. number of receivers in the segment
    starts: Tensor  # [R + 1]


class Edges:
    """``edge_index [2, E]`` of all graphs, or of one that all share, sorted by receiver."""

    def __init__(self, edges_2E: Tensor, num_agents: int, num_graphs: int) -> None:
        self.num_agents, self.num_graphs, self.edges_2E = num_agents, num_graphs, edges_2E
        self.start_V = _starts(edges_2E, num_agents * num_graphs)
        self._repeats: dict[int, tuple[Tensor, Tensor]] = {}

    def of_chunk(self, num_rows: int, first: int) -> Iterator[Segment]:
        """The segments of the graphs from ``first`` on."""
        if self.num_graphs == 1:
            edges_2E, start_V = self._repeated(num_rows // self.num_agents)
            lift = 0
        else:
            edges_2E, lift = self.edges_2E, -first * self.num_agents
            start_V = self.start_V[first * self.num_agents :][: num_rows + 1]
        cuts = _cuts(start_V)
        for begin, end in pairwise(cuts):
            start_R = start_V[begin : end + 1]
            sender_E, receiver_E = edges_2E[:, int(start_R[0]) : int(start_R[-1])]
            edges = slice(int(start_R[0] - start_V[0]), int(start_R[-1] - start_V[0]))
            yield Segment(slice(begin, end), edges, sender_E + lift, receiver_E + (lift - begin), start_R - start_R[0])

    def count(self, num_rows: int, first: int) -> int:
        """Edges of the chunk."""
        if self.num_graphs == 1:
            return self.edges_2E.shape[1] * (num_rows // self.num_agents)
        begin = first * self.num_agents
        return int(self.start_V[begin + num_rows] - self.start_V[begin])

    def _repeated(self, count: int) -> tuple[Tensor, Tensor]:
        """The shared graph ``count`` times; a call needs two different counts at most."""
        if count not in self._repeats:
            edges_2E = views.repeat_edges(self.edges_2E, count, self.num_agents)
            self._repeats[count] = edges_2E, _starts(edges_2E, self.num_agents * count)
        return self._repeats[count]


def _starts(edges_2E: Tensor, num_nodes: int) -> Tensor:
    """Where the edges of each receiver begin, ``[V + 1]``."""
    degree_V = torch.bincount(edges_2E[1], minlength=num_nodes)
    return torch.cat([degree_V.new_zeros(1), degree_V.cumsum(0)])


def _cuts(start_V: Tensor) -> list[int]:
    """Receivers at which to cut, so that each part has about as many edges as it should."""
    rows, edges = len(start_V) - 1, int(start_V[-1] - start_V[0])
    size = EDGES_PER_ROW * (rows_in_work(start_V) or rows)
    if edges <= size or start_V.device.type != "cpu":
        return [0, rows]
    wanted = start_V[0] + torch.arange(1, round(edges / size), device=start_V.device) * size
    inner = torch.searchsorted(start_V, wanted).clamp(max=rows).tolist()
    return sorted({0, *inner, rows})


class SegmentAttention(Kernel):
    """Softmax attention over the edges of each inbox. Work and memory O(edges)."""

    def __init__(self, edges: Edges, heads: int, key_channels: int, value_channels: int, like: Tensor) -> None:
        self.num_agents, self.edges = edges.num_agents, edges
        self.heads, self.key_channels, self.value_channels = heads, key_channels, value_channels
        self.scale = 1 / math.sqrt(key_channels)
        eye = torch.eye(heads, dtype=like.dtype, device=like.device)
        self.sum_keys, self.sum_values = (
            eye.repeat_interleave(width, 0) for width in (key_channels, value_channels)
        )  # [H * K, H], [H * D, H]

    def forward(self, msg_VM: Tensor, query_VQ: Tensor, first: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        key_VQ, value_VI = self._split(msg_VM)
        query_VQ = query_VQ * self.scale
        inbox_VI = msg_VM.new_zeros(value_VI.shape)
        alpha_CH = msg_VM.new_empty(self.edges.count(len(msg_VM), first), self.heads)
        for part in self.edges.of_chunk(len(msg_VM), first):
            product_EQ = key_VQ.index_select(0, part.senders)
            product_EQ.mul_(query_VQ[part.rows].index_select(0, part.receivers))
            alpha_EH = _softmax(torch.mm(product_EQ, self.sum_keys), part)
            value_EI = value_VI.index_select(0, part.senders)
            value_EI.unflatten(1, (self.heads, -1)).mul_(alpha_EH.unsqueeze(-1))
            inbox_VI[part.rows].index_add_(0, part.receivers, value_EI)
            alpha_CH[part.edges] = alpha_EH
        return inbox_VI, (query_VQ, msg_VM, alpha_CH)

    def backward(
        self, saved: tuple[Tensor, ...], grad_VI: Tensor, dmsg_VM: Tensor, dquery_VQ: Tensor, first: int
    ) -> None:
        query_VQ, msg_VM, alpha_CH = saved
        key_VQ, value_VI = self._split(msg_VM)
        total_VM, total_VQ = (torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (msg_VM, query_VQ))
        for part in self.edges.of_chunk(len(msg_VM), first):
            alpha_EH, grad_EI = alpha_CH[part.edges], grad_VI[part.rows].index_select(0, part.receivers)
            product_EI = value_VI.index_select(0, part.senders).mul_(grad_EI)
            dscore_EH = torch.mm(product_EI, self.sum_values).mul_(alpha_EH)
            sum_RH = dscore_EH.new_zeros(part.rows.stop - part.rows.start, self.heads)
            sum_RH.index_add_(0, part.receivers, dscore_EH)
            dscore_EH.addcmul_(alpha_EH, sum_RH.index_select(0, part.receivers), value=-1)
            dscore_EH1, alpha_EH1 = dscore_EH.unsqueeze(-1), alpha_EH.unsqueeze(-1)
            key_EQ = key_VQ.index_select(0, part.senders)
            self._by_head(key_EQ).mul_(dscore_EH1)
            total_VQ[part.rows].index_add_(0, part.receivers, key_EQ)
            dmsg_EM = total_VM.new_empty(len(grad_EI), total_VM.shape[1])
            dkey_EHK, dvalue_EHD = (self._by_head(half) for half in self._split(dmsg_EM))
            query_EQ = query_VQ[part.rows].index_select(0, part.receivers)  # scaled in the forward pass
            torch.mul(self._by_head(query_EQ), dscore_EH1, out=dkey_EHK)
            torch.mul(self._by_head(grad_EI), alpha_EH1, out=dvalue_EHD)
            total_VM.index_add_(0, part.senders, dmsg_EM)
        torch.mul(total_VQ, self.scale, out=dquery_VQ)
        dmsg_VM.copy_(total_VM)  # adding by index is slow into a part of a wider matrix

    def _by_head(self, x_EC: Tensor) -> Tensor:
        split_EHC: Tensor = x_EC.unflatten(1, (self.heads, -1))
        return split_EHC

    def _split(self, msg_VM: Tensor) -> tuple[Tensor, Tensor]:
        key_VQ, value_VI = msg_VM.split([self.heads * self.key_channels, self.heads * self.value_channels], 1)
        return key_VQ, value_VI


def _softmax(score_EH: Tensor, part: Segment) -> Tensor:
    """Over the edges of each receiver, in place."""
    if len(score_EH) == 0:
        return score_EH
    top_RH = torch.segment_reduce(score_EH, "max", offsets=part.starts, axis=0, unsafe=True)
    score_EH.sub_(top_RH.index_select(0, part.receivers)).exp_()
    sum_RH = torch.zeros_like(top_RH).index_add_(0, part.receivers, score_EH)
    return score_EH.div_(sum_RH.index_select(0, part.receivers))


class SegmentMean(Kernel):
    """The mean over the edges of each inbox."""

    def __init__(self, edges: Edges, like: Tensor) -> None:
        self.num_agents, self.edges = edges.num_agents, edges
        self.share_V1 = 1 / edges.start_V.diff().clamp(min=1).to(like.dtype).unsqueeze(1)

    def forward(self, msg_VM: Tensor, query_VQ: Tensor, first: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        inbox_VM = torch.zeros_like(msg_VM)
        for part in self.edges.of_chunk(len(msg_VM), first):
            inbox_VM[part.rows].index_add_(0, part.receivers, msg_VM.index_select(0, part.senders))
        return inbox_VM.mul_(self._share(len(msg_VM), first)), ()

    def backward(
        self, saved: tuple[Tensor, ...], grad_VI: Tensor, dmsg_VM: Tensor, dquery_VQ: Tensor, first: int
    ) -> None:
        grad_VI = grad_VI * self._share(len(grad_VI), first)
        dmsg_VM.zero_()
        for part in self.edges.of_chunk(len(grad_VI), first):
            dmsg_VM.index_add_(0, part.senders, grad_VI[part.rows].index_select(0, part.receivers))

    def _share(self, num_rows: int, first: int) -> Tensor:
        if self.edges.num_graphs == 1:
            return self.share_V1.repeat(num_rows // self.num_agents, 1)
        return self.share_V1[first * self.num_agents :][:num_rows]
