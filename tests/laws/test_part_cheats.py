"""Cheats that the laws of single parts catch: channels, codecs and schedulers alone, without a policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from gnncomm import channel, codec, schedule
from gnncomm.channel import Arrival, Channel, Delivery, Loss
from gnncomm.codec import Codec, Fixed, Gamma, Packet, Quantise
from gnncomm.graph import CommGraph, Edges
from gnncomm.random import stream, uniform
from gnncomm.schedule import Always, Decider, Schedule, Scheduler, Situation
from gnncomm.testing import LawError, check_channel, check_codec, check_scheduler
from gnncomm.types import Moment

CHANNELS = {
    "burst": "p=0.4",
    "path_loss": "snr_db=12,shadowing_db=2",
    "loss": "p=0.4",
    "noise": "sigma=1",
    "delay": "steps=2",
}
CHANNELS |= {"jitter": "max=2", "budget": "beta=0.5", "byzantine": "kind=replay"}


@pytest.mark.parametrize("name", channel.names())
def test_channels_that_ship_pass(name: str) -> None:
    check_channel(channel.resolve(f"{name}:{CHANNELS[name]}" if name in CHANNELS else name), msg_channels=3)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", codec.names())
def test_codecs_that_ship_pass(name: str, training: bool) -> None:
    for dtype in (torch.float32, torch.float64):
        check_codec(codec.resolve(f"{name}:k=3" if name == "keep_largest" else name).train(training), dtype=dtype)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", schedule.names())
def test_schedulers_that_ship_pass(name: str, training: bool) -> None:
    check_scheduler(schedule.resolve(name, in_channels=8, num_agents=5).train(training))


@dataclass(frozen=True)
class Interference(Channel):
    """Nobody is heard where somebody else is near the receiver."""

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        assert moment.pos is not None
        nearest = torch.cdist(moment.pos, moment.pos).topk(2, largest=False).values[..., 1]
        return graph.keep_where(receiver=nearest > 1.5)


@dataclass(frozen=True)
class Quorum(Channel):
    """Nothing arrives unless all are alive."""

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        assert moment.alive is not None
        return graph.keep_where(sender=moment.alive.all(-1, keepdim=True).expand_as(moment.alive))


@dataclass(frozen=True)
class BackToo(Channel):
    """Whoever may talk to another is heard by those who talk to it."""

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        return CommGraph.from_dense(graph.dense.transpose(1, 2))


@dataclass(frozen=True)
class DrawnAnew(Channel):
    """Its draws are named by the severity."""

    p: float

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        edges = Edges(graph, moment)
        return edges.keep(edges.draw(f"loss {self.p}") >= self.p)


@dataclass(frozen=True)
class ByPlaceInTheBatch(Channel):
    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        row = torch.arange(len(moment.key)).view(-1, 1)
        agent = torch.arange(graph.num_agents)
        return graph.keep_where(sender=uniform(stream(1, "row"), row, moment.step.view(-1, 1), agent) > 0.5)


@dataclass(frozen=True)
class Ages(Channel):
    """Calls what it delivers to everybody old."""

    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        return Delivery((Arrival(msg, BackToo().deliver(graph, moment), fresh=False),), state)


@pytest.mark.parametrize("cheat", [Interference(), Quorum(), BackToo(), ByPlaceInTheBatch(), Ages()], ids=repr)
def test_a_channel_that_cheats_is_caught(cheat: Channel) -> None:
    with pytest.raises(LawError, match="Law of the wire broken"):
        check_channel(cheat)


def test_severities_that_are_not_nested_are_caught() -> None:
    check_channel(Loss(0.2), harsher=[Loss(0.4), Loss(0.8)])
    with pytest.raises(LawError, match="delivers what"):
        check_channel(DrawnAnew(0.2), harsher=[DrawnAnew(0.3)])
    with pytest.raises(LawError, match="delivers what"):
        check_channel(Loss(0.4), harsher=[Loss(0.2)])


class Counts(Quantise):
    """Reports half of what it sends."""

    def forward(self, msg: Tensor, moment: Moment) -> codec.Coded:
        coded = super().forward(msg, moment)
        return replace(coded, bits=coded.bits / 2)


class ReadsMore(Quantise):
    """A receiver in the same process knows the message itself."""

    def encode(self, msg: Tensor, moment: Moment) -> Packet:
        self.memo = msg
        return super().encode(msg, moment)

    def decode(self, packet: Packet, moment: Moment) -> Tensor:
        return self.memo

    def forward(self, msg: Tensor, moment: Moment) -> codec.Coded:
        return replace(super().forward(msg, moment), msg=msg)


class Overflows(Quantise):
    """Says two bits a number and has four."""

    def fields(self, channels: int, dtype: torch.dtype) -> tuple[codec.Field, ...]:
        return (Fixed(channels, 4),)


class Whole(Codec):
    """The row below its own decides on the sign."""

    def fields(self, channels: int, dtype: torch.dtype) -> tuple[codec.Field, ...]:
        return (Gamma(channels),)

    def encode(self, msg: Tensor, moment: Moment) -> Packet:
        return self.packet(msg.abs().clamp(max=9).round() + (msg.roll(1, 1) > 0), msg)

    def decode(self, packet: Packet, moment: Moment) -> Tensor:
        return packet.symbols.to(packet.dtype)


@pytest.mark.parametrize("cheat", [lambda: Counts(4), lambda: ReadsMore(4), lambda: Overflows(4), Whole])
def test_a_codec_that_cheats_is_caught(cheat: Callable[[], Codec]) -> None:
    with pytest.raises((LawError, AttributeError, OverflowError, ValueError)):
        check_codec(cheat().eval())


class Loudest(Scheduler):
    """Says that the sender decides."""

    decider = Decider.SENDER

    def forward(self, now: Situation) -> Schedule:
        size = now.h.nan_to_num().norm(dim=-1)
        return Schedule(now.graph.keep_where(sender=size >= size.mean(-1, keepdim=True)), now.msg, now.state)


class Opens(Always):
    def forward(self, now: Situation) -> Schedule:
        return Schedule(~now.graph, now.msg, now.state)


class Pools(Always):
    def forward(self, now: Situation) -> Schedule:
        return Schedule(now.graph, now.msg + 1e-3 * now.msg.nan_to_num().mean(1, keepdim=True), now.state)


class ByReceiver(Always):
    """The receiver's row decides, and it says nobody's."""

    def forward(self, now: Situation) -> Schedule:
        return Schedule(now.graph.keep_where(receiver=now.h[..., 0] > 0), now.msg, now.state)


@pytest.mark.parametrize("cheat", [Loudest, Opens, Pools, ByReceiver])
def test_a_scheduler_that_cheats_is_caught(cheat: type[Scheduler]) -> None:
    with pytest.raises(LawError, match="Law of schedule broken"):
        check_scheduler(cheat())
