"""Floating-point numbers as they are."""

from __future__ import annotations

from torch import Tensor

from gnncomm.codec.base import Codec, Coded
from gnncomm.moment import Moment


class Float32(Codec):
    """Every number as it is: 32 bits (64 in a float64 policy)."""

    def forward(self, msg: Tensor, moment: Moment) -> Coded:
        bits_per_number = msg.element_size() * 8
        return Coded(msg, msg.new_full(msg.shape[:-1], float(bits_per_number * msg.shape[-1])))
