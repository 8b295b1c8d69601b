"""What a codec is: the form a message takes on the wire, and how many bits that is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from gnncomm.codec.packet import Field, Packet
from gnncomm.errors import ConfigError
from gnncomm.gradients import straight_through
from gnncomm.graph import given
from gnncomm.registry import Remembers
from gnncomm.types import Batch, Moment


@dataclass(frozen=True)
class Coded(Batch):
    """Messages as the receivers read them, and what they cost."""

    msg: Tensor  # [B, N, M]
    bits: Tensor  # [B, N] on the wire, for each message
    cost: Tensor | None = None  # [B, N] term of the training loss, as in a bottleneck or a price per bit
    symbols: Tensor | None = None  # [B, N, S] int64 on the wire; None where numbers are written as they are


class Codec(Remembers, nn.Module, ABC):
    """Encoder of the sender and decoder of the receiver: each message on its own, row by row.

    A subclass says ``fields``, ``encode`` and ``decode``, and where the gradient is not that of the identity,
    ``smooth`` (or all of ``forward``). What is reported as ``bits`` is the length of what ``encode`` made. Noise is
    drawn with ``gnncomm.random`` from the moment and the sender, so that a learner meets the noise that the rollout
    met. Where training and execution differ, ``self.training`` decides; what goes over a real wire is execution.
    """

    aliases: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def fields(self, channels: int, dtype: torch.dtype) -> tuple[Field, ...]:
        """How the symbols of a message of M = ``channels`` numbers are written, one after the other."""

    @abstractmethod
    def encode(self, msg: Tensor, moment: Moment) -> Packet:
        """``[B, N, M]`` as sent -> what is on the wire: ``self.packet(symbols, msg)``."""

    @abstractmethod
    def decode(self, packet: Packet, moment: Moment) -> Tensor:
        """What is on the wire -> ``[B, N, M]`` as read."""

    def smooth(self, msg: Tensor, moment: Moment) -> Tensor:
        """What lends its gradient to what is read: by the message, and by the weights of a codec that learns."""
        return msg

    def packet(self, symbols: Tensor, msg: Tensor) -> Packet:
        """``symbols [B, N, S]`` (whole numbers) of the messages ``msg``."""
        return Packet(symbols.long(), self.fields(msg.shape[-1], msg.dtype), msg.shape[-1], msg.dtype)

    def from_bytes(
        self, data: bytes, channels: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Packet:
        """The packet ``[1, 1, S]`` of one message, from ``Packet.to_bytes``.

        Raises:
            ShapeError: not the bytes of such a message.
        """
        return Packet.from_bytes(data, self.fields(channels, dtype), channels, dtype, device)

    def forward(self, msg: Tensor, moment: Moment) -> Coded:
        """``[B, N, M]`` as sent -> as read: ``decode(encode(msg))`` with the gradient of ``smooth``."""
        packet, smooth = self.encode(msg, moment), self.smooth(msg, moment)
        self._check_packet(packet, msg)
        read = self.decode(packet, moment)
        for verb, value in (("decode", read), ("smooth", smooth)):
            given.require_made(self, f"messages from {verb}", "[B, N, M]", value, msg.shape)
        symbols = packet.symbols if packet.discrete else None
        return Coded(straight_through(read, smooth), packet.bits.to(msg.dtype), symbols=symbols)

    def _check_packet(self, packet: Packet, msg: Tensor) -> None:
        given.require_kind(self, "what encode gives", packet, Packet)
        if not isinstance(packet.fields, tuple) or not all(isinstance(field, Field) for field in packet.fields):
            raise ConfigError(f"{type(self).__name__}.fields: expected a tuple of Field, got {packet.fields!r}.")
        shape = *msg.shape[:-1], sum(field.count for field in packet.fields)
        given.require_made(self, "symbols, as many as its fields say,", "[B, N, S]", packet.symbols, shape, torch.int64)


def coded(codec: Codec, msg: Tensor, moment: Moment) -> Coded:
    """``codec(msg, moment)``, if it is what it must be; ``msg [B, N, M]``.

    Raises:
        ShapeError, DtypeError: a codec of a user's gave something else; names it.
    """
    result: Coded = codec(msg, moment)
    given.require_kind(codec, "what forward gives", result, Coded)
    given.require_made(codec, "messages as read", "[B, N, M]", result.msg, msg.shape, msg.dtype)
    given.require_made(codec, "bits", "[B, N]", result.bits, msg.shape[:-1])
    if result.cost is not None:
        given.require_made(codec, "cost", "[B, N]", result.cost, msg.shape[:-1])
    return result
