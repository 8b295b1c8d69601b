"""What is on the wire is what is read, as many bits as reported, and bytes that a socket could carry."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnncomm import codec
from gnncomm.codec import Codec, Fixed, Flagged, Gamma, Packet
from gnncomm.errors import ShapeError
from gnncomm.random import normal, uniform
from gnncomm.types import Moment

B, N, M = 4, 3, 7
ALL = {
    "bfloat16": "bfloat16",
    "bottleneck": "bottleneck:threshold=0.5",
    "bottleneck, all": "bottleneck",
    "dithered": "dithered:delta=0.3,price=0.01",
    "dru": "dru",
    "float16": "float16",
    "float32": "float32",
    "gumbel_symbols": "gumbel_symbols:symbols=3",
    "quantise": "int4:limit=2",
    "quantise, odd": "int5",
    "lsq": "lsq:bits=3",
    "keep_largest": "keep_largest:k=2",
    "keep_largest, all": "keep_largest:k=9",
}
NOW = Moment(torch.arange(B) + 100, torch.arange(B), 1)


def messages(dtype: torch.dtype, scale: float = 1.0) -> Tensor:
    return scale * normal(8, torch.arange(B * N * M), dtype=torch.float64).view(B, N, M).to(dtype)


def rows_of(packet: Packet, like: Packet, agent: int) -> Packet:
    """One message where ``decode`` expects it: in the row of its sender."""
    symbols = torch.zeros_like(like.symbols[:1])
    symbols[0, agent] = packet.symbols[0, 0]
    return Packet(symbols, packet.fields, packet.channels, packet.dtype)


def test_everything_that_is_listed_is_tried() -> None:
    assert {name.split(",")[0] for name in ALL} == set(codec.names())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1.0, 1e8])
@pytest.mark.parametrize("name", ALL)
def test_what_is_read_went_through_as_many_bytes_as_are_reported(name: str, scale: float, dtype: torch.dtype) -> None:
    subject, msg = codec.resolve(ALL[name]).eval(), messages(dtype, scale)
    coded, packet = subject(msg, NOW), subject.encode(msg, NOW)
    assert torch.equal(subject.decode(packet, NOW), coded.msg), "decode(encode(x)) is what is read, bit for bit"
    assert torch.equal(packet.bits.to(dtype), coded.bits)
    for b in range(B):
        for n in range(N):
            data = packet.of(b, n).to_bytes()
            assert len(data) == -(-int(packet.bits[b, n]) // 8)
            again = subject.from_bytes(data, M, dtype)
            assert torch.equal(again.symbols[0, 0], packet.symbols[b, n])
            alone = NOW.select(torch.tensor([b]))
            assert torch.equal(subject.decode(rows_of(again, packet, n), alone)[0, n], coded.msg[b, n])


@pytest.mark.parametrize(
    "name", ["quantise", "quantise, odd", "dithered", "float16", "keep_largest", "bottleneck, all"]
)
def test_a_policy_in_training_reads_what_goes_over_the_wire_too(name: str) -> None:
    """All but those that stand for what is cut off later: noise in place of bits."""
    subject, msg = codec.resolve(ALL[name]), messages(torch.float32)
    if name != "bottleneck, all":
        assert torch.equal(subject.train()(msg, NOW).msg, subject.eval()(msg, NOW).msg)
    assert torch.equal(subject.eval()(msg, NOW).msg, subject.decode(subject.encode(msg, NOW), NOW))


def one(values: list[float]) -> Tensor:
    return torch.tensor([[values]], dtype=torch.float32)


FIRST = Moment(torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize(
    ("text", "values", "data"),
    [
        ("int4:limit=7.5", [-7.5, 7.5, -6.5, -5.5], "0f12"),  # levels 0, 15, 1, 2: two numbers a byte
        ("int4:limit=7.5", [-7.5, 7.5, 7.5], "0ff0"),  # the last half byte is filled with zeros
        ("int1", [1.0, -1.0, 1.0, 1.0, -1.0], "b0"),  # 10110 000
        ("dru", [3.0, -3.0, 1.0], "a0"),  # 101
        ("gumbel_symbols:symbols=3", [0, 0, 1, 0, 1, 0, 2, 1], "90"),  # 10 01 of three, 0 of two
        ("gumbel_symbols:symbols=2", [0, 1, 1, 0, 5], "80"),  # 1 0, and one of one: no bits
        ("float32", [1.0, -2.0], "3f800000c0000000"),  # IEEE 754
        ("float16", [1.0, -2.0], "3c00c000"),
        ("bfloat16", [1.0, -2.0], "3f80c000"),
        ("bottleneck:threshold=0.5", [0.1, 1.0, 0.2], "4fe00000" + "00"),  # 0, 1 and 32 bits, 0: 34
        ("keep_largest:k=1", [0.5, -2.0, 1.0], "70000000" + "00"),  # 01 and 32 bits
    ],
)
def test_bytes_by_hand(text: str, values: list[float], data: str) -> None:
    packet = codec.resolve(text).eval().encode(one(values), FIRST)
    assert packet.to_bytes().hex() == data


def test_codes_by_hand() -> None:
    assert [Gamma(1).write(symbol) for symbol in (0, 1, 2, 3, 6)] == [(1, 1), (2, 3), (3, 3), (4, 5), (7, 5)]
    assert Fixed(1, 5).write(4) == (0b100, 3)
    assert Fixed(1, 1).write(0) == (0, 0)
    assert Flagged(1, 4).write(0) == (0, 1)
    assert Flagged(1, 4).write(3) == (0b111, 3)
    symbols = torch.tensor([0, 1, 2, 3, 6, 2**31, 2**31 - 1])
    assert int(Gamma(7).bits(symbols)) == sum(Gamma(1).write(int(symbol))[1] for symbol in symbols)
    assert int(Flagged(7, 2**32).bits(symbols)) == sum(Flagged(1, 2**32).write(int(symbol))[1] for symbol in symbols)


def test_any_symbols_come_back() -> None:
    """Fields of every kind one after the other; the words of float64 with all their bits."""
    fields = (Gamma(3), Fixed(4, 11), Flagged(3, 2**32), Fixed(2, 2**64), Fixed(2, 1), Gamma(1))
    for trial in range(50):
        small = (uniform(trial, torch.arange(4)) * 11).long()
        some = (uniform(trial, torch.arange(7), 1, dtype=torch.float64) * 2**32).long() * (small[0] > 3)
        large = torch.tensor([-(2**63) + trial, 2**63 - 1 - trial])
        symbols = torch.cat([some[:3], small, some[3:6], large, torch.zeros(2).long(), some[6:]]).view(1, 1, -1)
        packet = Packet(symbols, fields, 1, torch.float32)
        data = packet.to_bytes()
        assert len(data) == -(-int(packet.bits) // 8)
        assert torch.equal(Packet.from_bytes(data, fields, 1, torch.float32, "cpu").symbols, symbols)


def test_bytes_of_another_codec_are_refused() -> None:
    int4 = codec.resolve("int4")
    packet = int4.encode(one([0.0, 0.5, 1.0]), FIRST)
    data = packet.to_bytes()
    with pytest.raises(ShapeError, match="Expected 4 more bits, the message ends"):
        int4.from_bytes(data[:1], 3)
    with pytest.raises(ShapeError, match="there is more"):
        int4.from_bytes(data + b"\0", 3)
    with pytest.raises(ShapeError, match="there is more"):
        int4.from_bytes(data[:1] + b"\xff", 3)
    with pytest.raises(ShapeError, match="Expected a symbol below 3, read 3"):
        codec.resolve("gumbel_symbols:symbols=3").from_bytes(b"\xc0", 3)
    with pytest.raises(ShapeError, match=r"Expected one message, got \[2, 1\]"):
        int4.encode(torch.zeros(2, 1, 3), FIRST).to_bytes()


class Third(Codec):
    """The shortest codec of one's own: one of three levels."""

    def fields(self, channels: int, dtype: torch.dtype) -> tuple[Fixed, ...]:
        return (Fixed(channels, 3),)

    def encode(self, msg: Tensor, moment: Moment) -> Packet:
        return self.packet(msg.sign() + 1, msg)

    def decode(self, packet: Packet, moment: Moment) -> Tensor:
        return packet.symbols.to(packet.dtype) - 1


def test_a_codec_of_ones_own_needs_no_more() -> None:
    msg = one([-0.2, 0.0, 7.0]).requires_grad_()
    coded = Third()(msg, FIRST)
    assert coded.msg.tolist() == [[[-1.0, 0.0, 1.0]]]
    assert coded.bits.tolist() == [[6.0]]
    (gradient,) = torch.autograd.grad(coded.msg.sum(), msg)
    assert gradient.tolist() == [[[1.0, 1.0, 1.0]]]
    assert bool(Third()(one([torch.nan]), FIRST).msg.isnan().all()), "what is broken is read as broken"
