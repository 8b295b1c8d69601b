"""A uniform quantiser."""

from __future__ import annotations

import torch
from torch import Tensor

from gnncomm.codec.base import Codec
from gnncomm.codec.packet import Field, Fixed, Packet
from gnncomm.errors import ConfigError
from gnncomm.moment import Moment


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
        return self.packet(((self.smooth(msg, moment) + self.limit) / self._gap).round(), msg)

    def decode(self, packet: Packet, moment: Moment) -> Tensor:
        return packet.symbols.to(packet.dtype) * self._gap - self.limit

    def smooth(self, msg: Tensor, moment: Moment) -> Tensor:
        return msg.clamp(-self.limit, self.limit)

    @property
    def _gap(self) -> float:
        return 2 * self.limit / ((1 << self.bits) - 1)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, limit={self.limit}"
