"""Cheats on the wire: channels, codecs and schedulers that carry more than they say, or charge less than they carry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from gnncomm import envs
from gnncomm.channel import Arrival, Channel, Delay, Delivery, Ideal, Jitter
from gnncomm.codec import Coded, Float32
from gnncomm.errors import GraphError
from gnncomm.graph import CommGraph
from gnncomm.layers import MeanComm
from gnncomm.policy import GRU, CommPolicy, Decision, PolicyState
from gnncomm.schedule import Always, Decider, Gate, GumbelEdges, HardSoft, Schedule, Scheduler, Situation
from gnncomm.testing import LawError, check_policy
from gnncomm.testing import policy as laws
from gnncomm.topology import Full, Line, Ring, Topology
from gnncomm.types import Moment, TimeStep, VectorEnv
from gnncomm.wire import Wire

H = 8


def env() -> VectorEnv:
    return envs.make("predator_prey", num_envs=3, num_agents=5, max_steps=4)


def policy(wire: Wire, kind: type[CommPolicy] = CommPolicy) -> CommPolicy:
    torch.manual_seed(0)
    return kind(env().obs_dim, env().num_actions, MeanComm(H, H), GRU(H), "before", wire)


def team_mean(rows: Tensor) -> Tensor:
    """Of all agents, whatever is not finite left out."""
    return rows.nan_to_num(posinf=0.0, neginf=0.0).mean(-2, keepdim=True).expand_as(rows)


# Channels


@dataclass(frozen=True)
class Board(Channel):
    """At the next step everybody hears the team's mean as well."""

    def carried_dim(self, msg_channels: int, num_agents: int) -> int:
        return msg_channels

    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        return Delivery((Arrival(msg + state, graph),), team_mean(msg))


@dataclass(frozen=True)
class QuietBoard(Board):
    """What is in flight belongs to each sender; it is mixed when it arrives, over edges of nobody."""

    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        return Delivery((Arrival(msg + team_mean(state), graph, fresh=False),), msg)


@dataclass(frozen=True)
class Everyone(Channel):
    """Delivers to all."""

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        everyone = ~torch.eye(graph.num_agents, dtype=torch.bool)
        return CommGraph.from_dense(everyone.expand(len(moment.key), -1, -1))


@dataclass(frozen=True)
class EveryoneLater(Delay):
    """Delivers what was sent before to all, and says that it is old."""

    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        late = super().pass_on(msg, graph, state, moment)
        everyone = Everyone().deliver(graph, moment)
        return replace(late, arrivals=tuple(replace(item, graph=everyone) for item in late.arrivals))


@dataclass(frozen=True)
class CallsItOld(Everyone):
    """Delivers to all, and says that it is old."""

    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        return Delivery((Arrival(msg, self.deliver(graph, moment), fresh=False),), state)


@dataclass(frozen=True)
class Mixes(Channel):
    """A little of the team's mean is in every message."""

    def transmit(self, msg: Tensor, moment: Moment) -> Tensor:
        return msg + 1e-3 * team_mean(msg)


class Memo:
    rows: Tensor | None = None


@dataclass(frozen=True)
class Remembers(Channel):
    """Carries nothing by the book, but keeps the last team's mean in an attribute."""

    memo: Memo

    def transmit(self, msg: Tensor, moment: Moment) -> Tensor:
        last, self.memo.rows = self.memo.rows, team_mean(msg)
        return msg if last is None or last.shape != msg.shape else msg + last


CHANNELS: dict[str, Callable[[], Channel]] = {
    "board": Board,
    "quiet board": QuietBoard,
    "everyone": Everyone,
    "everyone later": lambda: EveryoneLater(1),
    "calls it old": CallsItOld,
    "mixes": Mixes,
    "remembers": lambda: Remembers(Memo()),
    "board in series": lambda: Jitter(1) + Board(),
}


@pytest.mark.parametrize("scheduler", [Always, lambda: Gate(H), lambda: GumbelEdges(H, heads=0)])
@pytest.mark.parametrize("topology", [Line(), Ring()])
@pytest.mark.parametrize("name", CHANNELS)
def test_a_channel_that_carries_more_than_it_was_given_is_caught(
    name: str, topology: Topology, scheduler: Callable[[], Scheduler]
) -> None:
    # A policy may refuse such an edge by itself.
    with pytest.raises((LawError, GraphError)):
        check_policy(policy(Wire(topology, scheduler(), channel=CHANNELS[name]())), env())


@pytest.mark.parametrize("channel", [Board(), QuietBoard(), Everyone(), Mixes()])
def test_the_mailbox_does_not_hide_it(channel: Channel) -> None:
    """Each sender's medium knows its messages only, so that a team of its own agents hears something else."""
    laws.check_split_brain(policy(Wire(Line(), channel=Ideal())).double(), env())
    with pytest.raises((LawError, GraphError), match=r"Law of split-brain|edge"):
        laws.check_split_brain(policy(Wire(Line(), channel=channel)).double(), env())


@pytest.mark.parametrize("channel", [Board(), Remembers(Memo())])
def test_what_is_carried_on_is_looked_at(channel: Channel) -> None:
    subject = policy(Wire(Line(), channel=channel)).double().eval()
    with pytest.raises(LawError, match="Law of poison broken"):
        laws.check_poison(subject, laws.trial(subject, env(), length=3))


def loud(msg: Tensor) -> Tensor:
    """``[B]`` bool: a secret of the whole team."""
    return team_mean(msg)[:, 0].sum(-1) > 0


class TellsByAge(Channel):
    """The age of a message says something about the team."""

    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        return Delivery((Arrival(msg, graph, age=int(loud(msg).sum())),), state)


class TellsByFreshness(Channel):
    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        return Delivery((Arrival(msg, graph, fresh=bool(loud(msg)[0])),), state)


class TellsByCopies(Channel):
    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        return Delivery((Arrival(msg, graph),) * (1 + int(loud(msg)[0])), state)


class TellsBySilence(Channel):
    """Loses everything while the team is loud: nothing more arrives than was sent."""

    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        dense = graph.to_layout("dense").expand(len(msg))
        return Delivery((Arrival(msg, dense.keep(dense.dense & ~loud(msg)[:, None, None])),), state)


class MixesLate(Channel):
    """At steps that no episode of the trial reaches."""

    def transmit(self, msg: Tensor, moment: Moment) -> Tensor:
        return torch.where((moment.step == 39)[:, None, None], msg + 1e-3 * team_mean(msg), msg)


@pytest.mark.parametrize("channel", [TellsByAge, TellsByFreshness, TellsByCopies, TellsBySilence, MixesLate])
def test_a_channel_that_tells_of_others_beside_the_messages_is_caught(channel: type[Channel]) -> None:
    with pytest.raises(LawError, match="Law of the wire broken"):
        check_policy(policy(Wire(Line(), channel=channel())), env())


class JoinsTheDead(Topology):
    def __call__(
        self, alive: Tensor, pos: Tensor | None = None, step: Tensor | int = 0, key: Tensor | int | None = None
    ) -> CommGraph:
        return Line()(torch.ones_like(alive))


def test_a_topology_that_joins_the_dead_is_caught() -> None:
    """Also where the environment shows no dead: what they would see and say is nobody's."""
    with pytest.raises(LawError, match="topology gives: one of both is not alive"):
        check_policy(policy(Wire(JoinsTheDead())), env())


# Schedulers


class Decided(Scheduler):
    """Everyone talks; subclasses change that."""

    decider = Decider.NOBODY

    def forward(self, now: Situation) -> Schedule:
        return Schedule(now.graph, now.msg, now.state)


class AddsEdges(Decided):
    """Uses edges that the topology lacks."""

    def forward(self, now: Situation) -> Schedule:
        everyone = ~torch.eye(now.graph.num_agents, dtype=torch.bool)
        return super().forward(replace(now, graph=CommGraph.from_dense(everyone.expand(len(now.h), -1, -1))))


class MixesMessages(Decided):
    def forward(self, now: Situation) -> Schedule:
        return super().forward(replace(now, msg=now.msg + 1e-3 * team_mean(now.msg)))


class SharesItsState(Decided):
    def carried_dim(self, msg_channels: int) -> int:
        return msg_channels

    def forward(self, now: Situation) -> Schedule:
        return super().forward(replace(now, msg=now.msg + now.state, state=team_mean(now.msg)))


class ChargesTheTeam(Decided):
    """A cost term that mixes rows."""

    def forward(self, now: Situation) -> Schedule:
        return replace(super().forward(now), cost=team_mean(now.h).mean(-1))


class LooksAtOthers(Decided):
    """Says that nobody's row decides, and looks who is loudest."""

    def forward(self, now: Situation) -> Schedule:
        size = now.h.nan_to_num(posinf=0.0, neginf=0.0).norm(dim=-1)
        loud = size >= size.mean(-1, keepdim=True)
        return super().forward(replace(now, graph=now.graph.keep_where(sender=loud)))


class AnnouncesForNothing(HardSoft):
    """Whole rows go to all who decide, for 0 bits."""

    decider = Decider.ANNOUNCED

    def forward(self, now: Situation) -> Schedule:
        return replace(super().forward(now), bits=None)


class AnnouncesForLittle(AnnouncesForNothing):
    def forward(self, now: Situation) -> Schedule:
        schedule = super().forward(now)
        return replace(schedule, bits=torch.ones_like(schedule.msg[..., 0]))


SCHEDULERS: dict[str, tuple[Callable[[], Scheduler], str]] = {
    "adds edges": (AddsEdges, "the wire"),
    "mixes messages": (MixesMessages, "poison"),
    "shares its state": (SharesItsState, "poison"),
    "charges the team": (ChargesTheTeam, "poison"),
    "looks at others": (LooksAtOthers, "poison"),
    "announces for nothing": (lambda: AnnouncesForNothing(H), "bits"),
    "announces for little": (lambda: AnnouncesForLittle(H), "bits"),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_that_knows_more_than_it_says_is_caught(name: str) -> None:
    build, law = SCHEDULERS[name]
    with pytest.raises((LawError, GraphError), match=rf"Law of {law} broken|edge"):
        check_policy(policy(Wire(Line(), build())), env())


def test_announcements_that_are_paid_pass() -> None:
    check_policy(policy(Wire(Line(), HardSoft(H))), env())


# Codecs


class Changed(Float32):
    """Changed by subclasses."""

    def forward(self, msg: Tensor, moment: Moment) -> Coded:
        return self.change(super().forward(msg, moment))

    def change(self, coded: Coded) -> Coded:
        return coded


class FreeOfCharge(Changed):
    def change(self, coded: Coded) -> Coded:
        return replace(coded, bits=torch.zeros_like(coded.bits))


class AlmostFree(Changed):
    def change(self, coded: Coded) -> Coded:
        return replace(coded, bits=torch.full_like(coded.bits, 0.1))


class PaysYou(Changed):
    def change(self, coded: Coded) -> Coded:
        return replace(coded, bits=torch.full_like(coded.bits, -1e9))


class PaysYouBack(Changed):
    """Right on average."""

    def change(self, coded: Coded) -> Coded:
        return replace(coded, bits=torch.where(coded.msg[..., 0] > 0, 3 * coded.bits, -coded.bits))


class CostsNaN(Changed):
    def change(self, coded: Coded) -> Coded:
        return replace(coded, bits=torch.full_like(coded.bits, torch.nan))


class CountsTheTeam(Changed):
    """Bits of one message depend on those of others."""

    def change(self, coded: Coded) -> Coded:
        return replace(coded, bits=coded.bits + team_mean(coded.msg).abs().sum(-1))


class CountsTheBatch(Changed):
    def change(self, coded: Coded) -> Coded:
        return replace(coded, bits=coded.bits + coded.msg.shape[0])


class CountsCalls(Changed):
    """Bits are no function of what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def change(self, coded: Coded) -> Coded:
        self.calls += 1
        return replace(coded, bits=coded.bits + self.calls)


class ChargesForOthers(Changed):
    """A cost term that mixes rows."""

    def change(self, coded: Coded) -> Coded:
        return replace(coded, cost=team_mean(coded.msg).square().mean(-1))


class ScalesByTheTeam(Changed):
    """One scale for all agents' messages."""

    def change(self, coded: Coded) -> Coded:
        scale = coded.msg.nan_to_num().abs().amax((1, 2), keepdim=True).clamp(min=1e-9)
        return replace(coded, msg=(coded.msg / scale * 127).round() * scale / 127)


CODECS = [
    *(FreeOfCharge, AlmostFree, PaysYou, PaysYouBack, CostsNaN),
    *(CountsTheTeam, CountsTheBatch, CountsCalls, ChargesForOthers, ScalesByTheTeam),
]


def test_a_codec_that_counts_right_passes() -> None:
    check_policy(policy(Wire(Line(), codec=Changed())), env())


@pytest.mark.parametrize("cheat", CODECS, ids=lambda cheat: cheat.__name__)
def test_a_codec_that_counts_wrongly_is_caught(cheat: type[Changed]) -> None:
    with pytest.raises(LawError, match=r"Law of (bits|poison|batch independence) broken"):
        check_policy(policy(Wire(Line(), codec=cheat())), env())


# Only sometimes


def leaking(when: Callable[[CommPolicy, Tensor], bool]) -> type[CommPolicy]:
    """A policy that subtracts the mean over the team ``when`` it does."""

    class Leaks(CommPolicy):
        def after_rounds(self, x: Tensor, received: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
            if when(self, x):
                received = received - 1e-3 * team_mean(received)
            return super().after_rounds(x, received, memory)

    return Leaks


SOMETIMES: dict[str, Callable[[CommPolicy, Tensor], bool]] = {
    "in evaluation": lambda policy, _: not policy.training,
    "in training": lambda policy, _: policy.training,
    "without gradients": lambda _policy, _: not torch.is_grad_enabled(),
    "with gradients": lambda _policy, _: torch.is_grad_enabled(),
    "in float32": lambda _policy, x: x.dtype == torch.float32,
    "in float32, in evaluation": lambda policy, x: x.dtype == torch.float32 and not policy.training,
    "for many rows": lambda _policy, x: x.shape[:-1].numel() > 64,
    "for few rows": lambda _policy, x: x.shape[:-1].numel() <= 64,
    "for one team": lambda _policy, x: x.dim() == 3 and len(x) == 1,
}


@pytest.mark.parametrize("when", SOMETIMES)
def test_a_leak_that_is_there_sometimes_is_caught(when: str) -> None:
    with pytest.raises(LawError):
        check_policy(policy(Wire(Line()), leaking(SOMETIMES[when])), env())


class KeepsTheTeam(CommPolicy):
    """Keeps the mean over the team in an attribute, and reads it at the next step."""

    last: Tensor | None = None

    def act(self, timestep: TimeStep, state: PolicyState, key: int | Tensor | None = None) -> Decision:
        decision = super().act(timestep, state, key)
        last, self.last = self.last, team_mean(decision.logits)
        if last is None or last.shape != decision.logits.shape:
            return decision
        return replace(decision, logits=decision.logits + last)


def test_what_is_kept_beside_the_state_is_caught() -> None:
    with pytest.raises(LawError):
        check_policy(policy(Wire(Line()), KeepsTheTeam), env())
    subject = policy(Wire(Line()), KeepsTheTeam).double()
    with pytest.raises(LawError, match=r"Law of poison broken: logits"):
        laws.check_poison(subject, laws.trial(subject, env(), length=3))


def test_modes_are_left_as_they_were() -> None:
    subject = policy(Wire(Full()))
    subject.eval()
    subject.memory.train()
    before = {name: module.training for name, module in subject.named_modules()}
    check_policy(subject, env())
    assert {name: module.training for name, module in subject.named_modules()} == before
