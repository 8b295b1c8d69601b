"""A uniform quantiser."""

from __future__ import annotations

import torch
from torch import Tensor

from gnncomm.codec.base import Codec, Coded
from gnncomm.codec.packet import Field, Fixed, Packet
from gnncomm.errors import ConfigError
from gnncomm.gradients import straight_through
from gnncomm.types import Moment


class Quantise(Codec):
    r"""Each number as one of 2^b equally spaced levels from -limit to limit: b bits a number.

    .. math::
        \hat z = k \Delta - l, \qquad k = \mathrm{round}\left(\frac{\mathrm{clip}(z, -l, l) + l}{\Delta}\right), \qquad
        \Delta = \frac{2 l}{2^b - 1}

    The error within the limits is at most :math:`\Delta / 2`. The gradient goes straight through (Bengio, Leonard and
    Courville 2013, "Estimating or propagating gradients through stochastic neurons", section 4), and is 0 beyond the
    limits. ``int4`` is short for ``quantise:bits=4``.

    Args:
        bits: b, from 1 to 24.
        limit: l, positive and finite; numbers beyond it saturate.

    Raises:
        ConfigError: ``bits`` or ``limit`` out of range.
    """

    def __init__(self, bits: int = 8, limit: float = 1.0) -> None:
        super().__init__()
        if not 1 <= bits <= 24:
            raise ConfigError(f"Quantise.bits counts bits of a number: expected 1 <= bits <= 24, got {bits}.")
        if not 0 < limit < float("inf"):
            raise ConfigError(f"Quantise.limit bounds the numbers: expected 0 < limit < infinity, got {limit}.")
        self.bits, self.limit = bits, limit

    def fields(self, channels: int, dtype: torch.dtype) -> tuple[Field, ...]:
        return (Fixed(channels, 1 << self.bits),)

    def encode(self, msg: Tensor, moment: Moment) -> Packet:
        return self.packet(self._level(msg.clamp(-self.limit, self.limit)), msg)

    def decode(self, packet: Packet, moment: Moment) -> Tensor:
        return packet.symbols.to(packet.dtype) * self._gap - self.limit

    def forward(self, msg: Tensor, moment: Moment) -> Coded:
        inside = msg.clamp(-self.limit, self.limit)
        level = self._level(inside)
        read = straight_through(level * self._gap - self.limit, inside)
        bits = msg.new_full(msg.shape[:-1], float(self.bits * msg.shape[-1]))
        return Coded(read, bits, symbols=None if self.training else level.long())

    def _level(self, inside: Tensor) -> Tensor:
        return ((inside + self.limit) / self._gap).round()

    @property
    def _gap(self) -> float:
        return 2 * self.limit / ((1 << self.bits) - 1)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, limit={self.limit}"
