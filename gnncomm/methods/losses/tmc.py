"""TMC: messages that change slowly, and values that do not hang on one message."""

from __future__ import annotations

import torch
from torch import Tensor

from gnncomm.learn import Rollout, Term
from gnncomm.learn.losses import Terms, masked_mean
from gnncomm.methods.losses.base import MethodLoss, lasting
from gnncomm.policy import CommPolicy, Evaluation

BETA = (1.5, 1.0, 0.5)
"""Weights of the steps 1, 2, 3 ago."""


class TMCLoss(MethodLoss):
    r"""Smooth and robust messages (Zhang, Zhang and Lin 2020, arXiv:2010.14391, sections 3.1 and 3.3; constants of the
    released code).

    .. math::
        \text{tmc\_smooth} = \frac{1}{|K_t|} \sum_{k \in K_t} \beta_k
            \frac{\lVert m^t - m^{t-k} \rVert^2}{M \lVert m^t \rVert^2}, \qquad
        \text{tmc\_robust} = e^{-\kappa (Q_{(1)} - Q_{(2)})}

    where :math:`K_t` are those of the last three steps that belong to the episode, :math:`Q_{(1)}, Q_{(2)}` the two
    largest outputs of the actor (values of actions, or what their probabilities are made of) and :math:`\kappa` = 25.
    The released code adds the smoothness of a step to that of all steps after it, too.

    Args:
        policy: whose actions are choices.
        sharpness: :math:`\kappa`.
        smooth, robust: weights.
    """

    def __init__(self, policy: CommPolicy, sharpness: float = 25.0, smooth: float = 1.5, robust: float = 0.3) -> None:
        super().__init__(policy)
        self.num_actions  # noqa: B018  refuses numbers
        self.sharpness, self.smooth, self.robust = sharpness, smooth, robust

    def forward(self, evaluation: Evaluation, rollout: Rollout) -> Terms:
        msg: Tensor = self.policy.comm.rounds[0].send(evaluation.rows)
        alive, size = rollout.timestep.alive, (msg.shape[-1] * msg.square().sum(-1)).clamp(min=1e-8)
        total, count = torch.zeros_like(size), torch.zeros_like(size)
        for k, beta in enumerate(BETA, start=1):
            if k < len(msg):
                lasts = lasting(rollout, k)
                change = beta * (msg[k:] - msg[:-k]).square().sum(-1) / size[k:]
                total = total + _later(torch.where(lasts, change, 0.0), k)
                count = count + _later(lasts.to(size.dtype), k)
        best = evaluation.logits.topk(min(2, evaluation.logits.shape[-1]), -1).values
        margin = best[..., 0] - best[..., -1]
        several = margin.isfinite() & alive  # with one action allowed there is nothing to mistake
        doubt = torch.where(several, -self.sharpness * torch.where(several, margin, 0.0), -torch.inf).exp()
        return {
            "tmc_smooth": Term(masked_mean(total / count.clamp(min=1), alive & (count > 0)), self.smooth),
            "tmc_robust": Term(masked_mean(doubt, alive), self.robust),
        }


def _later(x: Tensor, steps: int) -> Tensor:
    """``[T - steps, ...]`` at the steps ``steps`` later, zeros before."""
    return torch.cat([torch.zeros_like(x[:1]).expand(steps, *x.shape[1:]), x])
