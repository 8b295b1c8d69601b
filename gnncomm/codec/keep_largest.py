"""Few numbers instead of all."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from gnncomm.codec.base import Codec, Coded
from gnncomm.codec.packet import Field, Fixed, Packet, numbers_of, word_of, words
from gnncomm.errors import ConfigError
from gnncomm.types import Moment


class KeepLargest(Codec):
    """Only the k numbers of largest magnitude, with their places: k (32 + ceil(log2 M)) bits.

    The receiver reads 0 for the others, and the gradient reaches only what was sent (Aji and Heafield 2017, "Sparse
    Communication for Distributed Gradient Descent", section 3, for the operator). With k >= M all are sent, without
    places.

    Args:
        k: at least 1.

    Raises:
        ConfigError: ``k`` out of range.
    """

    aliases: ClassVar[tuple[str, ...]] = ("topk", "top_k")

    def __init__(self, k: int) -> None:
        super().__init__()
        if k < 1:
            raise ConfigError(f"KeepLargest.k counts numbers: expected k >= 1, got {k}.")
        self.k = k

    def fields(self, channels: int, dtype: torch.dtype) -> tuple[Field, ...]:
        if self.k >= channels:
            return (word_of(channels, dtype),)
        return Fixed(self.k, channels), word_of(self.k, dtype)

    def encode(self, msg: Tensor, moment: Moment) -> Packet:
        if self.k >= msg.shape[-1]:
            return self.packet(words(msg), msg)
        place = self._largest(msg)
        return self.packet(torch.cat([place, words(msg.gather(-1, place))], -1), msg)

    def decode(self, packet: Packet, moment: Moment) -> Tensor:
        if self.k >= packet.channels:
            return numbers_of(packet.symbols, packet.dtype)
        place, value = packet.symbols.split(self.k, -1)
        numbers = numbers_of(value, packet.dtype)
        return numbers.new_zeros(*place.shape[:-1], packet.channels).scatter(-1, place, numbers)

    def forward(self, msg: Tensor, moment: Moment) -> Coded:
        width, number = msg.shape[-1], 8 * msg.element_size()
        if self.k >= width:
            return Coded(msg, msg.new_full(msg.shape[:-1], float(number * width)))
        kept = torch.zeros_like(msg, dtype=torch.bool).scatter(-1, self._largest(msg), True)
        bits = self.k * (number + (width - 1).bit_length())
        return Coded(torch.where(kept, msg, 0.0), msg.new_full(msg.shape[:-1], float(bits)))

    def _largest(self, msg: Tensor) -> Tensor:
        return msg.detach().abs().topk(self.k, dim=-1).indices

    def extra_repr(self) -> str:
        return f"k={self.k}"
