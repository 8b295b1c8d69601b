"""Floating-point numbers, as they are or shortened."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from gnncomm.codec.base import Codec, Coded
from gnncomm.codec.packet import Field, Packet, numbers_of, word_of, words
from gnncomm.types import Moment


class Float32(Codec):
    """Every number as it is: 32 bits (64 in a float64 policy)."""

    def fields(self, channels: int, dtype: torch.dtype) -> tuple[Field, ...]:
        return (word_of(channels, dtype),)

    def encode(self, msg: Tensor, moment: Moment) -> Packet:
        return self.packet(words(msg), msg)

    def decode(self, packet: Packet, moment: Moment) -> Tensor:
        return numbers_of(packet.symbols, packet.dtype)

    def forward(self, msg: Tensor, moment: Moment) -> Coded:
        bits = 8 * msg.element_size() * msg.shape[-1]
        return Coded(msg, msg.new_full(msg.shape[:-1], float(bits)))


class _Short(Codec):
    short: ClassVar[torch.dtype]

    def fields(self, channels: int, dtype: torch.dtype) -> tuple[Field, ...]:
        return (word_of(channels, self.short),)

    def encode(self, msg: Tensor, moment: Moment) -> Packet:
        return self.packet(words(self.smooth(msg, moment).to(self.short)), msg)

    def decode(self, packet: Packet, moment: Moment) -> Tensor:
        return numbers_of(packet.symbols, self.short).to(packet.dtype)

    def smooth(self, msg: Tensor, moment: Moment) -> Tensor:
        largest = torch.finfo(self.short).max
        return msg.clamp(-largest, largest)  # else a large number would arrive as infinity


class Float16(_Short):
    """Rounded to IEEE half precision (11 significant bits, at most 65504): 16 bits a number.

    The gradient goes straight through; larger numbers saturate and have none.
    """

    short = torch.float16


class Bfloat16(_Short):
    """Rounded to bfloat16 (8 significant bits, the range of float32): 16 bits a number.

    The gradient goes straight through.
    """

    short = torch.bfloat16
