"""Everyone hears everyone: the sum is the same for all, and the own row is taken out again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from gnncomm.layers.kernels.round import Kernel, Linears, chunks, derived, must_be_derivable


class FullMean(Kernel):
    """The mean over all others, or over everyone with ``loops``."""

    def __init__(self, num_agents: int, loops: bool) -> None:
        self.num_agents, self.loops = num_agents, loops
        self.heard = num_agents if loops else num_agents - 1

    def folded(self, linears: Linears, h_VF: Tensor) -> Tensor:
        r""":math:`W_c \sum_{j \ne i} h_j = W_c \sum_j h_j - W_c h_i`: one product for each row instead of two."""
        w_sum = linears.inbox.weight / self.heard
        w_own = linears.own.weight if self.loops else linears.own.weight - w_sum
        out: Tensor = FoldedMean.apply(self, h_VF, w_own, linears.own.bias, w_sum)  # type: ignore[no-untyped-call]
        return out

    def forward(self, msg_VM: Tensor, query_VQ: Tensor, first: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        inbox_VM = torch.empty_like(msg_VM)
        self._mean(msg_VM, inbox_VM)
        return inbox_VM, ()

    def backward(
        self, saved: tuple[Tensor, ...], grad_VI: Tensor, dmsg_VM: Tensor, dquery_VQ: Tensor, first: int
    ) -> None:
        self._mean(grad_VI, dmsg_VM)  # the matrix is symmetric

    def by_graph(self, x_VM: Tensor) -> Tensor:
        """``[g * N, M] -> [g, N, M]``."""
        x_gNM: Tensor = x_VM.unflatten(0, (-1, self.num_agents))
        return x_gNM

    def _mean(self, x_VM: Tensor, out_VM: Tensor) -> None:
        x_gNM, out_gNM = self.by_graph(x_VM), self.by_graph(out_VM)
        total_g1M = x_gNM.sum(1, keepdim=True)
        if self.loops:
            out_gNM.copy_(total_g1M.expand_as(out_gNM))
        else:
            torch.sub(total_g1M, x_gNM, out=out_gNM)
        out_gNM.div_(self.heard)


class FoldedMean(torch.autograd.Function):
    r""":math:`h'_i = W h_i + b + S \sum_j h_j`, a few graphs at a time."""

    @staticmethod
    def forward(ctx: Any, full: FullMean, h_VF: Tensor, w_own: Tensor, bias: Tensor, w_sum: Tensor) -> Tensor:
        out_VO = h_VF.new_empty(len(h_VF), len(bias))
        parts = list(chunks(full, h_VF))
        for rows, _ in parts:
            torch.addmm(bias, h_VF[rows], w_own.t(), out=out_VO[rows])
            total_gF = full.by_graph(h_VF[rows]).sum(1)
            full.by_graph(out_VO[rows]).add_((total_gF @ w_sum.t()).unsqueeze(1))
        ctx.full, ctx.parts = full, parts
        ctx.save_for_backward(h_VF, w_own, bias, w_sum)
        return out_VO

    @staticmethod
    def backward(ctx: Any, grad_VO: Tensor) -> tuple[Tensor | None, ...]:
        h_VF, w_own, bias, w_sum = ctx.saved_tensors
        if must_be_derivable(grad_VO):

            def plain(h: Tensor, own: Tensor, bias: Tensor, total: Tensor) -> Tensor:
                summed: Tensor = linear(ctx.full.by_graph(h).sum(1, keepdim=True), total)
                return linear(h, own, bias) + summed.expand(-1, ctx.full.num_agents, -1).flatten(0, 1)

            return None, *derived(plain, (h_VF, w_own, bias, w_sum), ctx.needs_input_grad[1:], grad_VO)
        dh_VF = torch.empty_like(h_VF) if ctx.needs_input_grad[1] else None
        dw_own, dw_sum, dbias = torch.zeros_like(w_own), torch.zeros_like(w_sum), w_own.new_zeros(len(w_own))
        for rows, _ in ctx.parts:
            grad, h = grad_VO[rows], h_VF[rows]
            total_gO = ctx.full.by_graph(grad).sum(1)
            dbias += total_gO.sum(0)
            dw_own.addmm_(grad.t(), h)
            dw_sum.addmm_(total_gO.t(), ctx.full.by_graph(h).sum(1))
            if dh_VF is not None:
                torch.mm(grad, w_own, out=dh_VF[rows])
                ctx.full.by_graph(dh_VF[rows]).add_((total_gO @ w_sum).unsqueeze(1))
        return None, dh_VF, dw_own, dbias, dw_sum
