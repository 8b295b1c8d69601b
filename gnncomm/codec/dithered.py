"""A quantiser without bias."""

from __future__ import annotations

import torch
from torch import Tensor

from gnncomm.codec.base import Codec, Coded
from gnncomm.codec.draws import noise_like
from gnncomm.codec.packet import Field, Gamma, Packet
from gnncomm.errors import ConfigError
from gnncomm.gradients import straight_through
from gnncomm.random import uniform
from gnncomm.types import Moment

LARGEST = 2.0**30
"""Whole numbers beyond it are sent as it."""


class Dithered(Codec):
    r"""Quantisation with subtracted dither, whose error does not depend on what is sent.

    .. math::
        \hat z = m \delta - \varepsilon, \qquad
        m = \left\lfloor \frac{z + \varepsilon}{\delta} + \tfrac12 \right\rfloor, \qquad
        \varepsilon \sim U(-\delta / 2, \delta / 2)

    The integer m is sent; :math:`\varepsilon` is drawn by sender and receiver alike, from the moment and the sender.
    Then :math:`\hat z - z` is uniform on :math:`\pm \delta / 2` whatever z is (Schuchman 1964, "Dither signals and
    their effect on quantization noise"), so :math:`E[\hat z] = z`, the variance is :math:`\delta^2 / 12` and the
    identity is the gradient without bias: "Differentiable discrete communication learning" (arXiv 2511.01554).

    On the wire each m is an Elias gamma code: :math:`2 \lfloor \log_2(s + 1) \rfloor + 1` bits with s = 2m, or -2m - 1
    where m is negative. That length is reported. What ``price`` times joins the training loss is the paper's rate
    :math:`\sum_d \log_2(2 |z_d| / \delta + 1)`, an estimate with a gradient.

    Args:
        delta: distance of the levels, positive.
        price: loss per bit, at least 0.

    Raises:
        ConfigError: ``delta`` or ``price`` out of range.
    """

    def __init__(self, delta: float = 0.25, price: float = 0.0) -> None:
        super().__init__()
        if not 0 < delta < float("inf"):
            raise ConfigError(f"Dithered.delta is a distance: expected 0 < delta < infinity, got {delta}.")
        if not 0 <= price < float("inf"):
            raise ConfigError(f"Dithered.price is a loss per bit: expected 0 <= price < infinity, got {price}.")
        self.delta, self.price = delta, price

    def fields(self, channels: int, dtype: torch.dtype) -> tuple[Field, ...]:
        return (Gamma(channels),)

    def encode(self, msg: Tensor, moment: Moment) -> Packet:
        return self._written(self._level(msg, self._dither(msg, moment, msg.dtype)), msg)

    def decode(self, packet: Packet, moment: Moment) -> Tensor:
        half = packet.symbols // 2
        whole = torch.where(packet.symbols % 2 == 1, -half - 1, half)
        dither = self._dither(packet.symbols, moment, packet.dtype)
        return whole.to(packet.dtype) * self.delta - dither

    def forward(self, msg: Tensor, moment: Moment) -> Coded:
        dither = self._dither(msg, moment, msg.dtype)
        level = self._level(msg, dither)
        cost = self.price * torch.log2(2 * msg.abs() / self.delta + 1).sum(-1) if self.price else None
        packet = self._written(level, msg)
        read = straight_through(level * self.delta - dither, msg)
        return Coded(read, packet.bits.to(msg.dtype), cost, packet.symbols)

    def _level(self, msg: Tensor, dither: Tensor) -> Tensor:
        return torch.floor((msg.detach() + dither) / self.delta + 0.5).clamp(-LARGEST, LARGEST)

    def _written(self, level: Tensor, msg: Tensor) -> Packet:
        whole = level.long()  # -2m - 1 is no float32 where m is large
        return self.packet(torch.where(whole < 0, -2 * whole - 1, 2 * whole), msg)

    def _dither(self, like: Tensor, moment: Moment, dtype: torch.dtype) -> Tensor:
        return (noise_like(like, uniform, moment, "dither", dtype) - 0.5) * self.delta

    def extra_repr(self) -> str:
        return f"delta={self.delta}, price={self.price}"
