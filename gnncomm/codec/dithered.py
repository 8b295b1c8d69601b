"""A quantiser without bias."""

from __future__ import annotations

import torch
from torch import Tensor

from gnncomm.codec.base import Codec, Coded
from gnncomm.codec.draws import noise_like
from gnncomm.errors import ConfigError
from gnncomm.gradients import straight_through
from gnncomm.moment import Moment
from gnncomm.random import uniform


class Dithered(Codec):
    r"""Quantisation with subtracted dither, whose error does not depend on what is sent.

    .. math::
        \hat z = m \delta - \varepsilon, \qquad
        m = \left\lfloor \frac{z + \varepsilon}{\delta} + \tfrac12 \right\rfloor, \qquad
        \varepsilon \sim U(-\delta / 2, \delta / 2)

    The integer m is sent; :math:`\varepsilon` is drawn by sender and receiver alike, from the moment and the sender.
    Then :math:`\hat z - z` is uniform on :math:`\pm \delta / 2` whatever z is (Schuchman 1964, "Dither signals and
    their effect on quantization noise"), so :math:`E[\hat z] = z`, the variance is :math:`\delta^2 / 12` and the
    identity is the gradient without bias: "Differentiable discrete communication learning" (arXiv 2511.01554), in which
    a message costs :math:`\sum_d \log_2(2 |z_d| / \delta + 1)` bits. That number is reported, and ``price`` times it
    joins the training loss.

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

    def forward(self, msg: Tensor, moment: Moment) -> Coded:
        dither = (noise_like(msg, uniform, moment, "dither") - 0.5) * self.delta
        read = torch.floor((msg + dither) / self.delta + 0.5) * self.delta - dither
        bits = torch.log2(2 * msg.abs() / self.delta + 1).sum(-1)
        return Coded(straight_through(read, msg), bits.detach(), self.price * bits if self.price else None)

    def extra_repr(self) -> str:
        return f"delta={self.delta}, price={self.price}"
