"""Advantages and returns as pure functions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import TimeStep


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x where mask is True; 0 where nothing is."""
    return torch.where(mask, x, 0.0).sum() / mask.sum().clamp(min=1)


def team_mean(reward: Float[Tensor, "*lead N"], counts: Bool[Tensor, "*lead N"]) -> Float[Tensor, "*lead"]:
    r"""Reward of the team in a step: :math:`\frac{1}{N} \sum_{i\ \mathrm{counts}} r_i`.

    N is the number of all rows, those of the dead and empty ones too, so that this is the sum over the team up to a
    constant: nobody gains by the death of another, as with a mean over those who are left. Learners, tallies,
    evaluations and records all take it.

    Args:
        reward: of each agent; rows that do not count may hold anything.
        counts: whose reward it is, see ``paid``.
    """
    return torch.where(counts, reward, 0.0).mean(-1)


def team_share(
    reward: Float[Tensor, "*lead N"],
    counts: Bool[Tensor, "*lead N"],
    team: Int[Tensor, " N"] | None,
    teams: int | None = None,
) -> Float[Tensor, "*lead N"]:
    """The ``team_mean`` of each agent's own team.

    Args:
        reward, counts: as for ``team_mean``.
        team: number of the team of each agent; None: all are one.
        teams: how many there are; None: ``team`` is asked.
    """
    if team is None:
        return team_mean(reward, counts).unsqueeze(-1).expand_as(reward)
    shared = torch.zeros_like(reward)
    for number in range(int(team.max()) + 1 if teams is None else teams):
        mine = team == number
        mean = torch.where(counts & mine, reward, 0.0).sum(-1, keepdim=True) / mine.sum()
        shared = torch.where(mine, mean, shared)
    return shared


def paid(now: TimeStep, after: TimeStep) -> Bool[Tensor, "B N"]:
    """Whose reward counts in the step from ``now`` to ``after``: whoever acted, and whoever came with the step."""
    return now.alive | after.alive


class Stream(NamedTuple):
    """Rewards of T steps and what is expected of the rest, as ``gae`` takes them."""

    reward: Float[Tensor, "T B N"]
    value: Float[Tensor, "T B N"]
    next_value: Float[Tensor, "T B N"]
    discount: Float[Tensor, "T B N"]
    done: Bool[Tensor, "T B *N"]


def after_death(
    stream: Stream, alive: Bool[Tensor, "T B N"], entered: Bool[Tensor, "T B N"] | None, share: float
) -> Stream:
    r"""``stream``, in which an agent that died goes on receiving its share of the team's reward until the episode ends.

    With :math:`T` for what the team will still get (see ``team_mean``), a living agent expects
    :math:`V_i = (1 - s) O_i + s T`, where :math:`\sum_i O_i = N T` over the n who live, and a dead one :math:`s T`. So

    .. math::
        V_\mathrm{dead} = \frac{s \sum_{i\ \mathrm{alive}} V_i}{s n + (1 - s) N}

    which is the mean of the living for s = 1. No critic is asked about the dead. The return of an agent ends where its
    row passes to another, with :math:`V_\mathrm{dead}` for the rest.

    Args:
        stream: ``reward`` holds the share of the team in all rows; ``value``, ``discount`` are 0 in rows of the dead.
        alive: who acts at t.
        entered: whose row passed to another agent before t; None: nobody's.
        share: s, of the team in each agent's reward.
    """
    lives_on = alive & (stream.discount != 0)
    truncated_TB1 = (stream.done & lives_on.any(-1)).unsqueeze(-1)
    done_TB1 = stream.done.unsqueeze(-1)

    def expected(value_TBN: Tensor, living_TBN: Tensor) -> Tensor:
        count_TB1 = living_TBN.sum(-1, keepdim=True)
        total_TB1 = torch.where(living_TBN, value_TBN, 0.0).sum(-1, keepdim=True)
        weight_TB1 = share * count_TB1 + (1 - share) * alive.shape[-1]
        return torch.where(weight_TB1 > 0, share * total_TB1 / weight_TB1, 0.0).expand_as(value_TBN)

    over = done_TB1 | torch.zeros_like(alive)
    over[:-1] |= lives_on[:-1] & ~alive[1:]  # cut while others go on: bootstrapped, and no longer one of the team
    if entered is not None:
        over[:-1] |= entered[1:]
    return Stream(
        stream.reward,
        torch.where(alive, stream.value, expected(stream.value, alive)),
        torch.where(lives_on, stream.next_value, expected(stream.next_value, lives_on)),
        (~done_TB1 | truncated_TB1).to(stream.discount.dtype).expand_as(stream.discount),
        over,
    )


def left(done: Bool[Tensor, "T B"], alive: Bool[Tensor, "T B N"]) -> Bool[Tensor, "T B N"]:
    """Who takes no part in the step after: the episode ended, or the agent did."""
    gone_TBN = done.unsqueeze(-1).expand_as(alive).clone()
    gone_TBN[:-1] |= ~alive[1:]
    return gone_TBN


def gae(
    reward: Float[Tensor, "T B N"],
    value: Float[Tensor, "T B N"],
    next_value: Float[Tensor, "T B N"],
    discount: Float[Tensor, "T B N"],
    done: Bool[Tensor, "T B *N"],
    gamma: float,
    lam: float,
) -> Float[Tensor, "T B N"]:
    r"""Generalised advantage estimation (Schulman et al. 2016, eq. 16).

    .. math::
        \delta_t = r_t + \gamma d_t V(s_{t+1}) - V(s_t), \qquad
        A_t = \delta_t + \gamma \lambda d_t (1 - \mathrm{done}_t) A_{t+1}

    Args:
        reward: :math:`r_t`, of the step that began at t.
        value: :math:`V(s_t)`.
        next_value: :math:`V(s_{t+1})` of the state after the step, before any reset: where an episode was truncated
            this is where its return is bootstrapped.
        discount: :math:`d_t`, 0 where the return of the agent ended with the step.
        done: the episode ended with the step (``[T, B, N]``: that of the agent), so that t + 1 belongs to another one.
        gamma, lam: :math:`\gamma` and :math:`\lambda`.
    """
    delta_TBN = reward + gamma * discount * next_value - value
    decay_TBN = gamma * lam * discount * ~(done if done.dim() == 3 else done.unsqueeze(-1))
    advantage_TBN = torch.empty_like(delta_TBN)
    carry_BN = torch.zeros_like(delta_TBN[0])
    for t in range(len(delta_TBN) - 1, -1, -1):
        carry_BN = torch.addcmul(delta_TBN[t], decay_TBN[t], carry_BN, out=advantage_TBN[t])
    return advantage_TBN


class ReturnNorm(nn.Module):
    """Running mean and variance of the returns, so that the critic predicts numbers of order one.

    Exponentially weighted with bias correction, as in the value normalisation of MAPPO (Yu et al. 2022, section 5.1):
    after n updates with rate b the weight of the past is ``1 - (1 - b)^n``.
    """

    def __init__(self, rate: float = 0.01) -> None:
        super().__init__()
        self.rate = rate
        self.first: Tensor
        self.second: Tensor
        self.weight: Tensor
        for name in ("first", "second", "weight"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))

    def update(self, returns: Tensor, counts: Tensor | None = None) -> None:
        """Take in a sample of returns, any shape; only those where ``counts`` (bool) is True, if it is given."""
        sample = returns.detach().double()
        counts = torch.ones_like(returns, dtype=torch.bool) if counts is None else counts
        rate = counts.any().double() * self.rate
        self.first.lerp_(masked_mean(sample, counts), rate)
        self.second.lerp_(masked_mean(sample.square(), counts), rate)
        self.weight.lerp_(torch.ones_like(self.weight), rate)

    def _moments(self) -> tuple[Tensor, Tensor]:
        known = self.weight != 0
        weight = torch.where(known, self.weight, 1.0)
        mean = self.first / weight
        scale = (self.second / weight - mean * mean).clamp(min=1e-4).sqrt()
        return mean, torch.where(known, scale, 1.0)

    def normalise(self, returns: Tensor) -> Tensor:
        mean, scale = self._moments()
        return (returns - mean) / scale

    def restore(self, value: Tensor) -> Tensor:
        """The inverse of ``normalise``: what a prediction of the critic means as a return."""
        mean, scale = self._moments()
        return value * scale + mean
