"""Advantages and returns as pure functions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnncomm.shapes import Bool, Float


def gae(
    reward: Float[Tensor, "T B N"],
    value: Float[Tensor, "T B N"],
    next_value: Float[Tensor, "T B N"],
    discount: Float[Tensor, "T B N"],
    done: Bool[Tensor, "T B"],
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
        done: the episode ended with the step, so that t + 1 belongs to another one.
        gamma, lam: :math:`\gamma` and :math:`\lambda`.
    """
    delta_TBN = reward + gamma * discount * next_value - value
    decay_TBN = gamma * lam * discount * (~done).unsqueeze(-1)
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

    def update(self, returns: Tensor) -> None:
        """Take in a sample of returns, any shape."""
        if returns.numel() == 0:
            return
        sample = returns.detach().double()
        self.first.lerp_(sample.mean(), self.rate)
        self.second.lerp_(sample.square().mean(), self.rate)
        self.weight.lerp_(torch.ones_like(self.weight), self.rate)

    def _moments(self) -> tuple[float, float]:
        weight = float(self.weight)
        if weight == 0.0:
            return 0.0, 1.0
        mean = float(self.first) / weight
        variance = float(self.second) / weight - mean * mean
        return mean, max(variance, 1e-4) ** 0.5

    def normalise(self, returns: Tensor) -> Tensor:
        mean, scale = self._moments()
        return (returns - mean) / scale

    def restore(self, value: Tensor) -> Tensor:
        """The inverse of ``normalise``: what a prediction of the critic means as a return."""
        mean, scale = self._moments()
        return value * scale + mean
