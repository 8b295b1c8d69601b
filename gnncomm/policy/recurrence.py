"""Recurrent cells over whole sequences: the input products are done for all steps at once by the caller."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from gnncomm.host import may_ask
from gnncomm.layers.fused import derived, must_be_derivable


def gru_sequence(gates_TRG: Tensor, h_RH: Tensor, first_TR: Tensor, weight_hh: Tensor, bias_hh: Tensor) -> Tensor:
    """All states ``[T, R, H]`` of a GRU whose input products ``gates [T, R, 3H]`` (r, z, n) are given.

    ``h`` is set to zero before each step that is ``first``.
    """
    states: Tensor = _GRUSequence.apply(  # type: ignore[no-untyped-call]  # torch
        gates_TRG, h_RH, first_TR, weight_hh, bias_hh
    )
    return states


class _GRUSequence(torch.autograd.Function):
    """One node in the autograd graph instead of a dozen per step; the weight gradient is one product at the end."""

    @staticmethod
    def forward(
        ctx: Any, gates_TRG: Tensor, h_RH: Tensor, first_TR: Tensor, weight_hh: Tensor, bias_hh: Tensor
    ) -> Tensor:
        keep_TR1 = (~first_TR).unsqueeze(-1)
        num_steps, num_rows, _ = gates_TRG.shape
        hidden = h_RH.shape[-1]
        before_TRH = gates_TRG.new_empty(num_steps, num_rows, hidden)
        out_TRH = torch.empty_like(before_TRH)
        rz_TR2H = gates_TRG.new_empty(num_steps, num_rows, 2 * hidden)
        n_TRH, hn_TRH = torch.empty_like(before_TRH), torch.empty_like(before_TRH)
        resets = first_TR.any(-1).tolist() if may_ask(first_TR.device) else [True] * len(first_TR)
        h = h_RH
        for t in range(num_steps):
            if resets[t]:
                h = torch.where(keep_TR1[t], h, 0.0)
            before_TRH[t] = h
            product = torch.addmm(bias_hh, h, weight_hh.T)
            torch.add(gates_TRG[t, :, : 2 * hidden], product[:, : 2 * hidden], out=rz_TR2H[t])
            rz = rz_TR2H[t].sigmoid_()
            hn_TRH[t] = product[:, 2 * hidden :]
            torch.addcmul(gates_TRG[t, :, 2 * hidden :], rz[:, :hidden], hn_TRH[t], out=n_TRH[t])
            n = n_TRH[t].tanh_()
            h = torch.lerp(n, h, rz[:, hidden:], out=out_TRH[t])
        inputs = gates_TRG, h_RH, weight_hh, bias_hh
        ctx.save_for_backward(*inputs, first_TR, before_TRH, rz_TR2H, n_TRH, hn_TRH)
        ctx.resets = resets
        return out_TRH

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, first_TR, before_TRH, rz_TR2H, n_TRH, hn_TRH = ctx.saved_tensors
        (grad_TRH,) = grads
        if must_be_derivable(grad_TRH):
            needs_gates, needs_h, _, *needs_weights = ctx.needs_input_grad
            wanted = needs_gates, needs_h, *needs_weights
            gates, h, *weights = derived(partial(_by_steps, ~first_TR.unsqueeze(-1)), inputs, wanted, grad_TRH)
            return gates, h, None, *weights
        weight_hh, keep_TR1 = inputs[2], ~first_TR.unsqueeze(-1)
        hidden = n_TRH.shape[-1]
        input_grad_TRG = grad_TRH.new_empty(*n_TRH.shape[:2], 3 * hidden)
        hidden_grad_TRG = torch.empty_like(input_grad_TRG)
        carry = torch.zeros_like(grad_TRH[0])
        for t in range(len(n_TRH) - 1, -1, -1):
            r, z = rz_TR2H[t].chunk(2, -1)
            n, h = n_TRH[t], before_TRH[t]
            grad = grad_TRH[t] + carry
            grad_n = grad * (1 - z) * (1 - n * n)
            input_grad_TRG[t, :, :hidden] = grad_n * hn_TRH[t] * r * (1 - r)
            input_grad_TRG[t, :, hidden : 2 * hidden] = grad * (h - n) * z * (1 - z)
            input_grad_TRG[t, :, 2 * hidden :] = grad_n
            hidden_grad_TRG[t, :, : 2 * hidden] = input_grad_TRG[t, :, : 2 * hidden]
            hidden_grad_TRG[t, :, 2 * hidden :] = grad_n * r
            carry = torch.addmm(grad * z, hidden_grad_TRG[t], weight_hh)
            if ctx.resets[t]:
                carry = torch.where(keep_TR1[t], carry, 0.0)
        flat = hidden_grad_TRG.flatten(0, 1)
        return input_grad_TRG, carry, None, flat.T @ before_TRH.flatten(0, 1), flat.sum(0)


def _by_steps(keep_TR1: Tensor, gates_TRG: Tensor, h_RH: Tensor, weight_hh: Tensor, bias_hh: Tensor) -> Tensor:
    """``gru_sequence`` in operations of PyTorch, whose derivative can be derived."""
    outputs = []
    for gates, keep in zip(gates_TRG, keep_TR1, strict=True):
        h_RH = torch.where(keep, h_RH, 0.0)
        (r, z, n), (to_r, to_z, to_n) = gates.chunk(3, -1), linear(h_RH, weight_hh, bias_hh).chunk(3, -1)
        h_RH = torch.lerp((n + (r + to_r).sigmoid() * to_n).tanh(), h_RH, (z + to_z).sigmoid())
        outputs.append(h_RH)
    return torch.stack(outputs)


def lstm_sequence(
    gates_TRG: Tensor, state_RS: Tensor, first_TR: Tensor, weight_hh: Tensor, bias_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """All outputs ``[T, R, H]`` and the last cell ``[R, H]`` of an LSTM with given input products (i, f, g, o)."""
    keep_TR1 = (~first_TR).unsqueeze(-1)
    h, c = state_RS.chunk(2, -1)
    outputs = []
    for gates, keep in zip(gates_TRG, keep_TR1, strict=True):
        h, c = torch.where(keep, h, 0.0), torch.where(keep, c, 0.0)
        i, f, g, o = (gates + linear(h, weight_hh, bias_hh)).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs), c
