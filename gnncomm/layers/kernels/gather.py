"""Neighbour lists: slot by slot, the rows of the senders are fetched to the places of the receivers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gnncomm.layers.kernels.round import Kernel, rows_in_work


class Slots:
    """``neighbors [G|1, N, k]`` and which of them are there, by slot and for any chunk of graphs."""

    def __init__(self, neighbors_GNk: Tensor, present_GNk: Tensor | None) -> None:
        self.num_agents = neighbors_GNk.shape[1]
        self.sender_kGN = neighbors_GNk.permute(2, 0, 1).contiguous()
        some_absent = present_GNk is not None and not bool(present_GNk.all())
        self.present_kGN = (
            present_GNk.permute(2, 0, 1).contiguous() if some_absent and present_GNk is not None else None
        )

    def __len__(self) -> int:
        return len(self.sender_kGN)

    def of_chunk(self, num_rows: int, first: int) -> tuple[Tensor, Tensor | None]:
        """``[k, rows]``: which row of the chunk sends, and whether."""
        count = num_rows // self.num_agents
        graphs = slice(first, first + count) if self.sender_kGN.shape[1] > 1 else slice(None)
        start_g1 = torch.arange(count, device=self.sender_kGN.device).unsqueeze(1) * self.num_agents
        sender_kV = (self.sender_kGN[:, graphs] + start_g1).flatten(1)
        if self.present_kGN is None:
            return sender_kV, None
        return sender_kV, self.present_kGN[:, graphs].expand(-1, count, -1).flatten(1)


def blocks(num_rows: int, like: Tensor) -> Iterator[slice]:
    """Receivers a few at a time, for graphs that are larger than a chunk should be."""
    count = max(1, round(num_rows / (rows_in_work(like) or num_rows))) if num_rows else 0
    for number in range(count):
        yield slice(number * num_rows // count, (number + 1) * num_rows // count)


class GatherAttention(Kernel):
    """Softmax attention over k neighbours. Work and memory O(k) for each agent."""

    def __init__(self, slots: Slots, heads: int, key_channels: int, value_channels: int, like: Tensor) -> None:
        self.num_agents, self.slots = slots.num_agents, slots
        self.heads, self.key_channels, self.value_channels = heads, key_channels, value_channels
        self.scale = 1 / math.sqrt(key_channels)
        eye = torch.eye(heads, dtype=like.dtype, device=like.device)
        self.sum_keys, self.sum_values = (
            eye.repeat_interleave(width, 0) for width in (key_channels, value_channels)
        )  # [H * K, H], [H * D, H]

    def forward(self, msg_VM: Tensor, query_VQ: Tensor, first: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        sender_kV, present_kV = self.slots.of_chunk(len(msg_VM), first)
        key_VQ, value_VI = self._split(msg_VM)
        query_VQ = query_VQ * self.scale
        alpha_kVH = query_VQ.new_empty(*sender_kV.shape, self.heads)
        inbox_VI = msg_VM.new_zeros(value_VI.shape)
        tiny = torch.finfo(msg_VM.dtype)
        for rows in blocks(len(msg_VM), msg_VM):
            score_kRH = alpha_kVH[:, rows]
            for score_RH, sender_R in zip(score_kRH, sender_kV[:, rows], strict=True):
                torch.mm(key_VQ.index_select(0, sender_R).mul_(query_VQ[rows]), self.sum_keys, out=score_RH)
            if present_kV is not None:
                score_kRH.masked_fill_(~present_kV[:, rows].unsqueeze(-1), -torch.inf)
            top_RH = score_kRH.amax(0)
            if present_kV is not None:
                # the largest score of an empty inbox is minus infinity: any finite number makes its shares 0
                top_RH.masked_fill_(~present_kV[:, rows].any(0).unsqueeze(-1), 0.0)
            score_kRH.sub_(top_RH).exp_()
            score_kRH.div_(score_kRH.sum(0).clamp_(min=tiny.tiny))
            inbox_RHD = inbox_VI[rows].unflatten(1, (self.heads, -1))
            for alpha_RH, sender_R in zip(score_kRH, sender_kV[:, rows], strict=True):
                value_RHD = value_VI.index_select(0, sender_R).unflatten(1, (self.heads, -1))
                inbox_RHD.addcmul_(value_RHD, alpha_RH.unsqueeze(-1))
        return inbox_VI, (query_VQ, msg_VM, alpha_kVH)

    def backward(
        self, saved: tuple[Tensor, ...], grad_VI: Tensor, dmsg_VM: Tensor, dquery_VQ: Tensor, first: int
    ) -> None:
        query_VQ, msg_VM, alpha_kVH = saved
        sender_kV, _ = self.slots.of_chunk(len(msg_VM), first)
        key_VQ, value_VI = self._split(msg_VM)
        total_VM = torch.zeros_like(msg_VM, memory_format=torch.contiguous_format)
        for rows in blocks(len(msg_VM), msg_VM):
            grad_RI, alpha_kRH, sender_kR = grad_VI[rows], alpha_kVH[:, rows], sender_kV[:, rows]
            dscore_kRH = torch.empty_like(alpha_kRH)
            for dscore_RH, sender_R in zip(dscore_kRH, sender_kR, strict=True):
                torch.mm(value_VI.index_select(0, sender_R).mul_(grad_RI), self.sum_values, out=dscore_RH)
            dscore_kRH.mul_(alpha_kRH)
            dscore_kRH.addcmul_(alpha_kRH, dscore_kRH.sum(0, keepdim=True), value=-1)
            query_RHK, grad_RHD = self._by_head(query_VQ[rows]), self._by_head(grad_RI)
            dquery_RHK, dmsg_RM = torch.zeros_like(query_RHK), total_VM.new_empty(len(grad_RI), msg_VM.shape[1])
            dkey_RHK, dvalue_RHD = (self._by_head(part) for part in self._split(dmsg_RM))
            for dscore_RH, alpha_RH, sender_R in zip(dscore_kRH, alpha_kRH, sender_kR, strict=True):
                dscore_RH1 = dscore_RH.unsqueeze(-1)
                dquery_RHK.addcmul_(self._by_head(key_VQ.index_select(0, sender_R)), dscore_RH1)
                torch.mul(query_RHK, dscore_RH1, out=dkey_RHK)
                torch.mul(grad_RHD, alpha_RH.unsqueeze(-1), out=dvalue_RHD)
                total_VM.index_add_(0, sender_R, dmsg_RM)
            torch.mul(dquery_RHK.flatten(1), self.scale, out=dquery_VQ[rows])
        dmsg_VM.copy_(total_VM)  # adding by index is slow into a part of a wider matrix

    def _by_head(self, x_VC: Tensor) -> Tensor:
        split_VHC: Tensor = x_VC.unflatten(1, (self.heads, -1))
        return split_VHC

    def _split(self, msg_VM: Tensor) -> tuple[Tensor, Tensor]:
        key_VQ, value_VI = msg_VM.split([self.heads * self.key_channels, self.heads * self.value_channels], 1)
        return key_VQ, value_VI


class GatherMean(Kernel):
    """The mean over k neighbours."""

    def __init__(self, slots: Slots, like: Tensor) -> None:
        self.num_agents, self.slots, self.share_GN = slots.num_agents, slots, None
        if slots.present_kGN is not None:
            self.share_GN = 1 / slots.present_kGN.sum(0).clamp(min=1).to(like.dtype)

    def forward(self, msg_VM: Tensor, query_VQ: Tensor, first: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        sender_kV, present_kV = self.slots.of_chunk(len(msg_VM), first)
        inbox_VM = torch.zeros_like(msg_VM)
        for rows in blocks(len(msg_VM), msg_VM):
            inbox_RM = inbox_VM[rows]
            for number, sender_R in enumerate(sender_kV[:, rows]):
                if present_kV is None:
                    inbox_RM.add_(msg_VM.index_select(0, sender_R))
                else:
                    here_R1 = present_kV[number, rows].unsqueeze(1)
                    inbox_RM.add_(msg_VM.index_select(0, sender_R).masked_fill_(~here_R1, 0.0))
        return inbox_VM.mul_(self._share(len(msg_VM), first)), ()

    def backward(
        self, saved: tuple[Tensor, ...], grad_VI: Tensor, dmsg_VM: Tensor, dquery_VQ: Tensor, first: int
    ) -> None:
        sender_kV, present_kV = self.slots.of_chunk(len(grad_VI), first)
        grad_VI = grad_VI * self._share(len(grad_VI), first)
        dmsg_VM.zero_()
        for rows in blocks(len(grad_VI), grad_VI):
            for number, sender_R in enumerate(sender_kV[:, rows]):
                grad_RI = grad_VI[rows]
                if present_kV is not None:
                    grad_RI = grad_RI.masked_fill(~present_kV[number, rows].unsqueeze(1), 0.0)
                dmsg_VM.index_add_(0, sender_R, grad_RI)

    def _share(self, num_rows: int, first: int) -> Tensor | float:
        if self.share_GN is None:
            return 1 / len(self.slots)
        count = num_rows // self.num_agents
        graphs = slice(first, first + count) if len(self.share_GN) > 1 else slice(None)
        return self.share_GN[graphs].expand(count, -1).reshape(-1, 1)
