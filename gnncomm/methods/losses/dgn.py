"""DGN: whom an agent attends to changes slowly."""

from __future__ import annotations

import torch
from torch_geometric.utils import scatter

from gnncomm.layers.attending import AttendingComm
from gnncomm.learn import Rollout, Term
from gnncomm.learn.losses import Terms, masked_mean
from gnncomm.methods.losses.base import MethodLoss, lasting, part
from gnncomm.policy import CommPolicy, Evaluation


class DGNLoss(MethodLoss):
    r"""Temporal relation regularisation (Jiang, Dun, Huang and Lu 2020, arXiv:1810.09202, section 3.3).

    With :math:`\alpha^m_i(t)` what head m of the last round attends to, over the neighbours of step t both times,

    .. math::
        \text{dgn\_relation} = \frac1M \sum_m \mathrm{KL}\big(\mathrm{sg}(\alpha^m_i(t+1)) \,\Vert\, \alpha^m_i(t)\big)

    as in the released code: the attention of the step after is the target, a constant (sg). There it has an optimiser
    of its own (Adam, 3e-6); here its weight.

    Args:
        policy: whose last round attends: ``dgn``, ``attention``, ...
        relation: weight (the paper's lambda).
    """

    def __init__(self, policy: CommPolicy, relation: float = 0.03) -> None:
        super().__init__(policy)
        part(policy.comm.rounds[-1], AttendingComm, "dgn", "comm")
        self.relation = relation

    def forward(self, evaluation: Evaluation, rollout: Rollout) -> Terms:
        if len(rollout.done) < 2:
            return {"dgn_relation": Term(evaluation.rows.new_zeros(()), self.relation)}
        now = rollout.timestep.map(lambda value: value[:-1].flatten(0, 1))
        graph = self.policy.reachable(now)
        last = part(self.policy.comm.rounds[-1], AttendingComm, "dgn", "comm")
        both = []
        for rows in (evaluation.rows[:-1], evaluation.rows[1:].detach()):
            h = rows.flatten(0, 1)
            for layer in self.policy.comm.rounds[:-1]:
                h = self.policy.comm.merge(h, layer(h, graph))
            (_, receiver_E), alpha_EM = last.attention(h, graph.expand(len(h)))
            both.append(alpha_EM.clamp(min=torch.finfo(alpha_EM.dtype).tiny))
        before, after = both[0], both[1].detach()
        kl_E = (after * (after.log() - before.log())).mean(-1)
        lasts = lasting(rollout, 1)
        kl_TBN = scatter(kl_E, receiver_E, 0, lasts.numel(), "sum").view(lasts.shape)
        return {"dgn_relation": Term(masked_mean(kl_TBN, lasts), self.relation)}
