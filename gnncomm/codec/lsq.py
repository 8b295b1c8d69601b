"""CACOM's quantiser: levels whose distance is learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnncomm.codec.base import Codec
from gnncomm.codec.packet import Field, Fixed, Packet
from gnncomm.errors import ConfigError
from gnncomm.gradients import straight_through
from gnncomm.types import Moment


class LSQ(Codec):
    r"""Each number as one of :math:`2^b - 1` levels around 0, a learned step apart: b bits a number.

    Esser, McKinstry, Bablani, Appuswamy and Modha 2020, `Learned Step Size Quantization
    <https://arxiv.org/abs/1902.08153>`_, section 2, as CACOM has it on the wire (Li and Zhang 2024, AAMAS):

    .. math::
        \hat z = s \, \mathrm{round}(\mathrm{clip}(z / s, -L, L)), \qquad L = 2^{b-1} - 1

    The gradient by z goes straight through where :math:`|z| \le s L`, and is 0 beyond; that by s is
    :math:`\mathrm{round}(z/s) - z/s` within and :math:`\pm L` beyond, times :math:`1 / \sqrt{M L}` for M numbers, as
    the steps of others. Sender and receiver know s: it is a weight of the policy.

    Args:
        bits: b, from 2 to 24.
        step: s in the beginning, positive.

    Raises:
        ConfigError: one of them out of range.
    """

    def __init__(self, bits: int = 4, step: float = 0.25) -> None:
        super().__init__()
        if not 2 <= bits <= 24:
            raise ConfigError(f"LSQ.bits counts bits of a number: expected 2 <= bits <= 24, got {bits}.")
        if not 0 < step < float("inf"):
            raise ConfigError(f"LSQ.step is the distance of two levels: expected 0 < step < infinity, got {step}.")
        self.bits, self.most = bits, 2 ** (bits - 1) - 1
        self.step = nn.Parameter(torch.tensor(float(step)))

    def fields(self, channels: int, dtype: torch.dtype) -> tuple[Field, ...]:
        return (Fixed(channels, 2 * self.most + 1),)

    def encode(self, msg: Tensor, moment: Moment) -> Packet:
        return self.packet((msg / self._size(msg)).clamp(-self.most, self.most).round() + self.most, msg)

    def decode(self, packet: Packet, moment: Moment) -> Tensor:
        step: Tensor = self.step.detach().to(packet.dtype).abs()
        levels: Tensor = (packet.symbols - self.most).to(packet.dtype)
        return levels * step

    def smooth(self, msg: Tensor, moment: Moment) -> Tensor:
        scale = (self.most * msg.shape[-1]) ** -0.5
        step = self._size(msg)
        step = step.detach() + scale * (step - step.detach())
        ratio = (msg / step).clamp(-self.most, self.most)
        read: Tensor = straight_through(ratio.round(), ratio) * step
        return read

    def _size(self, msg: Tensor) -> Tensor:
        size: Tensor = self.step.abs().to(msg.dtype)
        return size

    def extra_repr(self) -> str:
        return f"bits={self.bits}"
