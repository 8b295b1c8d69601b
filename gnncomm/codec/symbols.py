"""Discrete symbols with a gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from gnncomm.codec.base import Codec, Coded
from gnncomm.codec.draws import noise_like
from gnncomm.codec.packet import Field, Fixed, Packet
from gnncomm.errors import ConfigError
from gnncomm.gradients import straight_through
from gnncomm.random import gumbel
from gnncomm.types import Moment


class GumbelSymbols(Codec):
    r"""Each group of S numbers holds the logits of one symbol out of S: ceil(log2 S) bits a group.

    .. math::
        \hat m = \mathrm{onehot}(\arg\max_s (z_s + g_s)), \qquad
        \frac{\partial \hat m}{\partial z} := \frac{\partial}{\partial z} \mathrm{softmax}((z + g) / \tau)

    with Gumbel noise g in training, and g = 0 in execution (``module.training``). Sources: Jang, Gu and Poole 2017,
    `Categorical Reparameterization with Gumbel-Softmax <https://arxiv.org/abs/1611.01144>`_, section 2.2 (the
    straight-through form); as a channel: Havrylov and Titov 2017. The receiver reads M numbers, S to a symbol; where S
    does not divide M the last group has an alphabet of M mod S.

    Args:
        symbols: S, at least 2.
        tau: temperature of the gradient, positive.

    Raises:
        ConfigError: ``symbols`` or ``tau`` out of range.
    """

    def __init__(self, symbols: int = 4, tau: float = 1.0) -> None:
        super().__init__()
        if symbols < 2:
            raise ConfigError(f"GumbelSymbols.symbols is the size of an alphabet: expected at least 2, got {symbols}.")
        if not 0 < tau < float("inf"):
            raise ConfigError(f"GumbelSymbols.tau is a temperature: expected 0 < tau < infinity, got {tau}.")
        self.symbols, self.tau = symbols, tau

    def fields(self, channels: int, dtype: torch.dtype) -> tuple[Field, ...]:
        groups, rest = divmod(channels, self.symbols)
        return (Fixed(groups, self.symbols), *([Fixed(1, rest)] if rest else []))

    def encode(self, msg: Tensor, moment: Moment) -> Packet:
        return self.packet(self._logits(msg, moment).argmax(-1), msg)

    def decode(self, packet: Packet, moment: Moment) -> Tensor:
        chosen = packet.symbols.unsqueeze(-1) == torch.arange(self.symbols, device=packet.symbols.device)
        return chosen.flatten(-2)[..., : packet.channels].to(packet.dtype)

    def forward(self, msg: Tensor, moment: Moment) -> Coded:
        logits = self._logits(msg, moment)
        packet = self.packet(logits.argmax(-1), msg)
        soft = (logits / self.tau).softmax(-1).flatten(-2)[..., : msg.shape[-1]]
        read = straight_through(self.decode(packet, moment), soft)
        return Coded(read, packet.bits.to(msg.dtype), symbols=packet.symbols)

    def _logits(self, msg: Tensor, moment: Moment) -> Tensor:
        """``[B, N, groups, S]``."""
        logits = msg + noise_like(msg, gumbel, moment, "symbols") if self.training else msg
        missing = -msg.shape[-1] % self.symbols
        padded = torch.nn.functional.pad(logits, (0, missing), value=-torch.inf)
        grouped: Tensor = padded.unflatten(-1, (-1, self.symbols))
        return grouped

    def extra_repr(self) -> str:
        return f"symbols={self.symbols}, tau={self.tau}"
