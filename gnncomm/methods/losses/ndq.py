"""NDQ: what is said tells what its receiver will do, in few nats."""

from __future__ import annotations

import math

import torch

from gnncomm.learn import Rollout, Term
from gnncomm.learn.losses import Terms, masked_mean
from gnncomm.methods.losses.base import MethodLoss, inbox_of, perceptron
from gnncomm.policy import CommPolicy, Evaluation


class NDQLoss(MethodLoss):
    r"""Expressiveness and succinctness (Wang, Wang, Zheng and Zhang 2020, arXiv:1910.05366, section 3.2, equations 4
    to 8; weights of the released code).

    With what an agent hears, :math:`c_i`, and its greedy action, :math:`a^*_i`,

    .. math::
        \text{ndq\_expressiveness} = -\log q(a^*_i \mid \mathrm{sg}(h_i), c_i), \qquad
        \text{ndq\_entropy} = -\log \mathcal N(m_j; 0, 1)

    The third term, the divergence of messages from :math:`\mathcal N(0, 1)`, is the price ``beta`` of the codec
    ``bottleneck``. The first is a bound of the mutual information of message and action; h is a constant (sg), so that
    it shapes what is said. In the paper :math:`a^*` maximises the target network's Q; here the policy's own logits.

    Args:
        policy: whose actions are choices.
        width: of the two hidden layers of q.
        expressiveness, entropy: weights.
    """

    def __init__(self, policy: CommPolicy, width: int = 64, expressiveness: float = 1.0, entropy: float = 1e-6) -> None:
        super().__init__(policy)
        first = policy.comm.rounds[0]
        self.expressiveness, self.entropy = expressiveness, entropy
        self.posterior = perceptron(first.in_channels + first.msg_channels, width, width, self.num_actions)

    def forward(self, evaluation: Evaluation, rollout: Rollout) -> Terms:
        layer, now = self.policy.comm.rounds[0], self.flat(rollout)
        rows = evaluation.rows.flatten(0, 1)
        msg = self.said(rows, now)
        heard = inbox_of(layer, rows, msg, self.policy.reachable(now))
        log_q = self.posterior(torch.cat([rows.detach(), heard], -1)).log_softmax(-1)
        greedy = evaluation.logits.flatten(0, 1).argmax(-1, keepdim=True)
        surprise = -log_q.gather(-1, greedy).squeeze(-1)
        length = 0.5 * (msg.square() + math.log(2 * math.pi)).sum(-1)
        return {
            "ndq_expressiveness": Term(masked_mean(surprise, now.alive), self.expressiveness),
            "ndq_entropy": Term(masked_mean(length, now.alive), self.entropy),
        }
