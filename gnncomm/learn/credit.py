"""What a message was worth to those who read it: counterfactual credit for who decided to talk."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gnncomm.channel import Delivery, Ideal
from gnncomm.channel.base import Around, Channel
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.learn.rollout import Rollout
from gnncomm.policy import CommPolicy
from gnncomm.types import Moment

ROWS = 2**17
"""So many rows of agents at most are evaluated anew at a time."""


@dataclass(frozen=True)
class Without(Around):
    """``inner``, to which in each environment nothing comes from one sender: of what is under way, nothing is taken."""

    heard: Tensor  # [B, N] bool
    inner: Channel = field(default_factory=Ideal)

    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        return self.inner.pass_on(msg, graph.keep_where(sender=self.heard), state, moment)


def require_credit(policy: CommPolicy) -> None:
    """Refuse a policy in which a message has no value.

    Raises:
        ConfigError: nobody decides to talk, or the critic does not read what arrived.
    """
    if not policy.wire.scheduler.num_choices:
        raise ConfigError(
            "learner.choice_credit='counterfactual' judges sampled choices to talk, but the scheduler "
            f"{type(policy.wire.scheduler).__name__} samples none: expected gate, or choice_credit='return'."
        )
    if policy.critic.looks:
        raise ConfigError(
            "learner.choice_credit='counterfactual' asks what the value of others loses without a message, but this "
            "critic reads no message: expected critic='features', or choice_credit='return'."
        )


@torch.no_grad()
def of_messages(policy: CommPolicy, rollout: Rollout) -> Tensor:
    r"""``[T, B, N, K]``: what the values of all others lose without what an agent says in a step.

    .. math::
        A_j = \sum_{i \ne j} V_i(z_i) - V_i(z_i^{-j})

    with :math:`z_i^{-j}` the features that i would have had, had no message of j been on its way in this step: the term
    of j is taken out of the inbox of each receiver, and whatever aggregates it aggregates the rest (SCoUT, Vora et al.
    2026, arXiv:2603.04833). It is 0 for whoever is silent, so that :math:`A \nabla \log \pi` is in the mean
    :math:`A \nabla P(talk)`. All rounds of a step are judged together. What a message does to later steps counts as far
    as the value of those who read it knows of it.

    Args:
        policy: with a critic that reads what arrived.
        rollout: with the states before every step (``Experience.chunk`` 1).
    """
    length, num_envs, num_agents = rollout.reward.shape
    steps = rollout.chunks()  # [1, T * B, ...]
    said = policy.unroll(steps.timestep, steps.action, steps.state, steps.choice).value[0]
    alive = steps.timestep.alive[0]
    lost = []
    for sender in torch.arange(num_agents, device=alive.device).split(max(1, ROWS // alive.numel())):
        lost.append(_values_lost(policy, steps, said, sender))
    credit_RN = torch.where(alive, torch.cat(lost).T, 0.0)
    rounds = rollout.baseline.shape[-1]
    return credit_RN.view(length, num_envs, num_agents, 1).expand(-1, -1, -1, rounds).clone()


def _values_lost(policy: CommPolicy, steps: Rollout, said: Tensor, sender_S: Tensor) -> Tensor:
    """``[S, R]``: what the values of others lose in each of R one-step teams without each of these senders."""
    count, (rows, num_agents) = len(sender_S), said.shape
    again = torch.arange(rows, device=said.device).repeat(count)
    mine_SN = sender_S.unsqueeze(-1) == torch.arange(num_agents, device=said.device)
    heard = ~mine_SN.repeat_interleave(rows, 0)
    muted = policy.with_wire(replace(policy.wire, channel=Without(heard, policy.wire.channel)))
    copies = steps.environments(again)
    value = muted.unroll(copies.timestep, copies.action, copies.state, copies.choice).value[0]
    change = said[again] - value
    counts = heard & steps.timestep.alive[0][again]
    return torch.where(counts, change, 0.0).sum(-1).view(count, rows)
