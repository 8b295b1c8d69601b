"""Recurrent cells over whole sequences, with derivatives of their own.

All of a step is done while its rows are in the cache, its input products and their part of the gradients included: for
all steps at once they are no faster, and are fetched from memory again. A reset is a mask; nothing is asked.
Under autocast all stays in the type of the state: casts take longer than products in bfloat16 save.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from gnncomm.host import at_hand
from gnncomm.layers.fused import derived, must_be_derivable

_tanh_backward = torch.ops.aten.tanh_backward.grad_input
_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input


def gru_sequence(x_TRI: Tensor, h_RH: Tensor, first_TR: Tensor, *weights: Tensor) -> Tensor:
    """All states ``[T, R, H]`` of a GRU; ``h`` is set to zero before each step that is ``first``.

    ``weights``: ``weight_ih [3H, I], weight_hh [3H, H], bias_ih, bias_hh`` in blocks r, z, n, as PyTorch has them.
    """
    x_TRI = x_TRI.to(h_RH.dtype)
    if not at_hand(x_TRI, h_RH):
        return _gru_by_steps(first_TR, x_TRI, h_RH, *weights)
    states: Tensor = _GRUSequence.apply(x_TRI, h_RH, first_TR, *weights)  # type: ignore[no-untyped-call]  # torch
    return states


def lstm_sequence(x_TRI: Tensor, state_RS: Tensor, first_TR: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
    """All outputs ``[T, R, H]`` and the last cell ``[R, H]`` of an LSTM from ``state`` = [h, c]; blocks i, f, g, o."""
    x_TRI = x_TRI.to(state_RS.dtype)
    if not at_hand(x_TRI, state_RS):
        return _lstm_by_steps(first_TR, x_TRI, state_RS, *weights)
    found: tuple[Tensor, Tensor] = _LSTMSequence.apply(  # type: ignore[no-untyped-call]  # torch
        x_TRI, state_RS, first_TR, *weights
    )
    return found


class _GRUSequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TRI: Tensor, h_RH: Tensor, first_TR: Tensor, *weights: Tensor) -> Tensor:
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        hidden = h_RH.shape[-1]
        rz, n, both = slice(2 * hidden), slice(2 * hidden, 3 * hidden), slice(3 * hidden)
        bias = torch.cat([bias_ih[rz] + bias_hh[rz], bias_ih[n]])
        gates_TRG = h_RH.new_empty(*first_TR.shape, 4 * hidden)  # r, z, n, and what r lets through
        before_TRH = h_RH.new_empty(*first_TR.shape, hidden)
        out_TRH, h = torch.empty_like(before_TRH), h_RH
        for x, first, gates, before, out in zip(x_TRI, first_TR, gates_TRG, before_TRH, out_TRH, strict=True):
            before.copy_(h).masked_fill_(first.unsqueeze(-1), 0.0)
            r, z, new, let = gates.chunk(4, -1)
            torch.addmm(bias, x, weight_ih.t(), out=gates[:, both])
            gates[:, rz].addmm_(before, weight_hh[rz].t()).sigmoid_()
            torch.addmm(bias_hh[n], before, weight_hh[n].t(), out=let)
            h = torch.lerp(new.addcmul_(r, let).tanh_(), before, z, out=out)
        ctx.save_for_backward(x_TRI, h_RH, first_TR, *weights, gates_TRG, before_TRH)
        return out_TRH

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_TRI, h_RH, first_TR, *weights, gates_TRG, before_TRH = ctx.saved_tensors
        if must_be_derivable(grads[0]):
            return _derivable(ctx, _gru_by_steps, first_TR, (x_TRI, h_RH, *weights), grads[0])
        weight_ih, weight_hh, *_ = weights
        hidden = h_RH.shape[-1]
        rz, n, both = slice(2 * hidden), slice(2 * hidden, 3 * hidden), slice(3 * hidden)
        to_x, carry, some, rest = (torch.empty_like(x) for x in (x_TRI, h_RH, h_RH, h_RH))
        delta = h_RH.new_empty(len(h_RH), 4 * hidden)  # of r, z, n, and of what r lets through
        to_r, to_z, to_new, to_let = delta.chunk(4, -1)
        to_ih, to_hh, to_bias = _zeros(weights[0]), _zeros(weights[1]), delta.new_zeros(4 * hidden)
        carry.zero_()
        for t in range(len(x_TRI) - 1, -1, -1):
            r, z, new, let = gates_TRG[t].chunk(4, -1)
            before = before_TRH[t]
            carry.add_(grads[0][t])
            torch.mul(carry, z, out=rest)
            _tanh_backward(torch.sub(carry, rest, out=some), new, grad_input=to_new)
            _sigmoid_backward(torch.sub(before, new, out=some).mul_(carry), z, grad_input=to_z)
            _sigmoid_backward(torch.mul(to_new, let, out=some), r, grad_input=to_r)
            torch.mul(to_new, r, out=to_let)
            torch.mm(delta[:, both], weight_ih, out=to_x[t])
            rest.addmm_(delta[:, rz], weight_hh[rz]).addmm_(to_let, weight_hh[n])
            carry.copy_(rest).masked_fill_(first_TR[t].unsqueeze(-1), 0.0)
            to_ih.addmm_(x_TRI[t].t(), delta[:, both])
            to_hh[:, rz].addmm_(before.t(), delta[:, rz])
            to_hh[:, n].addmm_(before.t(), to_let)
            to_bias.add_(delta.sum(0))
        to_biases = to_bias[both], torch.cat([to_bias[rz], to_bias[3 * hidden :]])
        return to_x, carry, None, to_ih.t(), to_hh.t(), *to_biases


class _LSTMSequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TRI: Tensor, state_RS: Tensor, first_TR: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        weight_ih, weight_hh, bias = *weights[:2], weights[2] + weights[3]
        hidden = state_RS.shape[-1] // 2
        gates_TRG = state_RS.new_empty(*first_TR.shape, 4 * hidden)
        before_TRS = state_RS.new_empty(*first_TR.shape, 2 * hidden)
        tanh_TRH = state_RS.new_empty(*first_TR.shape, hidden)
        out_TRH, (h, c) = torch.empty_like(tanh_TRH), state_RS.chunk(2, -1)
        for t, x in enumerate(x_TRI):
            gates, before = gates_TRG[t], before_TRS[t]
            (held, kept), (i, f, g, o) = before.chunk(2, -1), gates.chunk(4, -1)
            held.copy_(h), kept.copy_(c)
            before.masked_fill_(first_TR[t].unsqueeze(-1), 0.0)
            torch.addmm(bias, x, weight_ih.t(), out=gates).addmm_(held, weight_hh.t())
            gates[:, : 2 * hidden].sigmoid_(), g.tanh_(), o.sigmoid_()
            c = (i * g).addcmul_(f, kept)
            h = torch.mul(o, torch.tanh(c, out=tanh_TRH[t]), out=out_TRH[t])
        ctx.save_for_backward(x_TRI, state_RS, first_TR, *weights, gates_TRG, before_TRS, tanh_TRH)
        return out_TRH, c.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_TRI, state_RS, first_TR, *weights, gates_TRG, before_TRS, tanh_TRH = ctx.saved_tensors
        if any(must_be_derivable(grad) for grad in grads):
            return _derivable(ctx, _lstm_by_steps, first_TR, (x_TRI, state_RS, *weights), grads)
        weight_ih, weight_hh, *_ = weights
        to_x, carry = torch.empty_like(x_TRI), torch.zeros_like(state_RS)
        to_h, to_c = carry.chunk(2, -1)
        to_c.copy_(grads[1])
        delta, some = torch.empty_like(gates_TRG[0]), torch.empty_like(tanh_TRH[0])
        to_i, to_f, to_g, to_o = delta.chunk(4, -1)
        to_ih, to_hh, to_bias = _zeros(weights[0]), _zeros(weights[1]), torch.zeros_like(weights[2])
        for t in range(len(x_TRI) - 1, -1, -1):
            (i, f, g, o), (held, kept) = gates_TRG[t].chunk(4, -1), before_TRS[t].chunk(2, -1)
            to_h.add_(grads[0][t])
            _sigmoid_backward(torch.mul(to_h, tanh_TRH[t], out=some), o, grad_input=to_o)
            to_c.add_(_tanh_backward(to_h.mul_(o), tanh_TRH[t], grad_input=some))
            _sigmoid_backward(torch.mul(to_c, g, out=some), i, grad_input=to_i)
            _sigmoid_backward(torch.mul(to_c, kept, out=some), f, grad_input=to_f)
            _tanh_backward(torch.mul(to_c, i, out=some), g, grad_input=to_g)
            torch.mm(delta, weight_ih, out=to_x[t])
            torch.mm(delta, weight_hh, out=to_h)
            to_c.mul_(f)
            carry.masked_fill_(first_TR[t].unsqueeze(-1), 0.0)
            to_ih.addmm_(x_TRI[t].t(), delta)
            to_hh.addmm_(held.t(), delta)
            to_bias.add_(delta.sum(0))
        return to_x, carry, None, to_ih.t(), to_hh.t(), to_bias, to_bias.clone()


def _zeros(weight: Tensor) -> Tensor:
    """Where the gradient of ``weight`` is added up: transposed, which is faster."""
    return weight.new_zeros(weight.shape[::-1])


def _derivable(
    ctx: Any, by_steps: Any, first_TR: Tensor, inputs: tuple[Tensor, ...], grads: Any
) -> tuple[Tensor | None, ...]:
    to_x, to_state, _, *to_weights = ctx.needs_input_grad
    found = derived(partial(by_steps, first_TR), inputs, (to_x, to_state, *to_weights), grads)
    return *found[:2], None, *found[2:]


def _gru_by_steps(first_TR: Tensor, x_TRI: Tensor, h_RH: Tensor, *weights: Tensor) -> Tensor:
    """``gru_sequence`` in operations of PyTorch, whose derivative can be derived."""
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    outputs = []
    for x, first in zip(x_TRI, first_TR, strict=True):
        h_RH = torch.where(first.unsqueeze(-1), 0.0, h_RH)
        r, z, n = linear(x, weight_ih, bias_ih).chunk(3, -1)
        to_r, to_z, to_n = linear(h_RH, weight_hh, bias_hh).chunk(3, -1)
        h_RH = torch.lerp((n + (r + to_r).sigmoid() * to_n).tanh(), h_RH, (z + to_z).sigmoid())
        outputs.append(h_RH)
    return torch.stack(outputs)


def _lstm_by_steps(first_TR: Tensor, x_TRI: Tensor, state_RS: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    h, c = state_RS.chunk(2, -1)
    outputs = []
    for x, first in zip(x_TRI, first_TR.unsqueeze(-1), strict=True):
        h, c = torch.where(first, 0.0, h), torch.where(first, 0.0, c)
        i, f, g, o = (linear(x, weight_ih, bias_ih) + linear(h, weight_hh, bias_hh)).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs), c
