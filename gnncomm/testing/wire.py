"""The laws of the wire: no edge from nowhere, and bits that pay for what is said."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.channel import Channel, Delivery
from gnncomm.codec import Coded
from gnncomm.graph import CommGraph
from gnncomm.moment import Moment
from gnncomm.policy import CommPolicy
from gnncomm.testing.law import require, require_bits, require_close, require_finite
from gnncomm.testing.locality import Trial
from gnncomm.testing.trace import Seen, play
from gnncomm.topology import Full
from gnncomm.types import TimeStep

_EDGES, _BITS = "the wire", "bits"
_ROW = ("environment", "agent")
STEPS = 8
"""Of each stretch in which a channel is tried."""
MESSAGES = 256
"""So many different messages are coded to count how many of them can be told apart."""


@torch.no_grad()
def check_edges(policy: CommPolicy, moments: Trial, key: int | None = 0) -> None:
    """The scheduler uses edges that the topology gives, the channel those that the scheduler uses: now or (old
    messages) at an earlier step of the trial, which should begin where nothing is in flight."""
    earlier: list[Tensor] = []
    for seen in play(policy, moments.steps, moments.state, key):
        talked = seen.talked()
        for number, schedule in enumerate(seen.schedules):
            extra = schedule.graph.dense & ~seen.could
            _require_no_edge(extra, f"scheduler used in round {number}", "the topology does not give it")
        before = [a | b for a, b in zip(earlier, talked, strict=True)] if earlier else talked
        own = torch.eye(seen.could.shape[1], dtype=torch.bool, device=seen.could.device)
        for old, allowed in ((False, talked), (True, before)):
            for number, (came, edge) in enumerate(zip(seen.arrived(old), allowed, strict=True)):
                why = f"the scheduler did not use it{' at this or an earlier step' if old else ''}"
                _require_no_edge(came & ~edge & ~own, f"channel delivered over in round {number}", why)
        earlier = before


def check_living(policy: CommPolicy, now: TimeStep) -> None:
    """The topology joins those who are alive: nobody hears the dead."""
    edges = policy.wire.topology(now.alive, now.pos, now.step, now.key).dense.expand(len(now.alive), -1, -1)
    both = now.alive.unsqueeze(-1) & now.alive.unsqueeze(-2)
    _require_no_edge(edges & ~both, "topology gives", "one of both is not alive")


def _require_no_edge(extra: Tensor, who: str, why: str) -> None:
    if bool(extra.any()):
        env, sender, receiver = extra.nonzero()[0].tolist()
        require(False, _EDGES, f"environment {env}: the edge {sender} -> {receiver} that the {who}: {why}.")


@torch.no_grad()
def check_bits(policy: CommPolicy, moments: Trial, key: int | None = 0) -> None:
    """Bits are finite and not negative, belong to one message, and could tell apart what is read and announced."""
    for number, layer in enumerate(policy.comm.rounds):
        _check_codec(policy, layer.msg_channels, number)
    announced: list[list[Tensor]] = [[] for _ in policy.comm.rounds]
    paid: list[list[Tensor]] = [[] for _ in policy.comm.rounds]
    for seen in play(policy, moments.steps, moments.state, key):
        bits = seen.decision.talk.bits
        require_finite(_BITS, "bits", bits, _ROW, "they are counted")
        require((bits >= 0).all(), _BITS, f"an agent pays {bits.min().item():g} bits: none costs less than nothing.")
        _collect_announced(policy, seen, announced, paid)
    for number, (rows, costs) in enumerate(zip(announced, paid, strict=True)):
        _require_paid(torch.cat(rows), torch.cat(costs), number, type(policy.wire.scheduler).__name__)


def _collect_announced(policy: CommPolicy, seen: Seen, announced: list[list[Tensor]], paid: list[list[Tensor]]) -> None:
    """Of those who have somebody to announce to."""
    others = seen.could & ~torch.eye(seen.could.shape[1], dtype=torch.bool, device=seen.could.device)
    hearable = others.any(2)
    for number, schedule in enumerate(seen.schedules):
        rows = policy.wire.scheduler.announce(seen.decision.talk.rows[number])
        bits = rows.new_zeros(hearable.shape) if schedule.bits is None else schedule.bits.expand(hearable.shape)
        announced[number].append(rows[hearable])
        paid[number].append(bits[hearable])


def _require_paid(rows_RS: Tensor, bits_R: Tensor, number: int, name: str) -> None:
    if not rows_RS.numel():
        return
    least = sum(math.log2(len(column.unique())) for column in rows_RS.T)
    message = (
        f"{name} announces {rows_RS.shape[1]} numbers for {bits_R.mean().item():.3g} bits of control traffic (round "
        f"{number}), but telling apart what {len(rows_RS)} agents announced takes {least:.3g}: count them in bits."
    )
    require(float(bits_R.mean()) >= least * (1 - 1e-6), _BITS, message)


def _check_codec(policy: CommPolicy, width: int, number: int) -> None:
    like = policy.like
    count = torch.arange(3 * 4 * width, device=like.device)
    msg = random.normal(3, number, count, dtype=torch.float64).to(like.dtype).view(3, 4, width)
    want = _coded(policy, msg, number)
    for name, value in want.tensors().items():
        require_finite(_BITS, f"{name} of the codec", value, _ROW, "the message is finite")
    require((want.bits >= 0).all(), _BITS, "a message costs less than nothing.")
    for j in range(msg.shape[1]):
        others = (torch.arange(msg.shape[1], device=like.device) != j).view(1, -1, 1)
        for spoilt in (torch.where(others, torch.nan, msg), torch.where(others, 1e3 * msg, msg)):
            got, why = _coded(policy, spoilt, number), "only the messages of other agents were other ones"
            for name, value in got.tensors().items():
                require_bits(_BITS, f"{name} of the codec", value[:, j], want.tensors()[name][:, j], _ROW, why)
    for b in range(len(msg)):
        alone = _coded(policy, msg[b : b + 1], number, b)
        for name, value in alone.tensors().items():
            why = f"the messages of environment {b} were coded alone"
            require_close(_BITS, f"{name} of the codec", value[0], want.tensors()[name][b], _ROW[1:], why)
    if not policy.training:  # while training, noise may stand for what will be cut off
        _check_information(policy, width, number)


@torch.no_grad()
def check_channel(policy: CommPolicy, num_agents: int = 4) -> None:
    """What a medium does with the messages of an agent does not depend on what others say.

    That is: what arrives of them and over which edges, what is left in flight; for all together, how many arrivals
    there are, how old, and whether they are fresh. Tried over three stretches of ``STEPS`` steps, with messages of
    others turned around and NaN.
    """
    channel, like = policy.wire.channel, policy.like
    for number, layer in enumerate(policy.comm.rounds):
        width, rows = layer.msg_channels, 3 * num_agents
        entry = torch.arange(STEPS * rows * num_agents * width, device=like.device)
        said = random.normal(6, number, entry, dtype=torch.float64).to(like.dtype).view(STEPS, rows, num_agents, width)
        mine = torch.eye(num_agents, dtype=torch.bool, device=like.device).repeat(3, 1)  # one agent in each row
        everyone = Full()(torch.ones_like(mine))
        others = ~mine[:, :, None]
        key = torch.arange(3, device=like.device).repeat_interleave(num_agents)
        clean = _passed(channel, said, everyone, key, number)
        for spoilt in (torch.where(others, torch.nan, said), torch.where(others, -3 * said, said)):
            for want, got in zip(clean, _passed(channel, spoilt, everyone, key, number), strict=True):
                _require_same_passage(want, got, mine)


def _passed(channel: Channel, said: Tensor, graph: CommGraph, key: Tensor, number: int) -> list[Delivery]:
    """Deliveries of steps 0, 16 and 32 and following."""
    flight = said.new_zeros(*said.shape[1:3], channel.state_dim(said.shape[-1], said.shape[-2]))
    found = []
    for count, msg in enumerate(said):
        found.append(channel.carry(msg, graph, flight, Moment(key, 16 * key + count, number)))
        flight = found[-1].state
    return found


def _require_same_passage(want: Delivery, got: Delivery, mine: Tensor) -> None:
    why = "only the messages of other agents were other ones"
    theirs, ours = ([(item.fresh, item.age) for item in each.arrivals] for each in (got, want))
    require(theirs == ours, _EDGES, f"a channel delivers {theirs} (fresh, age) in place of {ours}: {why}.")
    require_bits(_EDGES, "what is in flight", got.state[mine], want.state[mine], _ROW[:1], why)
    for old, new in zip(want.arrivals, got.arrivals, strict=True):
        edges = [item.graph.dense.expand(len(mine), -1, -1)[mine] for item in (new, old)]
        require_bits(_EDGES, "edges of a channel", edges[0], edges[1], ("environment", "receiver"), why)
        heard = edges[1].any(-1, keepdim=True)
        require_bits(
            _EDGES, "what arrives", new.msg[mine].where(heard, 0), old.msg[mine].where(heard, 0), _ROW[:1], why
        )


def _coded(policy: CommPolicy, msg: Tensor, number: int, first: int = 0) -> Coded:
    key = torch.arange(first, first + len(msg), device=msg.device)
    coded: Coded = policy.wire.codec(msg, Moment(key, 1 + key, number))
    require(coded.bits.shape == msg.shape[:2], _BITS, f"{list(coded.bits.shape)} bits for messages {list(msg.shape)}.")
    return coded


def _check_information(policy: CommPolicy, width: int, number: int) -> None:
    r"""Mean bits are at least half the entropy of what is read, for one sender at one moment.

    No code does better than the entropy (Shannon 1948); half of it leaves room for codecs that state a rate which they
    estimate, as DDCL does.
    """
    like = policy.like
    count = torch.arange(MESSAGES * width, device=like.device)
    msg = random.normal(4, number, count, dtype=torch.float64).to(like.dtype).view(MESSAGES, 1, width)
    key = torch.zeros(MESSAGES, dtype=torch.int64, device=like.device)
    coded: Coded = policy.wire.codec(msg, Moment(key, key + 1, number))
    _, times = coded.msg.flatten(1).unique(dim=0, return_counts=True)
    share = times.double() / MESSAGES
    entropy, bits = -float((share * share.log2()).sum()), float(coded.bits.double().mean())
    message = (
        f"{type(policy.wire.codec).__name__} says that a message costs {bits:.3g} bits on average, but {len(times)} of "
        f"{MESSAGES} messages can be told apart when they are read, which takes {entropy:.3g}: count what is sent."
    )
    require(bits >= entropy / 2, _BITS, message)
