"""Messages that arrive changed by chance, or cut short."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.channel.base import Channel
from gnncomm.errors import ConfigError, ShapeError
from gnncomm.random import normal, stream, uniform
from gnncomm.types import Moment


@dataclass(frozen=True)
class Noise(Channel):
    r"""Gaussian noise of ``sigma`` message standard deviations on every number.

    .. math:: \hat m_d = m_d + \sigma s_d n_d

    Without ``std`` the unit s of a message is the standard deviation of its own M numbers, which depends on no other
    message; the gradient takes it as constant. With ``std`` it is given for each dimension (or one for all), for
    instance as measured over the messages of a trained team. The signal-to-noise ratio is -20 log10(sigma) dB around
    the mean. The noise is added where the message is sent: all who hear it hear the same. It is drawn from
    (key, step, round, sender, dimension), and a larger sigma scales it.

    Raises:
        ConfigError: ``sigma`` or ``std`` is negative or not finite. ShapeError (when it is used): ``std`` is not as
            long as a message, or a message of one number has no standard deviation.
    """

    sigma: float
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name, value in [("sigma", self.sigma), *[("std", value) for value in self.std or ()]]:
            if not 0 <= value < float("inf"):
                raise ConfigError(
                    f"Noise.{name} is a standard deviation: expected 0 <= {name} < infinity, got {value}."
                )

    def transmit(self, msg: Tensor, moment: Moment) -> Tensor:
        if self.sigma == 0:
            return msg
        sender_N1 = torch.arange(msg.shape[1], device=msg.device).unsqueeze(-1)
        place_M = torch.arange(msg.shape[2], device=msg.device)
        key_B11, step_B11 = stream(moment.key, "noise").view(-1, 1, 1), moment.step.view(-1, 1, 1)
        noise = normal(key_B11, step_B11, moment.round, sender_N1, place_M, dtype=msg.dtype)
        return msg + self.sigma * self._unit(msg) * noise

    def _unit(self, msg: Tensor) -> Tensor:
        width = msg.shape[-1]
        if self.std is not None:
            if len(self.std) not in (1, width):
                raise ShapeError(
                    f"Noise.std belongs to the numbers of a message: expected 1 or {width}, got {self.std}."
                )
            return msg.new_tensor(self.std)
        if width == 1:
            raise ShapeError("A message of one number has no standard deviation: expected M >= 2, got 1. Give std.")
        return msg.detach().std(-1, correction=0, keepdim=True)


@dataclass(frozen=True)
class Budget(Channel):
    """Of each message the share ``beta`` of the numbers passes, those of largest magnitude; 0 is read for the others.

    ceil(beta * M) numbers pass; at a larger beta the same ones and more. Equal magnitudes, as a quantiser makes them,
    are ranked in a fixed mixed order of the dimensions. The medium cuts, so what a sender put on the wire
    (``Talk.bits``) does not change: the codec ``KeepLargest`` is a sender that knows.

    Raises:
        ConfigError: ``beta`` is not in (0, 1].
    """

    beta: float

    def __post_init__(self) -> None:
        if not 0 < self.beta <= 1:
            raise ConfigError(
                f"Budget.beta is the share of a message that passes: expected 0 < beta <= 1, got {self.beta}."
            )

    def transmit(self, msg: Tensor, moment: Moment) -> Tensor:
        count = math.ceil(self.beta * msg.shape[-1] * (1 - 1e-12))  # 0.3 * 10 is a little more than 3
        if count >= msg.shape[-1]:
            return msg
        # Mixed: in the order of dimensions the last part of a message, a layer's values perhaps, would always lose.
        mixed_M = uniform(0, torch.arange(msg.shape[-1], device=msg.device)).argsort()
        rank = msg.detach()[..., mixed_M].abs().argsort(dim=-1, descending=True, stable=True)
        largest = mixed_M[rank[..., :count]]
        return torch.where(torch.zeros_like(msg, dtype=torch.bool).scatter(-1, largest, True), msg, 0.0)
