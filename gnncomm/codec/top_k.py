"""Few numbers instead of all."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from gnncomm.codec.base import Codec, Coded
from gnncomm.codec.draws import bits_per_number, constant_bits
from gnncomm.errors import ConfigError
from gnncomm.moment import Moment


class TopK(Codec):
    """Only the k numbers of largest magnitude, with their places: k (32 + ceil(log2 M)) bits.

    The receiver reads 0 for the others, and the gradient reaches only what was sent (Aji and Heafield 2017, "Sparse
    Communication for Distributed Gradient Descent", section 3, for the operator). With k >= M all are sent, without
    places.

    Args:
        k: at least 1.

    Raises:
        ConfigError: ``k`` out of range.
    """

    aliases: ClassVar[tuple[str, ...]] = ("top_k",)

    def __init__(self, k: int) -> None:
        super().__init__()
        if k < 1:
            raise ConfigError(f"TopK.k counts numbers: expected k >= 1, got {k}.")
        self.k = k

    def forward(self, msg: Tensor, moment: Moment) -> Coded:
        width, word = msg.shape[-1], bits_per_number(msg)
        if self.k >= width:
            return Coded(msg, constant_bits(msg, word * width))
        largest = msg.detach().abs().topk(self.k, dim=-1).indices
        kept = torch.zeros_like(msg, dtype=torch.bool).scatter(-1, largest, True)
        return Coded(torch.where(kept, msg, 0.0), constant_bits(msg, self.k * (word + math.ceil(math.log2(width)))))

    def extra_repr(self) -> str:
        return f"k={self.k}"
