"""Messages as they are on the wire: whole numbers, how each is written, and the bytes of one message."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.errors import ShapeError
from gnncomm.types import Batch


@dataclass(frozen=True)
class Field(ABC):
    """``count`` symbols, whole numbers >= 0, each written in one prefix-free code: a reader knows where it ends."""

    count: int

    @abstractmethod
    def bits(self, symbols: Tensor) -> int | Tensor:
        """Bits of the symbols ``[..., count]`` together: ``[...]``, or one number where all messages are as long."""

    @abstractmethod
    def write(self, symbol: int) -> tuple[int, int]:
        """The code of one symbol as a number, and how many bits that is."""

    @abstractmethod
    def read(self, bits: Reader) -> int:
        """The next symbol."""


@dataclass(frozen=True)
class Fixed(Field):
    """Symbols in [0, below), each in ceil(log2 below) bits. Of 64 bits, they are the two's complement of an int64."""

    below: int

    @property
    def width(self) -> int:
        """Bits of a symbol."""
        return (self.below - 1).bit_length()

    def bits(self, symbols: Tensor) -> int | Tensor:
        return self.count * self.width

    def write(self, symbol: int) -> tuple[int, int]:
        return symbol % 2**64 if self.width == 64 else symbol, self.width

    def read(self, bits: Reader) -> int:
        symbol = bits.take(self.width)
        if symbol >= self.below:
            raise ShapeError(f"Expected a symbol below {self.below}, read {symbol}: another codec wrote this.")
        return symbol - 2**64 if symbol >= 2**63 else symbol


@dataclass(frozen=True)
class Words(Fixed):
    """``Fixed``, of the bits of floating-point numbers: no alphabet that means something."""


@dataclass(frozen=True)
class Flagged(Fixed):
    """As ``Fixed`` behind a bit that is 1, but 0 is the bit 0 alone: for numbers most of which are left out."""

    def bits(self, symbols: Tensor) -> int | Tensor:
        return self.count + self.width * (symbols != 0).sum(-1)

    def write(self, symbol: int) -> tuple[int, int]:
        code, width = super().write(symbol)
        return (0, 1) if symbol == 0 else (1 << width | code, width + 1)

    def read(self, bits: Reader) -> int:
        return super().read(bits) if bits.take(1) else 0


@dataclass(frozen=True)
class Gamma(Field):
    """s + 1 in the Elias gamma code, 2 floor(log2(s + 1)) + 1 bits: small numbers are short, and none is too large.

    Elias 1975, "Universal codeword sets and representations of the integers".
    """

    def bits(self, symbols: Tensor) -> int | Tensor:
        exponent = torch.frexp((symbols + 1).double()).exponent  # floor(log2) + 1, exact below 2^53
        return (2 * exponent - 1).sum(-1)

    def write(self, symbol: int) -> tuple[int, int]:
        return symbol + 1, 2 * (symbol + 1).bit_length() - 1

    def read(self, bits: Reader) -> int:
        zeros = 0
        while not bits.take(1):
            zeros += 1
        return (1 << zeros | bits.take(zeros)) - 1


class Reader:
    """The bits of a message, from the first on."""

    def __init__(self, data: bytes) -> None:
        self.number, self.left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """The next ``count`` bits as a number."""
        if count > self.left:
            raise ShapeError(f"Expected {count - self.left} more bits, the message ends: another codec wrote this.")
        self.left -= count
        return self.number >> self.left & (1 << count) - 1

    def close(self) -> None:
        """Nothing is left but the zeros that fill the last byte."""
        if self.left >= 8 or self.take(self.left):
            raise ShapeError("Expected the end of the message: there is more, another codec wrote this.")


@dataclass(frozen=True)
class Packet(Batch):
    """What B teams put on the wire. ``bits`` are those of ``to_bytes``, which fills the last byte with zeros."""

    symbols: Tensor  # [B, N, S] int64
    fields: tuple[Field, ...]  # of the S symbols, in their order
    channels: int  # M, numbers in a message as it is read
    dtype: torch.dtype  # of these numbers

    @property
    def bits(self) -> Tensor:
        """``[B, N]`` int64."""
        parts = self.symbols.split([field.count for field in self.fields], -1)
        total = sum((field.bits(part) for field, part in zip(self.fields, parts, strict=True)), start=0)
        return total if isinstance(total, Tensor) else self.symbols.new_full(self.symbols.shape[:-1], total)

    @property
    def discrete(self) -> bool:
        """Whether its symbols are more than the bits of numbers."""
        return not any(isinstance(field, Words) for field in self.fields)

    def of(self, env: int, agent: int) -> Packet:
        """One message."""
        symbols = self.symbols[env : env + 1, agent : agent + 1]
        return Packet(symbols, self.fields, self.channels, self.dtype)

    def to_bytes(self) -> bytes:
        """One message, as it could be written to a socket: ceil(bits / 8) bytes, the first bit highest.

        Raises:
            ShapeError: several messages.
        """
        if self.symbols.shape[:-1].numel() != 1:
            raise ShapeError(f"Expected one message, got {list(self.symbols.shape[:-1])}: use packet.of(env, agent).")
        symbols, number, length = iter(self.symbols.flatten().tolist()), 0, 0
        for field in self.fields:
            for _ in range(field.count):
                code, width = field.write(next(symbols))
                number, length = number << width | code, length + width
        size = -(-length // 8)
        return (number << 8 * size - length).to_bytes(size, "big")

    @classmethod
    def from_bytes(
        cls, data: bytes, fields: tuple[Field, ...], channels: int, dtype: torch.dtype, device: torch.device | str
    ) -> Packet:
        """The inverse of ``to_bytes``: a packet ``[1, 1, S]``.

        Raises:
            ShapeError: ``data`` is shorter or longer than a message, or holds a symbol that is none.
        """
        reader = Reader(data)
        symbols = [field.read(reader) for field in fields for _ in range(field.count)]
        reader.close()
        return cls(torch.tensor(symbols, dtype=torch.int64, device=device).view(1, 1, -1), fields, channels, dtype)


_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def words(numbers: Tensor) -> Tensor:
    """The bits of floating-point numbers as symbols."""
    width = 8 * numbers.element_size()
    symbols = numbers.detach().contiguous().view(_INTEGERS[numbers.element_size()]).long()
    return symbols if width == 64 else symbols & (1 << width) - 1


def numbers_of(symbols: Tensor, dtype: torch.dtype) -> Tensor:
    """The inverse of ``words``."""
    return symbols.to(_INTEGERS[dtype.itemsize]).contiguous().view(dtype)


def word_of(count: int, dtype: torch.dtype) -> Words:
    """``count`` numbers of ``dtype``, as they are."""
    return Words(count, 1 << 8 * dtype.itemsize)
