"""DIAL: real numbers with noise while training, bits in execution."""

from __future__ import annotations

import torch
from torch import Tensor

from gnncomm.codec.base import Codec, Coded
from gnncomm.codec.draws import noise_like
from gnncomm.codec.packet import Field, Fixed, Packet
from gnncomm.errors import ConfigError
from gnncomm.random import normal
from gnncomm.types import Moment


class DRU(Codec):
    r"""The discretise / regularise unit of DIAL (Foerster, Assael, de Freitas and Whiteson 2016,
    `Learning to Communicate with Deep Multi-Agent Reinforcement Learning <https://arxiv.org/abs/1605.06676>`_,
    section 5.2): one bit a number.

    .. math::
        \hat m = \sigma(m + \epsilon),\ \epsilon \sim \mathcal{N}(0, s^2) \quad \text{in training}, \qquad
        \hat m = \mathbb{1}[m > 0] \quad \text{in execution}

    The noise makes only messages far from 0 readable, so they become bits. ``module.training`` tells the two apart. In
    execution the gradient is that of :math:`\sigma(m)`. The paper's code compares m with 0.5; 0 is where
    :math:`\sigma(m) = 1/2`.

    Args:
        sigma: s, at least 0; the paper has 2.

    Raises:
        ConfigError: ``sigma`` out of range.
    """

    def __init__(self, sigma: float = 2.0) -> None:
        super().__init__()
        if not 0 <= sigma < float("inf"):
            raise ConfigError(f"DRU.sigma is a standard deviation: expected 0 <= sigma < infinity, got {sigma}.")
        self.sigma = sigma

    def fields(self, channels: int, dtype: torch.dtype) -> tuple[Field, ...]:
        return (Fixed(channels, 2),)

    def encode(self, msg: Tensor, moment: Moment) -> Packet:
        return self.packet(msg > 0, msg)

    def decode(self, packet: Packet, moment: Moment) -> Tensor:
        return packet.symbols.to(packet.dtype)

    def smooth(self, msg: Tensor, moment: Moment) -> Tensor:
        return torch.sigmoid(msg)

    def forward(self, msg: Tensor, moment: Moment) -> Coded:
        if not self.training:
            return super().forward(msg, moment)
        read = torch.sigmoid(msg + self.sigma * noise_like(msg, normal, moment, "dru"))
        return Coded(read, msg.new_full(msg.shape[:-1], float(msg.shape[-1])))

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}"
