"""Floating-point numbers, as they are or shortened."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from gnncomm.codec.base import Codec, Coded
from gnncomm.codec.draws import bits_per_number, constant_bits
from gnncomm.gradients import straight_through
from gnncomm.moment import Moment


class Float32(Codec):
    """Every number as it is: 32 bits (64 in a float64 policy)."""

    def forward(self, msg: Tensor, moment: Moment) -> Coded:
        return Coded(msg, constant_bits(msg, bits_per_number(msg) * msg.shape[-1])).as_it_came()


class _Short(Codec):
    short: ClassVar[torch.dtype]

    def forward(self, msg: Tensor, moment: Moment) -> Coded:
        largest = torch.finfo(self.short).max
        inside = msg.clamp(-largest, largest)  # else a large number would arrive as infinity
        return Coded(
            straight_through(inside.to(self.short).to(msg.dtype), inside), constant_bits(msg, 16 * msg.shape[-1])
        )


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
