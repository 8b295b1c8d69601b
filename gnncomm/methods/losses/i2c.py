"""I2C: ask whose action would change mine."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from gnncomm import random
from gnncomm.learn import Rollout, Term
from gnncomm.learn.losses import Terms, masked_mean
from gnncomm.methods.losses.base import MethodLoss, joint_action, part, team_sarsa
from gnncomm.policy import CommPolicy, Evaluation
from gnncomm.schedule.request import Request


class I2CLoss(MethodLoss):
    r"""A prior from causal effects (Ding, Huang and Lu 2020, arXiv:2006.06455, sections 3.1 and 3.2; constants of the
    released code).

    With a critic of joint actions, :math:`Q_i = w^\top \mathrm{ReLU}(W h_i + e_{a_i} + \sum_{j \ne i} u_{j, a_j})`,

    .. math::
        p(a_i) &\propto \sum_{a_j} e^{Q_i(a_i, a_j, a_{-ij})}, \qquad p(a_i \mid a_j) \propto e^{Q_i(a_i, a_j, a_{-ij})}
        \\ y_{ij} &= \big[\mathrm{KL}(p(a_i) \Vert p(a_i \mid a_j)) \text{ is above its percentile } P\big]

    and the terms: ``i2c_critic``, half the squared temporal difference of Q to :math:`r + \gamma Q'`; ``i2c_prior``,
    the cross-entropy of the scheduler's probability of asking j and :math:`y_{ij}`, for one j drawn at each step;
    ``i2c_policy``, the divergence of the policy from :math:`\mathrm{softmax}(8 \tilde Q_i)` over its own action, where
    :math:`\tilde Q` has mean 0 and maximum 1, if actions are drawn from logits. Rows are constants in the first two.

    Args:
        policy: with the scheduler ``request``; actions are choices.
        num_agents: N.
        width: of the critic.
        percentile: P, 60 in cooperative navigation and 40 in predator-prey.
        gamma: discount of the critic.
        prior, imitation: weights of ``i2c_prior`` and ``i2c_policy``.
    """

    def __init__(
        self,
        policy: CommPolicy,
        num_agents: int,
        width: int = 32,
        percentile: float = 60.0,
        gamma: float = 0.99,
        prior: float = 1.0,
        imitation: float = 1e-2,
    ) -> None:
        super().__init__(policy)
        part(policy.scheduler, Request, "i2c", "scheduler")
        self.num_agents, self.gamma, self.percentile = num_agents, gamma, percentile
        self.prior, self.imitation = prior, imitation
        self.of_row, self.own = nn.Linear(policy.comm.in_channels, width), nn.Embedding(self.num_actions, width)
        self.theirs = nn.Embedding(num_agents * self.num_actions, width)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(width, 1))

    def forward(self, evaluation: Evaluation, rollout: Rollout) -> Terms:
        now, shape = self.flat(rollout), rollout.timestep.alive.shape
        rows_VNH, action_VN = evaluation.rows.flatten(0, 1).detach(), rollout.action.flatten(0, 1)
        others_VNW = self._others(rows_VNH, rollout)
        value_VNA = self.head(others_VNW.unsqueeze(-2) + self.own.weight).squeeze(-1)
        taken = value_VNA.gather(-1, action_VN.unsqueeze(-1)).view(shape)
        drawn_V = random.integers(random.stream(now.key, "i2c"), self.num_agents, now.step)
        place_V = torch.arange(len(drawn_V), device=drawn_V.device)
        hears_VN = self.policy.reachable(now).expand(len(drawn_V)).dense[place_V, drawn_V]
        hears_VN = hears_VN & (torch.arange(self.num_agents, device=drawn_V.device) != drawn_V.unsqueeze(-1))
        with torch.no_grad():
            effect_VN = self._effect(others_VNW, action_VN, drawn_V)
            least = torch.where(hears_VN, effect_VN, torch.nan).nanquantile(self.percentile / 100)
            label_VN = (effect_VN > least).to(rows_VNH.dtype)
        scheduler = part(self.policy.scheduler, Request, "i2c", "scheduler")
        error_VN = cross_entropy(scheduler.pair_logit(rows_VNH)[place_V, drawn_V], label_VN, reduction="none")
        terms = {
            "i2c_critic": Term(team_sarsa(taken, rollout, self.gamma)),
            "i2c_prior": Term(masked_mean(error_VN, hears_VN), self.prior),
        }
        if not self.of_values:
            terms["i2c_policy"] = Term(
                self._imitation(value_VNA.detach().view(*shape, -1), evaluation, rollout), self.imitation
            )
        return terms

    def _others(self, rows_VNH: Tensor, rollout: Rollout) -> Tensor:
        """``[V, N, W]``: row and what all others did."""
        done = joint_action(rollout, self.num_actions).flatten(0, 1).unflatten(-1, (self.num_agents, -1))
        each_VNW = torch.einsum("vna,naw->vnw", done, self.theirs.weight.unflatten(0, (self.num_agents, -1)))
        others: Tensor = self.of_row(rows_VNH) + each_VNW.sum(1, keepdim=True) - each_VNW
        return others

    def _effect(self, others_VNW: Tensor, action_VN: Tensor, drawn_V: Tensor) -> Tensor:
        """``[V, N]``: what the action of agent ``drawn`` changes in the distribution of each agent's."""
        of_drawn_VAW = self.theirs.weight.unflatten(0, (self.num_agents, -1))[drawn_V]
        acted_V1 = action_VN.gather(1, drawn_V.unsqueeze(-1))
        did_VW = of_drawn_VAW.gather(1, acted_V1.unsqueeze(-1).expand(-1, -1, of_drawn_VAW.shape[-1]))
        without = (others_VNW - did_VW)[:, :, None, None]
        value_VNAA: Tensor = self.head(without + self.own.weight[:, None] + of_drawn_VAW[:, None, None]).squeeze(-1)
        log_marginal = value_VNAA.logsumexp(-1).log_softmax(-1)
        acted = acted_V1[:, :, None, None].expand(*value_VNAA.shape[:3], 1)
        log_given = value_VNAA.gather(-1, acted).squeeze(-1).log_softmax(-1)
        return (log_marginal.exp() * (log_marginal - log_given)).sum(-1)

    def _imitation(self, value: Tensor, evaluation: Evaluation, rollout: Rollout) -> Tensor:
        centred = value - value.mean(-1, keepdim=True)
        allowed = evaluation.logits > -torch.inf
        sharp = torch.where(allowed, 8 * centred / centred.amax(-1, keepdim=True).clamp(min=1e-6), -torch.inf)
        log_want, log_have = sharp.log_softmax(-1), evaluation.logits.log_softmax(-1)
        gap = torch.where(allowed, log_want, 0.0) - torch.where(allowed, log_have, 0.0)
        return masked_mean((log_want.exp() * gap).sum(-1), rollout.timestep.alive)
