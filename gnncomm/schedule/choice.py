r"""Learned choices of edges: who is chosen, and weights that carry the gradient of the choice.

A choice is drawn, and a loss that is read off the drawn graph does not say what another graph would have brought. Given
all other draws a choice has two outcomes, "in" with probability :math:`p(\theta)` and "out", and what changes between
them in the receiver's row, :math:`\Delta = h(\text{in}) - h(\text{out})`, is computed by receiving twice (see
``gnncomm.policy.credit``). With :math:`g = \partial L / \partial h` in the outcome that was drawn, the estimate is

.. math::
    \frac{\partial}{\partial \theta} \mathbb{E} L \approx \frac{p'}{2 p} \, g \cdot \Delta \ \text{ if in}, \qquad
    \frac{p'}{2 (1 - p)} \, g \cdot \Delta \ \text{ if out}.

Its mean is :math:`p' \cdot \tfrac12 (g_{\text{in}} + g_{\text{out}}) \cdot \Delta`: the trapezoidal rule for
:math:`p' (L_{\text{in}} - L_{\text{out}})`, so it is unbiased where the loss is at most quadratic in the rows after the
round, and right to second order elsewhere. This is ReinMax (Liu, Dong, Liu, Yu and Gao 2023, `Bridging Discrete and
Backpropagation: Straight-Through and Beyond <https://arxiv.org/abs/2304.08612>`_) for choices of two, with the
difference itself in place of a derivative, since means and softmaxes are not linear in an edge. Weights have the value
1 where chosen and 0 elsewhere, and the gradient above without :math:`g \cdot \Delta`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnncomm.gradients import straight_through
from gnncomm.graph import Edges
from gnncomm.schedule.base import Trades


def each_for_itself(
    edges: Edges, logit: Tensor, name: str, explore: bool, symmetric: bool = False
) -> tuple[Tensor, Tensor]:
    r"""Edges that are used with probability :math:`p = \sigma(\ell)`: ``chosen`` and ``weight`` of ``edges.shape``.

    Drawn where ``explore``, with noise from the moment; else used iff :math:`\ell > 0`. Here
    :math:`p' / 2p = (1 - p) / 2` and :math:`p' / 2(1 - p) = p / 2`.
    """
    score = logit.detach()
    if explore:
        half_step = 2.0**-54 if logit.dtype == torch.float64 else 2.0**-25
        draw = edges.draw(name, per="round", symmetric=symmetric, dtype=logit.dtype).clamp_min(half_step)
        score = score + draw.log() - torch.log1p(-draw)
    chosen = score > 0
    slope = torch.sigmoid(torch.where(chosen, -logit.detach(), logit.detach())) / 2
    return chosen, _weight(chosen, slope, logit)


def largest(log_weight: Tensor, noise: Tensor | None, k: int) -> tuple[Tensor, Tensor, Trades]:
    r"""The k of ``[..., S]`` candidates with the largest ``log_weight + noise``; those of -inf do not compete.

    With Gumbel noise they are drawn one after the other without replacement, in proportion to their weights. Given the
    scores of the others, c is in iff its own beats the k-th best of theirs, :math:`\tau_c`; then that one is out. So

    .. math::
        p = 1 - e^{-x}, \quad x = e^{\log w_c - \tau_c}, \qquad
        \frac{p'}{2 p} = \frac{x}{2 (e^x - 1)}, \quad \frac{p'}{2 (1 - p)} = \frac{x}{2}.

    Returns:
        ``chosen`` bool and ``weight``, both ``[..., S]``, and the ``Trades`` ``[...]``: the last that is in and the
        first that is out. Ties go to the smaller index.
    """
    score = log_weight.detach() if noise is None else log_weight.detach() + noise
    competes = score > -torch.inf
    ordered, order = score.sort(dim=-1, descending=True, stable=True)
    chosen = (order.argsort(-1) < k) & competes
    last, first = min(k, score.shape[-1]) - 1, min(k, score.shape[-1] - 1)
    # Where nobody is left out there is nobody to trade places with, and no gradient.
    beaten = ordered[..., first : first + 1] if k < score.shape[-1] else torch.full_like(ordered[..., :1], -torch.inf)
    rival = torch.where(chosen, beaten, ordered[..., last : last + 1])
    x = torch.where(competes, log_weight.detach() - rival, -torch.inf).exp().clamp(max=80.0)
    slope = torch.where(chosen, torch.where(x < 1e-4, 1 - x / 2, x / torch.expm1(x)), x) / 2
    moves = torch.where(competes & (rival > -torch.inf), slope, 0.0)
    weight = _weight(chosen, moves, torch.where(competes, log_weight, 0.0))
    return chosen, weight, Trades(order[..., last], order[..., first])


def _weight(chosen: Tensor, slope: Tensor, parameter: Tensor) -> Tensor:
    """1 where chosen, else 0, with ``slope`` as its derivative by ``parameter``."""
    return straight_through(chosen.to(slope.dtype), slope * parameter)
