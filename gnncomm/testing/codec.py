"""The laws of a codec: what is read went over the wire, and is paid for."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.codec import Codec, Coded, Packet
from gnncomm.testing.law import require, require_bits, require_close, require_finite
from gnncomm.types import Moment

_LAW = "bits"
_ROW = ("environment", "agent")
MESSAGES = 256
"""So many different messages are coded to count how many of them can be told apart."""


@torch.no_grad()
def check_codec(
    codec: Codec,
    channels: int = 8,
    dtype: torch.dtype = torch.float64,
    number: int = 0,
    device: torch.device | str = "cpu",
) -> None:
    """What every codec promises, for one of your own, too, in the mode that it is in.

    * Row by row: a message on its own, in other company or among NaN is read as the same, at the same price.
    * Bits are finite and not negative.
    * In evaluation mode, what is read is ``decode(encode(msg))``, bit for bit; and so it is if a copy of the codec
      decodes the bytes of one message, which are as many as the bits that are reported. A relaxation while training may
      stand for what is cut off later.
    * In evaluation mode, mean bits are at least the entropy of what is read: no code does better (Shannon 1948).

    Args:
        codec: yours or ours.
        channels: M, numbers in a message.
        dtype: of these numbers.
        number: the round of communication.
        device: of the messages.

    Raises:
        LawError: names the law, the tensor and the agent.
    """
    count = torch.arange(3 * 4 * channels, device=device)
    msg = random.normal(3, number, count, dtype=torch.float64).to(dtype).view(3, 4, channels)
    want = _coded(codec, msg, number)
    for name, value in want.tensors().items():
        require_finite(_LAW, f"{name} of the codec", value, _ROW, "the message is finite")
    require((want.bits >= 0).all(), _LAW, "a message costs less than nothing.")
    _check_rows(codec, msg, number, want)
    if not codec.training:
        _check_form(codec, msg, number, want)
        _check_information(codec, channels, dtype, number, device)


def _coded(codec: Codec, msg: Tensor, number: int, first: int = 0) -> Coded:
    coded: Coded = codec(msg, _moment(msg, number, first))
    require(coded.bits.shape == msg.shape[:2], _LAW, f"{list(coded.bits.shape)} bits for messages {list(msg.shape)}.")
    return coded


def _moment(msg: Tensor, number: int, first: int = 0) -> Moment:
    key = torch.arange(first, first + len(msg), device=msg.device)
    return Moment(key, 1 + key, number)


def _check_rows(codec: Codec, msg: Tensor, number: int, want: Coded) -> None:
    for j in range(msg.shape[1]):
        others = (torch.arange(msg.shape[1], device=msg.device) != j).view(1, -1, 1)
        for spoilt in (torch.where(others, torch.nan, msg), torch.where(others, 1e3 * msg, msg)):
            got, why = _coded(codec, spoilt, number), "only the messages of other agents were other ones"
            for name, value in got.tensors().items():
                require_bits(_LAW, f"{name} of the codec", value[:, j], want.tensors()[name][:, j], _ROW, why)
    for b in range(len(msg)):
        alone = _coded(codec, msg[b : b + 1], number, b)
        for name, value in alone.tensors().items():
            why = f"the messages of environment {b} were coded alone"
            require_close(_LAW, f"{name} of the codec", value[0], want.tensors()[name][b], _ROW[1:], why)


def _check_form(codec: Codec, msg: Tensor, number: int, want: Coded) -> None:
    moment, receiver = _moment(msg, number), copy.deepcopy(codec)
    packet = codec.encode(msg, moment)
    read, why = receiver.decode(packet, moment), "read is decode(encode(msg))"
    require_bits(_LAW, "decode(encode(msg))", read, want.msg, _ROW, why)
    why = "reported is the length of encode(msg)"
    require_bits(_LAW, "bits", want.bits, packet.bits.to(want.bits.dtype), _ROW, why)
    for b, n in ((0, 0), (len(msg) - 1, msg.shape[1] - 1)):
        data, length = packet.of(b, n).to_bytes(), int(packet.bits[b, n])
        require(len(data) == -(-length // 8), _LAW, f"a message of {length} bits has {len(data)} bytes.")
        again = receiver.from_bytes(data, msg.shape[-1], msg.dtype, msg.device)
        symbols = torch.zeros_like(packet.symbols[:1])
        symbols[0, n] = again.symbols[0, 0]
        alone = Packet(symbols, again.fields, again.channels, again.dtype)
        heard = receiver.decode(alone, moment.select(torch.tensor([b], device=msg.device)))
        require_bits(_LAW, "what is read of bytes", heard[0, n], want.msg[b, n], (), "nothing else crossed")


def _check_information(
    codec: Codec, channels: int, dtype: torch.dtype, number: int, device: torch.device | str
) -> None:
    """For one sender at one moment."""
    count = torch.arange(MESSAGES * channels, device=device)
    msg = random.normal(4, number, count, dtype=torch.float64).to(dtype).view(MESSAGES, 1, channels)
    key = torch.zeros(MESSAGES, dtype=torch.int64, device=device)
    coded: Coded = codec(msg, Moment(key, key + 1, number))
    _, times = coded.msg.flatten(1).unique(dim=0, return_counts=True)
    share = times.double() / MESSAGES
    entropy, bits = -float((share * share.log2()).sum()), float(coded.bits.double().mean())
    message = (
        f"{type(codec).__name__} says that a message costs {bits:.3g} bits on average, but {len(times)} of "
        f"{MESSAGES} messages can be told apart when they are read, which takes {entropy:.3g}: count what is sent."
    )
    require(bits >= entropy * (1 - 1e-6), _LAW, message)
