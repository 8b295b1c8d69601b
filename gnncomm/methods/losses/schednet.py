"""SchedNet: weights of senders by a critic of their own."""

from __future__ import annotations

import torch
from torch.func import functional_call

from gnncomm.learn import Rollout, Term
from gnncomm.learn.losses import Terms
from gnncomm.methods.losses.base import MethodLoss, part, perceptron, team_sarsa
from gnncomm.policy import CommPolicy, Evaluation
from gnncomm.schedule.top_k import TopK


class SchedNetLoss(MethodLoss):
    r"""The weight generator and its critic (Kim et al. 2019, arXiv:1902.01554, section 3.2, equation 3).

    With the weights w that the agents announce and a critic of all rows and weights,

    .. math::
        \text{schednet\_critic} = \tfrac12 \big(Q(h, w) - (r + \gamma Q(h', w'))\big)^2, \qquad
        \text{schednet\_weights} = - Q(\mathrm{sg}(h), w)

    so the first trains the critic and the second the network of w, by :math:`\partial Q / \partial w` through a critic
    that is a constant there, and nothing else. Without target networks; the paper has some.

    Args:
        policy: with the scheduler ``topk``.
        num_agents: N.
        width: of the critic.
        gamma: discount.
        weights: weight of the second term.
    """

    def __init__(
        self, policy: CommPolicy, num_agents: int, width: int = 64, gamma: float = 0.99, weights: float = 1.0
    ) -> None:
        super().__init__(policy)
        part(policy.scheduler, TopK, "schednet", "scheduler")
        self.gamma, self.weights = gamma, weights
        self.critic = perceptron(num_agents * (policy.comm.in_channels + 1), width, 1)

    def forward(self, evaluation: Evaluation, rollout: Rollout) -> Terms:
        net, alive = part(self.policy.scheduler, TopK, "schednet", "scheduler").net, rollout.timestep.alive
        rows = torch.where(alive.unsqueeze(-1), evaluation.rows.detach(), 0.0)
        weight = torch.where(alive, net(rows).sigmoid().squeeze(-1), 0.0)
        value = self.critic(torch.cat([rows.flatten(-2), weight.detach()], -1)).squeeze(-1)
        fixed = {name: parameter.detach() for name, parameter in self.critic.named_parameters()}
        worth = functional_call(self.critic, fixed, (torch.cat([rows.flatten(-2), weight], -1),))
        return {
            "schednet_critic": Term(team_sarsa(value, rollout, self.gamma)),
            "schednet_weights": Term(-worth.mean(), self.weights),
        }
