"""Circulant graphs: agent i hears i + o modulo N, for the same offsets o everywhere. No index is ever read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gnncomm.layers.kernels.round import Kernel


class Halo:
    """Rows in a circle, with a copy of the ends on both sides, so that every shift is a slice.

    The axis ``dim`` holds agents, each of ``count`` entries in a row.
    """

    def __init__(self, offsets: Sequence[int], num_agents: int) -> None:
        self.num_agents = num_agents
        near = [o if 2 * o <= num_agents else o - num_agents for o in (offset % num_agents for offset in offsets)]
        self.left, self.right = max(0, -min(near)), max(0, *near)
        self.starts = [self.left + o for o in near]

    def extend(self, x: Tensor, dim: int, count: int = 1) -> Tensor:
        """``[.., N * count, ..]`` -> ``[.., (left + N + right) * count, ..]``."""
        before = x.narrow(dim, (self.num_agents - self.left) * count, self.left * count)
        return torch.cat([before, x, x.narrow(dim, 0, self.right * count)], dim)

    def shifted(self, extended: Tensor, dim: int, count: int = 1) -> list[Tensor]:
        """For each offset, the senders at the places of their receivers: views."""
        return [extended.narrow(dim, start * count, self.num_agents * count) for start in self.starts]

    def fold(self, extended: Tensor, dim: int, out: Tensor, count: int = 1) -> None:
        """The transpose of ``extend``, into ``out``."""
        left, size = self.left * count, self.num_agents * count
        out.copy_(extended.narrow(dim, left, size))
        out.narrow(dim, size - left, left).add_(extended.narrow(dim, 0, left))
        out.narrow(dim, 0, self.right * count).add_(extended.narrow(dim, left + size, self.right * count))


class ShiftAttention(Kernel):
    """Softmax attention over k shifts. Work and memory O(k) for each agent.

    Columns are contiguous (one number of all agents side by side), so that every operation runs over long vectors;
    sums over the numbers of a head are products with a matrix of ones.
    """

    agents_first = True
    columns = True

    def __init__(
        self, offsets: Sequence[int], num_agents: int, heads: int, key_channels: int, value_channels: int, like: Tensor
    ) -> None:
        self.num_agents, self.halo = num_agents, Halo(offsets, num_agents)
        self.heads, self.key_channels, self.value_channels = heads, key_channels, value_channels
        self.scale = 1 / math.sqrt(key_channels)
        eye = torch.eye(heads, dtype=like.dtype, device=like.device)
        self.sum_keys, self.sum_values = (
            eye.repeat_interleave(width, 1) for width in (key_channels, value_channels)
        )  # [H, H * K], [H, H * D]

    def forward(self, msg_VM: Tensor, query_VQ: Tensor, first: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        query_QV, extended_MW = (
            query_VQ.t() * self.scale,
            self.halo.extend(msg_VM.t(), 1, len(msg_VM) // self.num_agents),
        )
        keys, values = self._keys_and_values(extended_MW)
        alpha_kHV = query_QV.new_empty(len(keys), self.heads, query_QV.shape[1])
        product_QV = torch.empty_like(query_QV)
        for score_HV, key_QV in zip(alpha_kHV, keys, strict=True):
            torch.mm(self.sum_keys, torch.mul(query_QV, key_QV, out=product_QV), out=score_HV)
        alpha_kHV.sub_(alpha_kHV.amax(0)).exp_()
        alpha_kHV.div_(alpha_kHV.sum(0))
        inbox_IV = msg_VM.new_empty(self.heads * self.value_channels, len(msg_VM))
        inbox_HDV = inbox_IV.unflatten(0, (self.heads, -1))
        for number, (share_HV, value_IV) in enumerate(zip(alpha_kHV, values, strict=True)):
            value_HDV, share_H1V = value_IV.unflatten(0, (self.heads, -1)), share_HV.unsqueeze(1)
            if number:
                inbox_HDV.addcmul_(value_HDV, share_H1V)
            else:
                torch.mul(value_HDV, share_H1V, out=inbox_HDV)
        return inbox_IV.t(), (query_QV, extended_MW, alpha_kHV)

    def backward(
        self, saved: tuple[Tensor, ...], grad_VI: Tensor, dmsg_VM: Tensor, dquery_VQ: Tensor, first: int
    ) -> None:
        query_QV, extended_MW, alpha_kHV = saved
        keys, values = self._keys_and_values(extended_MW)
        dextended_MW = torch.zeros_like(extended_MW)
        dkeys, dvalues = self._keys_and_values(dextended_MW)
        grad_IV, dscore_kHV = grad_VI.t(), torch.empty_like(alpha_kHV)
        grad_HDV, product_IV = grad_IV.unflatten(0, (self.heads, -1)), torch.empty_like(grad_IV)
        for number, (share_HV, dscore_HV) in enumerate(zip(alpha_kHV, dscore_kHV, strict=True)):
            torch.mm(self.sum_values, torch.mul(grad_IV, values[number], out=product_IV), out=dscore_HV)
            dvalues[number].unflatten(0, (self.heads, -1)).addcmul_(grad_HDV, share_HV.unsqueeze(1))
        dscore_kHV.mul_(alpha_kHV)
        dscore_kHV.addcmul_(alpha_kHV, dscore_kHV.sum(0, keepdim=True), value=-1)
        query_HKV, dquery_QV = query_QV.unflatten(0, (self.heads, -1)), torch.zeros_like(query_QV)
        dquery_HKV = dquery_QV.unflatten(0, (self.heads, -1))
        for number, dscore_HV in enumerate(dscore_kHV):
            dscore_H1V = dscore_HV.unsqueeze(1)
            dquery_HKV.addcmul_(keys[number].unflatten(0, (self.heads, -1)), dscore_H1V)
            dkeys[number].unflatten(0, (self.heads, -1)).addcmul_(query_HKV, dscore_H1V)
        torch.mul(dquery_QV, self.scale, out=dquery_VQ.t())
        self.halo.fold(dextended_MW, 1, dmsg_VM.t(), len(dmsg_VM) // self.num_agents)

    def _keys_and_values(self, extended_MW: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        key_QW, value_IW = extended_MW.split([self.heads * self.key_channels, self.heads * self.value_channels])
        count = extended_MW.shape[1] // (self.halo.left + self.num_agents + self.halo.right)
        return self.halo.shifted(key_QW, 1, count), self.halo.shifted(value_IW, 1, count)


class ShiftMean(Kernel):
    """The mean of k shifts."""

    def __init__(self, offsets: Sequence[int], num_agents: int) -> None:
        self.num_agents, self.halo = num_agents, Halo(offsets, num_agents)

    def forward(self, msg_VM: Tensor, query_VQ: Tensor, first: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        extended_gWM = self.halo.extend(msg_VM.unflatten(0, (-1, self.num_agents)), 1)
        one, *others = self.halo.shifted(extended_gWM, 1)
        share = 1 / (len(others) + 1)
        inbox_gNM = one * share
        for other_gNM in others:
            inbox_gNM.add_(other_gNM, alpha=share)
        return inbox_gNM.flatten(0, 1), ()

    def backward(
        self, saved: tuple[Tensor, ...], grad_VI: Tensor, dmsg_VM: Tensor, dquery_VQ: Tensor, first: int
    ) -> None:
        # the transpose of a shift by o is a shift by -o
        back = Halo([-start + self.halo.left for start in self.halo.starts], self.num_agents)
        out_gNM = dmsg_VM.unflatten(0, (-1, self.num_agents))
        one, *others = back.shifted(back.extend(grad_VI.unflatten(0, (-1, self.num_agents)), 1), 1)
        share = 1 / (len(others) + 1)
        torch.mul(one, share, out=out_gNM)
        for other_gNM in others:
            out_gNM.add_(other_gNM, alpha=share)
