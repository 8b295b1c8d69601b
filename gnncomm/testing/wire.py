"""The laws of the wire: no edge from nowhere, and bits that pay for what is said."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gnncomm.policy import CommPolicy
from gnncomm.testing.codec import check_codec
from gnncomm.testing.law import require, require_finite
from gnncomm.testing.locality import Trial
from gnncomm.testing.trace import Seen, play
from gnncomm.types import TimeStep

_EDGES, _BITS = "the wire", "bits"
_ROW = ("environment", "agent")


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
    like = policy.like
    for number, layer in enumerate(policy.comm.rounds):
        check_codec(policy.wire.codec, layer.msg_channels, like.dtype, number, like.device)
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
