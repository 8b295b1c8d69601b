"""ATOC, CACOM, DCC: who talks is learned from what talking changed."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from gnncomm import random
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.learn import Rollout, Term
from gnncomm.learn.losses import Terms, masked_mean
from gnncomm.methods.losses.base import MethodLoss
from gnncomm.policy import CommPolicy, Evaluation, Integration
from gnncomm.schedule.base import Taught
from gnncomm.types import Moment, TimeStep

Label = Literal["gain", "sign", "change"]


class TaughtLoss(MethodLoss):
    r"""Labels for a scheduler's decision j -> i, by trying both.

    At each step one agent j is drawn. The others talk as the scheduler says; j talks to all who could hear it, or to
    nobody, and :math:`z, z'` are the features of a receiver i with and without. Its label for i is one of

    .. math::
        \text{gain: } \frac{\Delta_j - \min \Delta}{\max \Delta - \min \Delta}, \quad
            \Delta_j = \sum_i V(z_i) - V(z'_i), \qquad
        \text{sign: } [V(z_i) - V(z'_i) > c], \qquad
        \text{change: } [\arg\max Q(z_i) \ne \arg\max Q(z'_i)]

    where V is the critic, or with values of actions :math:`\max_a Q`; the term is the cross-entropy of the scheduler's
    probability and the label. Rows are constants: nothing but the scheduler learns from it.

    Args:
        policy: whose scheduler can be taught (``gate``, ``request``), and whose rounds stand after the memory.
        name: of the term.
        label: which.
        cut: c.
        weight: of the term.
    """

    def __init__(self, policy: CommPolicy, name: str, label: Label, cut: float = 0.0, weight: float = 1.0) -> None:
        super().__init__(policy)
        self.name, self.label, self.cut, self.weight = name, label, cut, weight
        if not isinstance(policy.scheduler, Taught):
            raise ConfigError(
                f"{name} teaches a scheduler: expected gate:taught=true or request:taught=true, got "
                f"{type(policy.scheduler).__name__}."
            )
        after = policy.integration is Integration.AFTER
        if not after and (policy.memory.state_dim or policy.integration is Integration.PREVIOUS):
            raise ConfigError(f"{name} tries who talks anew: expected integration='after', got {policy.integration!r}.")

    def forward(self, evaluation: Evaluation, rollout: Rollout) -> Terms:
        scheduler, now = self.policy.scheduler, self.flat(rollout)
        assert isinstance(scheduler, Taught)
        rows_VNH = evaluation.rows.flatten(0, 1).detach()
        logit_VNN = scheduler.pair_logit(rows_VNH)
        reach = self.policy.reachable(now).expand(len(rows_VNH))
        place_V, agent_N = torch.arange(len(rows_VNH), device=rows_VNH.device), torch.arange(rows_VNH.shape[1])
        drawn_V = random.integers(random.stream(now.key, "taught"), rows_VNH.shape[1], now.step)
        drawn_VN1 = (agent_N.to(drawn_V.device) == drawn_V.unsqueeze(-1)).unsqueeze(-1)
        hears_VN = reach.dense[place_V, drawn_V] & ~drawn_VN1.squeeze(-1)
        with torch.no_grad():
            talk_VNN = logit_VNN > 0
            spoken, silent = talk_VNN | drawn_VN1, talk_VNN & ~drawn_VN1
            worth = [self._features(rows_VNH, reach.keep_where(pair=pair), now) for pair in (spoken, silent)]
            label_VN = self._labels(worth[0], worth[1], hears_VN, now)
        error_VN = cross_entropy(logit_VNN[place_V, drawn_V], label_VN, reduction="none")
        return {self.name: Term(masked_mean(error_VN, hears_VN), self.weight)}

    def _features(self, h: Tensor, graph: CommGraph, now: TimeStep) -> Tensor:
        comm = self.policy.comm
        for number, layer in enumerate(comm.rounds):
            moment = Moment(now.key, now.step, number, now.pos, now.alive)
            h = comm.merge(h, layer.receive(h, self.policy.codec(layer.send(h), moment).msg, graph))
        features, _ = self.policy.after_rounds(h, h, h.new_zeros(*h.shape[:2], 0))
        return features

    def _labels(self, with_it: Tensor, without: Tensor, hears: Tensor, now: TimeStep) -> Tensor:
        if self.label == "change":
            greedy = [self.policy.logits(z, now.alive, now.action_mask).argmax(-1) for z in (with_it, without)]
            return (greedy[0] != greedy[1]).to(with_it.dtype)
        gain = self.worth(with_it, now) - self.worth(without, now)
        if self.label == "sign":
            return (gain > self.cut).to(gain.dtype)
        total = torch.where(hears, gain, 0.0).sum(-1, keepdim=True)
        some = hears.any(-1, keepdim=True)
        low = torch.where(some, total, torch.inf).amin()
        high = torch.where(some, total, -torch.inf).amax()
        return ((total - low) / (high - low).clamp(min=1e-8)).clamp(0, 1).expand_as(gain)


def atoc(policy: CommPolicy, weight: float = 1.0) -> TaughtLoss:
    """ATOC's attention unit: a sender's label is what its group gains, scaled to [0, 1] (Jiang and Lu 2018,
    arXiv:1805.07733, section 4.2).

    Args:
        policy: with the scheduler ``gate:taught=true``.
        weight: of the term.
    """
    return TaughtLoss(policy, "atoc_gain", "gain", weight=weight)


def cacom(policy: CommPolicy, cut: float = 0.0, weight: float = 1.0) -> TaughtLoss:
    """CACOM's gate: a link is worth it where its receiver's value gains more than ``cut`` (Li and Zhang 2024, AAMAS;
    ``cut`` of the released code).

    Args:
        policy: with the scheduler ``request:taught=true`` or ``gate:taught=true``.
        cut: least gain of a link that is worth it.
        weight: of the term.
    """
    return TaughtLoss(policy, "cacom_gain", "sign", cut, weight)


def dcc(policy: CommPolicy, weight: float = 1.0) -> TaughtLoss:
    """DCC's causal test: a link is worth it where it changes the receiver's best action (Ma, Luo and Pan 2021,
    arXiv:2109.05413, section IV.B).

    The paper takes j out of what i observes, which every environment would have to know how to; here its message.

    Args:
        policy: with the scheduler ``request:taught=true``.
        weight: of the term.
    """
    return TaughtLoss(policy, "dcc_change", "change", weight=weight)
