"""Graphs as matrices: the inbox is a batched product, masked where there is no edge."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gnncomm.layers.kernels.round import Kernel


class DenseAttention(Kernel):
    """Softmax attention over all pairs; a pair without an edge has score minus infinity. ``adjacency [G|1, N, N]``."""

    def __init__(self, adjacency_GNN: Tensor, heads: int, key_channels: int, value_channels: int, like: Tensor) -> None:
        self.num_agents = adjacency_GNN.shape[-1]
        self.heads, self.key_channels, self.value_channels = heads, key_channels, value_channels
        self.scale = 1 / math.sqrt(key_channels)
        self.hears_G1NN = adjacency_GNN.transpose(1, 2).unsqueeze(1)  # receiver, sender
        nobody_G1N1 = ~self.hears_G1NN.any(-1, keepdim=True)
        self.nobody_G1N1 = nobody_G1N1 if bool(nobody_G1N1.any()) else None
        self.bias_11NN = None
        if len(adjacency_GNN) == 1:
            zeros_11NN = torch.zeros(self.hears_G1NN.shape, dtype=like.dtype, device=like.device)
            self.bias_11NN = zeros_11NN.masked_fill(~self.hears_G1NN, -torch.inf)

    def forward(self, msg_VM: Tensor, query_VQ: Tensor, first: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        key, value = msg_VM.split([self.heads * self.key_channels, self.heads * self.value_channels], 1)
        key_BNK, value_BND, query_BNK = self._by_head(key), self._by_head(value), self._by_head(query_VQ)
        query_BNK.mul_(self.scale)
        alpha_BNN = torch.bmm(query_BNK, key_BNK.transpose(1, 2))
        self._mask(alpha_BNN.unflatten(0, (-1, self.heads)), first)
        top_BN1 = alpha_BNN.amax(-1, keepdim=True)
        if self.nobody_G1N1 is not None:
            # the largest score of an empty inbox is minus infinity: any finite number makes its shares 0
            graphs = slice(first, first + len(alpha_BNN) // self.heads) if len(self.nobody_G1N1) > 1 else slice(None)
            top_BN1.unflatten(0, (-1, self.heads)).masked_fill_(self.nobody_G1N1[graphs], 0.0)
        alpha_BNN.sub_(top_BN1).exp_()
        alpha_BNN.div_(alpha_BNN.sum(-1, keepdim=True).clamp_(min=torch.finfo(alpha_BNN.dtype).tiny))
        inbox_VI = query_VQ.new_empty(len(query_VQ), value.shape[1])
        self._from_heads(torch.bmm(alpha_BNN, value_BND), inbox_VI)
        return inbox_VI, (query_BNK, key_BNK, value_BND, alpha_BNN)

    def backward(
        self, saved: tuple[Tensor, ...], grad_VI: Tensor, dmsg_VM: Tensor, dquery_VQ: Tensor, first: int
    ) -> None:
        query_BNK, key_BNK, value_BND, alpha_BNN = saved
        grad_BND = self._by_head(grad_VI)
        dkey_VQ, dvalue_VI = dmsg_VM.split([dquery_VQ.shape[1], grad_VI.shape[1]], 1)
        self._from_heads(torch.bmm(alpha_BNN.transpose(1, 2), grad_BND), dvalue_VI)
        dscore_BNN = torch.bmm(grad_BND, value_BND.transpose(1, 2)).mul_(alpha_BNN)
        dscore_BNN.addcmul_(alpha_BNN, dscore_BNN.sum(-1, keepdim=True), value=-1)
        self._from_heads(torch.bmm(dscore_BNN, key_BNK).mul_(self.scale), dquery_VQ)
        self._from_heads(torch.bmm(dscore_BNN.transpose(1, 2), query_BNK), dkey_VQ)

    def _mask(self, score_gHNN: Tensor, first: int) -> None:
        if self.bias_11NN is not None:
            score_gHNN.add_(self.bias_11NN)  # faster than choosing, and the same for finite scores
            return
        shared = len(self.hears_G1NN) == 1
        hears_g1NN = self.hears_G1NN if shared else self.hears_G1NN[first : first + len(score_gHNN)]
        score_gHNN.masked_fill_(~hears_g1NN, -torch.inf)

    def choose(self) -> None:
        self.bias_11NN = None

    def _by_head(self, x_VC: Tensor) -> Tensor:
        """``[g * N, H * C] -> [g * H, N, C]``, a copy."""
        split_gHNC = x_VC.unflatten(0, (-1, self.num_agents)).unflatten(2, (self.heads, -1)).transpose(1, 2)
        copy_gHNC: Tensor = split_gHNC.clone(memory_format=torch.contiguous_format)
        return copy_gHNC.flatten(0, 1)

    def _from_heads(self, x_BNC: Tensor, out_VC: Tensor) -> None:
        """The inverse of ``_by_head``, into ``out``."""
        out_gNHC = out_VC.unflatten(0, (-1, self.num_agents)).unflatten(2, (self.heads, -1))
        out_gNHC.copy_(x_BNC.unflatten(0, (-1, self.heads)).transpose(1, 2))


class DenseMean(Kernel):
    """The mean over edges as a product with a matrix whose rows sum to 1 (to 0 where an inbox is empty)."""

    def __init__(self, adjacency_GNN: Tensor, like: Tensor) -> None:
        self.num_agents = adjacency_GNN.shape[-1]
        hears_GNN = adjacency_GNN.transpose(1, 2).to(like.dtype)
        self.share_GNN = hears_GNN / hears_GNN.sum(-1, keepdim=True).clamp(min=1.0)  # receiver, sender

    def forward(self, msg_VM: Tensor, query_VQ: Tensor, first: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        msg_gNM = msg_VM.unflatten(0, (-1, self.num_agents))
        return torch.bmm(self._share(first, len(msg_gNM)), msg_gNM).flatten(0, 1), ()

    def backward(
        self, saved: tuple[Tensor, ...], grad_VI: Tensor, dmsg_VM: Tensor, dquery_VQ: Tensor, first: int
    ) -> None:
        grad_gNM = grad_VI.unflatten(0, (-1, self.num_agents))
        share_gNN = self._share(first, len(grad_gNM))
        torch.bmm(share_gNN.transpose(1, 2), grad_gNM, out=dmsg_VM.unflatten(0, (-1, self.num_agents)))

    def _share(self, first: int, count: int) -> Tensor:
        if len(self.share_GNN) == 1:
            return self.share_GNN.expand(count, -1, -1)
        return self.share_GNN[first : first + count]
