"""NDQ: noise and a price on information in training, small numbers left out in execution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gnncomm.codec.base import Codec, Coded
from gnncomm.codec.draws import noise_like
from gnncomm.codec.packet import Field, Fixed, Flagged, Packet, numbers_of, word_of, words
from gnncomm.errors import ConfigError
from gnncomm.random import normal
from gnncomm.types import Moment


class Bottleneck(Codec):
    r"""The variational bottleneck of NDQ (Wang, Wang, Zheng and Zhang 2020,
    `Learning Nearly Decomposable Value Functions Via Communication Minimization <https://arxiv.org/abs/1910.05366>`_,
    sections 3.2 and 3.3), with a fixed sigma and a standard normal prior.

    .. math::
        \hat m \sim \mathcal{N}(\mu, \sigma^2), \qquad
        \text{loss} \mathrel{+}= \beta \sum_d \tfrac12 (\mu_d^2 + \sigma^2 - 1 - \ln \sigma^2) \qquad \text{in training}

        \hat m_d = \mu_d \text{ if } |\mu_d| \ge \theta \text{ else } 0 \qquad \text{in execution}

    where :math:`\mu` is what the layer sends and ``module.training`` tells the two apart. On the wire: 32 bits for each
    number that is sent, and with a threshold one more bit for every number, whether it is (in training: all, without).

    Args:
        sigma: standard deviation of the noise, positive.
        beta: price of a nat of the divergence, at least 0.
        threshold: theta, at least 0; 0 sends every number.

    Raises:
        ConfigError: one of them out of range.
    """

    def __init__(self, sigma: float = 1.0, beta: float = 1e-3, threshold: float = 0.0) -> None:
        super().__init__()
        if not 0 < sigma < float("inf"):
            raise ConfigError(f"Bottleneck.sigma is a standard deviation: expected 0 < sigma < infinity, got {sigma}.")
        for name, value in (("beta", beta), ("threshold", threshold)):
            if not 0 <= value < float("inf"):
                raise ConfigError(f"Bottleneck.{name}: expected 0 <= {name} < infinity, got {value}.")
        self.sigma, self.beta, self.threshold = sigma, beta, threshold

    def fields(self, channels: int, dtype: torch.dtype) -> tuple[Field, ...]:
        below = word_of(channels, dtype).below
        return (Flagged(channels, below) if self.threshold else Fixed(channels, below),)

    def encode(self, msg: Tensor, moment: Moment) -> Packet:
        return self.packet(words(self._pruned(msg)), msg)

    def decode(self, packet: Packet, moment: Moment) -> Tensor:
        return numbers_of(packet.symbols, packet.dtype)

    def forward(self, msg: Tensor, moment: Moment) -> Coded:
        width, number = msg.shape[-1], 8.0 * msg.element_size()
        if not self.training:
            bits = self.fields(width, msg.dtype)[0].bits(words(self._pruned(msg)))
            return Coded(self._pruned(msg), msg.new_zeros(msg.shape[:-1]) + bits)
        read = msg + self.sigma * noise_like(msg, normal, moment, "bottleneck")
        constant = width * (self.sigma**2 - 1 - 2 * math.log(self.sigma))
        divergence = 0.5 * (msg.square().sum(-1) + constant)
        return Coded(read, msg.new_full(msg.shape[:-1], number * width), self.beta * divergence if self.beta else None)

    def _pruned(self, msg: Tensor) -> Tensor:
        return torch.where(msg.abs() < self.threshold, 0.0, msg) if self.threshold else msg

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}, beta={self.beta}, threshold={self.threshold}"
