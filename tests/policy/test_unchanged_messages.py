"""What passes a wire unchanged says so; then, and at no other time, the row itself is folded into the mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from gnncomm import channel, codec, schedule
from gnncomm.channel import Arrival, Channel, Ideal
from gnncomm.codec import Coded, Float32
from gnncomm.graph import CommGraph
from gnncomm.layers import CommStack, MeanComm
from gnncomm.layers.kernels import plain_forms
from gnncomm.layers.kernels.full import FoldedMean
from gnncomm.moment import Moment
from gnncomm.policy.rounds import Talk, WireState, talk
from gnncomm.topology import Full
from gnncomm.wire import Wire

B, N, F = 3, 5, 4
MOMENT = Moment(torch.arange(B), torch.full((B,), 2), 0)


def rows() -> Tensor:
    return torch.randn(B, N, F, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()


def full() -> CommGraph:
    return Full()(torch.ones(1, N, dtype=torch.bool))


def run(wire: Wire, h: Tensor) -> Talk:
    torch.manual_seed(1)
    comm = CommStack([MeanComm(F, F)]).double()
    return talk(comm, wire, h, full(), WireState.fresh(wire, comm, h, B, N), MOMENT)


def folds(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the row itself was folded into the mean; the result and its gradients are those of the plain form."""
    calls = []
    apply = FoldedMean.apply
    monkeypatch.setattr(FoldedMean, "apply", lambda *args: calls.append(1) or apply(*args))
    h = rows()
    found = run(wire, h).h
    with plain_forms():
        want = run(wire, h).h
    torch.testing.assert_close(found, want, rtol=0, atol=1e-12)
    slopes = (torch.autograd.grad(out.pow(3).sum(), h)[0] for out in (found, want))
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-10)
    return bool(calls)


@pytest.mark.parametrize("name", [f"{name}:k=2" if name == "topk" else name for name in codec.names()])
def test_a_codec_that_says_unchanged_is_exact(name: str) -> None:
    msg = rows()
    made = codec.resolve(name).double()
    for training in (True, False):
        coded = made.train(training)(msg, MOMENT)
        assert not coded.unchanged or coded.msg is msg


@pytest.mark.parametrize("name", schedule.names())
def test_a_scheduler_that_says_unchanged_is_exact(name: str) -> None:
    h, msg = rows(), rows() + 1
    made = schedule.resolve(name, in_channels=F, num_agents=N).double()
    for training in (True, False):
        state = msg.new_zeros(B, N, made.state_dim(F))
        decided = made.train(training)(schedule.Situation(h, msg, full(), state, MOMENT, 3))
        assert not decided.unchanged or decided.msg is msg


NO_FAULT = ["ideal", "loss:p=0", "delay:steps=0", "jitter:max=0", "byzantine:agents=0", "loss:p=0 + delay:steps=0"]


@pytest.mark.parametrize("text", [*NO_FAULT, "jitter:max=2", "byzantine:agents=2", "noise:sigma=1", "silent:agents=1"])
def test_a_channel_that_says_unchanged_is_exact(text: str) -> None:
    msg, medium = rows(), channel.resolve(text)
    found = medium.carry(msg, full(), msg.new_zeros(B, N, medium.state_dim(F, N)), MOMENT).arrivals
    for arrival in found:
        assert not arrival.unchanged or arrival.msg is msg
    if text in NO_FAULT:
        assert all(arrival.unchanged for arrival in found)


class Louder(Float32):
    """Takes over what its parent says, message excepted."""

    def forward(self, msg: Tensor, moment: Moment) -> Coded:
        return replace(super().forward(msg, moment), msg=3 * msg)


class LouderInside(Ideal):
    def carry(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> channel.Delivery:
        delivery = super().carry(msg, graph, state, moment)
        return replace(delivery, arrivals=tuple(replace(item, msg=3 * item.msg) for item in delivery.arrivals))


@dataclass(frozen=True)
class LouderMedium(Channel):
    def transmit(self, msg: Tensor, moment: Moment) -> Tensor:
        return 3 * msg


class Doubting(schedule.Always):
    def forward(self, *args, **kwargs) -> schedule.Schedule:  # type: ignore[no-untyped-def]
        found = super().forward(*args, **kwargs)
        return replace(found, msg=3 * found.msg)


LOUD: dict[str, Callable[[], Wire]] = {
    "codec": lambda: Wire(codec=Louder()),
    "scheduler": lambda: Wire(scheduler=Doubting()),
    "medium": lambda: Wire(channel=LouderMedium()),
    "after an ideal one": lambda: Wire(channel=Ideal() + LouderMedium()),
    "before an ideal one": lambda: Wire(channel=LouderMedium() + Ideal()),
    "inside an ideal one": lambda: Wire(channel=LouderInside()),
}


@pytest.mark.parametrize("where", LOUD)
def test_a_message_that_was_changed_is_what_is_read(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not folds(LOUD[where](), monkeypatch)


@pytest.mark.parametrize("medium", [Ideal(), Ideal() + Ideal(), Ideal().per_round(), channel.Delay(0), Channel()])
def test_the_row_itself_is_folded_into_the_mean(medium: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folds(Wire(channel=medium), monkeypatch)


def test_the_word_is_of_one_value_only() -> None:
    arrival = Arrival(rows(), full()).as_it_came()
    assert arrival.unchanged
    assert not replace(arrival, msg=3 * arrival.msg).unchanged
    assert not arrival.map(lambda x: x).unchanged
    assert not Arrival(arrival.msg, arrival.graph).unchanged
