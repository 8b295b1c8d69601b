"""What a policy is given must be of one batch, and what it decides with must be numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gnncomm.channel import Arrival, Channel, Delay, Delivery
from gnncomm.codec import Codec, Coded, Field, Fixed, Packet
from gnncomm.deploy import LocalAgent, run_team, team_of
from gnncomm.deploy.mailbox import Inbox
from gnncomm.errors import DtypeError, GnnCommError, NonFiniteError, ShapeError
from gnncomm.graph import CommGraph
from gnncomm.layers import AttentionComm, MeanComm
from gnncomm.policy import GRU, LSTM, CommPolicy, Integration, Memory, PolicyState, WireState
from gnncomm.policy.checks import planted_nan
from gnncomm.schedule import Schedule, Scheduler, Situation
from gnncomm.topology import FromFunction, Full, Topology
from gnncomm.types import Moment, SparseObs, TimeStep
from gnncomm.wire import Wire

B, N, D, A = 3, 4, 6, 5
"""No two are equal: what is transposed or repeated does not fit by chance."""


def moment(lead: tuple[int, ...] = (B,), **changes: Any) -> TimeStep:
    rows = (*lead, N)
    no = torch.zeros(lead, dtype=torch.bool)
    whole: dict[str, Any] = {
        "obs": torch.rand(*rows, D),
        "reward": torch.zeros(rows),
        "discount": torch.ones(rows),
        "alive": torch.ones(rows, dtype=torch.bool),
        "terminated": no,
        "truncated": no,
        "success": no,
        "first": no,
        "key": torch.arange(lead[-1]).expand(lead),
        "step": torch.ones(lead, dtype=torch.int64),
        "pos": torch.rand(*rows, 2),
        "entered": torch.zeros(rows, dtype=torch.bool),
        "action_mask": torch.ones(*rows, A, dtype=torch.bool),
    }
    return TimeStep(**whole | changes)


def policy(**parts: Any) -> CommPolicy:
    return CommPolicy(D, A, AttentionComm(8, 8), GRU(8), **parts)


SHAPES: dict[str, Callable[[TimeStep], dict[str, Any]]] = {
    "obs of one agent": lambda now: {"obs": now.obs[:, :1]},
    "obs of one environment": lambda now: {"obs": now.obs[:1]},
    "obs without environments": lambda now: {"obs": now.obs[0]},
    "obs transposed": lambda now: {"obs": now.obs.transpose(0, 1)},
    "obs of another N": lambda now: {"obs": torch.rand(B, N + 1, D)},
    "obs as a list": lambda now: {"obs": now.obs.tolist()},
    "obs as an array": lambda now: {"obs": now.obs.numpy()},
    "sparse obs of one agent": lambda now: {
        "obs": SparseObs(torch.zeros(B, 1, 2, dtype=torch.int64), torch.ones(B, 1, 2), D)
    },
    "sparse obs with one value": lambda now: {
        "obs": SparseObs(torch.zeros(B, N, 2, dtype=torch.int64), torch.ones(B, N, 1), D)
    },
    "step of one environment": lambda now: {"step": now.step[:1]},
    "step without environments": lambda now: {"step": now.step[0]},
    "step of each agent": lambda now: {"step": now.step[:, None].expand(B, N)},
    "key of one environment": lambda now: {"key": now.key[:1]},
    "first of one environment": lambda now: {"first": now.first[:1]},
    "first of each agent": lambda now: {"first": now.alive & False},
    "alive of one agent": lambda now: {"alive": now.alive[:, :1]},
    "alive of one environment": lambda now: {"alive": now.alive[:1]},
    "alive without environments": lambda now: {"alive": now.alive[0]},
    "alive as a list": lambda now: {"alive": now.alive.tolist()},
    "alive as numbers": lambda now: {"alive": now.alive.float()},
    "entered of one agent": lambda now: {"entered": now.entered[:, :1]},
    "pos of one agent": lambda now: {"pos": now.pos[:, :1]},
    "mask of one agent": lambda now: {"action_mask": now.action_mask[:, :1]},
}


@pytest.mark.parametrize("change", SHAPES.values(), ids=SHAPES.keys())
def test_act_repeats_nothing_to_fit(change: Any) -> None:
    subject, now = policy(), moment()
    with pytest.raises((ShapeError, ValueError), match=r"Expected .* got") as caught:
        subject.act(replace(now, **change(now)), subject.initial_state(B, N))
    assert type(caught.value).__module__ == "gnncomm.errors"


@pytest.mark.parametrize("change", SHAPES.values(), ids=SHAPES.keys())
def test_unroll_repeats_nothing_to_fit(change: Any) -> None:
    """The same faults behind an axis of time."""
    subject, now = policy(), moment()
    spoilt = moment((2, B))
    for name, value in change(now).items():
        if isinstance(value, SparseObs):
            value = value.map(lambda x: torch.stack([x, x]))
        elif isinstance(value, torch.Tensor):
            value = torch.stack([value, value])
        spoilt = replace(spoilt, **{name: value})
    with pytest.raises((ShapeError, ValueError), match=r"Expected .* got") as caught:
        subject.unroll(spoilt, torch.zeros(2, B, N, dtype=torch.int64), subject.initial_state(B, N))
    assert type(caught.value).__module__ == "gnncomm.errors"


def test_states_of_another_batch_or_policy() -> None:
    subject, now = policy(wire=Wire(channel=Delay(2))), moment()
    state = subject.initial_state(B, N)
    assert state.wire is not None
    spoilt = [
        subject.initial_state(1, N),
        subject.initial_state(B, 1),
        PolicyState(state.memory[..., :-1], state.wire),
        PolicyState(state.memory, state.wire.map(lambda x: x[:1])),
        PolicyState(state.memory, state.wire.map(lambda x: x[:, :1])),
        PolicyState(state.memory, WireState(state.wire.schedule, state.wire.flight[..., :1])),
        policy().initial_state(B, N),
    ]
    for wrong in spoilt:
        with pytest.raises(ShapeError, match=r"[Ee]xpected .*state.* got"):
            subject.act(now, wrong)
        with pytest.raises(ShapeError, match=r"[Ee]xpected .*state.* got"):
            subject.unroll(moment((2, B)), torch.zeros(2, B, N, dtype=torch.int64), wrong)
    with pytest.raises(DtypeError, match=r"state\.memory of torch.float32, got torch.float64"):
        subject.act(now, replace(state, memory=state.memory.double()))
    with pytest.raises(ShapeError, match="one key"):
        subject.act(now, state, torch.arange(B))
    with pytest.raises(ShapeError, match=r"action \[T, B, N\]"):
        subject.unroll(moment((2, B)), torch.zeros(2, B, 1, dtype=torch.int64), state)


@pytest.mark.parametrize("memory", [GRU, LSTM])
@pytest.mark.parametrize("integration", list(Integration))
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_memory_that_is_no_number_is_no_action(memory: Any, integration: Integration, bad: float) -> None:
    subject = CommPolicy(D, A, AttentionComm(8, 8), memory(8), integration)
    state = subject.initial_state(B, N)
    state.memory[1, 2, 3] = bad
    if memory is GRU or bad != torch.inf:  # a saturated cell: tanh of infinity is a number
        with pytest.raises(NonFiniteError, match=r"state\.memory of agent 2 in environment 1 holds NaN or infinity"):
            subject.act(moment(), state)
    subject.act(moment(first=torch.ones(B, dtype=torch.bool)), state)  # it is forgotten
    alive = torch.ones(B, N, dtype=torch.bool)
    alive[1, 2] = False
    with planted_nan():
        subject.act(moment(alive=alive), state)


@pytest.mark.parametrize(
    "name", ["actor.weight", "actor.bias", "encoder.weight", "memory.weight_hh", "comm.layers.0", "critic"]
)
def test_a_weight_that_is_no_number_is_named(name: str) -> None:
    subject = policy()
    full = min(key for key, _ in subject.named_parameters() if key.startswith(name))
    with torch.no_grad():
        dict(subject.named_parameters())[full].view(-1)[0] = torch.nan
    state = subject.initial_state(B, N)
    state.memory.add_(1)
    with pytest.raises(NonFiniteError, match=f"The weight '{full}' holds NaN or infinity in 1 entries"):
        subject.act(moment(), state)
    with pytest.raises(NonFiniteError, match=r"agent \d in environment \d"):
        subject.act(moment(), state)


def test_numbers_beyond_float32() -> None:
    subject = policy()
    with pytest.raises(NonFiniteError, match=r"agent 0 in environment 0.*too large"):
        subject.act(moment(obs=torch.full((B, N, D), 3e38)), subject.initial_state(B, N))


def test_the_dead_may_hold_anything() -> None:
    subject = policy()
    state = subject.initial_state(B, N)
    alive = torch.ones(B, N, dtype=torch.bool)
    alive[0, 1] = False
    state.memory[0, 1] = torch.nan
    decision = subject.act(moment(alive=alive, obs=torch.rand(B, N, D)), state)
    assert bool(decision.log_prob[alive].isfinite().all())


def test_a_local_agent_refuses_the_same() -> None:
    subject = policy().eval()
    agent = LocalAgent(subject, 2)
    width = subject.comm.rounds[0].msg_channels

    def decide(memory: torch.Tensor | None = None, heard: Inbox | torch.Tensor | None = None) -> Any:
        agent.reset(memory)
        agent.observe(torch.rand(D))
        agent.say()
        agent.hear(torch.zeros(0, width) if heard is None else heard)
        return agent.decide()

    decide()
    with pytest.raises(NonFiniteError, match=r"Agent 2 .*remembers"):
        decide(memory=torch.full((8,), torch.nan))
    with pytest.raises(NonFiniteError, match=r"Agent 2 .*heard from agent 7"):
        decide(heard=Inbox(torch.tensor([0, 7]), torch.tensor([[0.0] * width, [torch.nan] * width])))
    with pytest.raises(ShapeError, match=r"senders \[S=2\]"):
        decide(heard=Inbox(torch.tensor([0]), torch.zeros(2, width)))
    with pytest.raises(ShapeError, match=r"edge_weight \[S=2"):
        decide(heard=Inbox(torch.tensor([0, 1]), torch.zeros(2, width), edge_weight=torch.ones(1)))
    with torch.no_grad():
        subject.actor.bias[1] = torch.nan
    with pytest.raises(NonFiniteError, match=r"Agent 2 .*'actor\.bias'"):
        decide()
    now = moment(action_mask=None, entered=None, pos=None)
    with pytest.raises(NonFiniteError, match=r"Agent 0 "):
        run_team(team_of(subject, N), now)


class _Gives(torch.nn.Module):
    """A part that gives ``value`` whatever it is told."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self, *told: object) -> object:
        return self.value


class _Bytes(Codec):
    """Numbers between 0 and 1 in 8 bits."""

    def fields(self, channels: int, dtype: torch.dtype) -> tuple[Field, ...]:
        return (Fixed(channels, 256),)

    def encode(self, msg: Tensor, moment: Moment) -> Packet:
        return self.packet(msg.clamp(0, 1).mul(255).round(), msg)

    def decode(self, packet: Packet, moment: Moment) -> Tensor:
        return packet.symbols.to(packet.dtype) / 255


class _Open(Scheduler):
    def forward(self, now: Situation) -> Schedule:
        return Schedule(now.graph, now.msg, now.state)


BASES = {"codec": _Bytes, "scheduler": _Open, "channel": Channel, "memory": Memory, "comm": MeanComm}


def _like(part: str, **verbs: Any) -> Any:
    """A part that is all right but for ``verbs``."""
    mine: Any = type("Mine", (BASES[part],), verbs)
    return mine(8, 8) if part == "comm" else mine(8) if part == "memory" else mine()


def _schedules(**fields: Callable[[Situation], Any]) -> Any:
    """A scheduler whose schedule has other fields."""
    sampled = {"num_choices": 1} if "choice" in fields else {}

    def forward(_: Any, now: Situation) -> Schedule:
        schedule = Schedule(now.graph, now.msg, now.state)
        return replace(schedule, **{name: make(now) for name, make in fields.items()})

    return _like("scheduler", forward=forward, **sampled)


def _coded(make: Callable[[Tensor], Coded]) -> Any:
    return _like("codec", forward=lambda _, msg, moment: make(msg))


def _delivers(make: Callable[[Tensor, CommGraph, Tensor], Any]) -> Any:
    return _like("channel", pass_on=lambda _, msg, graph, state, moment: make(msg, graph, state))


def _chosen(now: Situation) -> Tensor:
    return torch.zeros(B, N, 1, dtype=torch.int64)


FEW = CommGraph.from_dense(torch.ones(1, 2, 2, dtype=torch.bool))
GIVEN: list[tuple[str, Any, str]] = [
    ("critic", _Gives(torch.zeros(())), r"the critic gives .* = \[3, 4\].*got \[\]"),
    ("critic", _Gives(torch.zeros(B, N, 1)), r"\[3, 4\].*got \[3, 4, 1\]"),
    ("critic", _Gives(None), "got NoneType"),
    ("encoder", _Gives(torch.zeros(1, N, 8)), r"the encoder gives .* = \[3, 4, 8\].*got \[1, 4, 8\]"),
    ("encoder", _Gives(torch.zeros(B, N, 8).double()), r"of torch.float32, got \[3, 4, 8\] of torch.float64"),
    ("actor", _Gives(torch.zeros(B, 1, A)), r"the actor gives .* = \[3, 4, 5\].*got \[3, 1, 5\]"),
    ("actor", _Gives((1, 2)), "got tuple"),
    ("memory", _like("memory", step=lambda _, x, state: x), "memory gives, .out, state., as a tuple"),
    ("memory", _like("memory", step=lambda _, x, state: (x[:1], state)), r"= \[12, 8\].*got \[1, 8\]"),
    ("memory", _like("memory", step=lambda _, x, state: (x, None)), r"state \[R, S\].*got NoneType"),
    ("memory", _like("memory", state_dim=None), "Mine.state_dim: expected a whole number"),
    ("comm", _like("comm", send=lambda _, h: h[:, :1]), r"messages from send .* = \[3, 4, 8\].*got \[3, 1, 8\]"),
    ("comm", _like("comm", send=lambda _, h: None), "messages from send .*got NoneType"),
    ("comm", _like("comm", query=lambda _, h: h[:, :1]), r"rows from query .* = \[3, 4, any\].*got \[3, 1, 8\]"),
    ("comm", _like("comm", combine=lambda _, h, inbox: (h, inbox)), "rows from combine .*got tuple"),
    ("comm", _like("comm", edge_inbox=lambda _, msg, *told: msg[:3]), r"inboxes .* = \[12, any\].*got \[3, 8\]"),
    ("codec", _coded(lambda msg: msg), "what forward gives as a Coded, got Tensor"),
    ("codec", _coded(lambda msg: Coded(msg[:, :1], msg[..., 0])), r"as read .* = \[3, 4, 8\].*got \[3, 1, 8\]"),
    ("codec", _coded(lambda msg: Coded(msg.double(), msg[..., 0])), "torch.float64"),
    ("codec", _coded(lambda msg: Coded(msg, msg[0, :, 0])), r"bits \[B, N\] = \[3, 4\], got \[4\]"),
    ("codec", _coded(lambda msg: Coded(msg, msg[..., 0], msg.sum())), r"cost \[B, N\] = \[3, 4\], got \[\]"),
    ("codec", _like("codec", encode=lambda _, msg, moment: msg), "what encode gives as a Packet"),
    ("codec", _like("codec", encode=lambda self, msg, moment: self.packet(msg[0], msg)), r"\[3, 4, 8\].*got \[4, 8\]"),
    ("codec", _like("codec", fields=lambda _, channels, dtype: Fixed(channels, 2)), "a tuple of Field"),
    ("codec", _like("codec", decode=lambda _, packet, moment: packet.symbols[:1]), r"from decode .*got \[1, 4, 8\]"),
    ("codec", _like("codec", smooth=lambda _, msg, moment: msg[..., :1]), r"from smooth .*got \[3, 4, 1\]"),
    ("scheduler", _like("scheduler", forward=lambda _, now: now.graph), "as a Schedule, got CommGraph"),
    ("scheduler", _schedules(graph=lambda now: now.graph.dense), "graph as a CommGraph, got Tensor"),
    ("scheduler", _schedules(graph=lambda now: FEW), "graph of 4 agents, .*got 1 of 2"),
    ("scheduler", _schedules(msg=lambda now: now.msg[:1]), r"msg .* = \[3, 4, 8\].*got \[1, 4, 8\]"),
    ("scheduler", _schedules(state=lambda now: now.msg), r"state .* = \[3, 4, 0\].*got \[3, 4, 8\]"),
    ("scheduler", _schedules(choice=_chosen), "a choice and log_prob, as num_choices is 1"),
    ("scheduler", _schedules(log_prob=lambda now: now.h[..., 0]), "no choice and log_prob, as num_choices is 0"),
    (
        "scheduler",
        _schedules(choice=lambda now: now.h[..., :1], log_prob=lambda now: now.h[..., 0]),
        "torch.int64, got",
    ),
    ("scheduler", _schedules(choice=_chosen, log_prob=lambda now: now.h[0, :, 0]), r"log_prob .*got \[4\]"),
    ("scheduler", _schedules(entropy=lambda now: now.h.sum()), r"entropy .*got \[\]"),
    ("scheduler", _schedules(cost=lambda now: 0.5), "cost .*got float"),
    ("scheduler", _schedules(bits=lambda now: now.h[:, :1, 0]), r"bits .*got \[3, 1\]"),
    ("scheduler", _schedules(sent=lambda now: now.h[0, :, 0] > 0), r"sent .*torch.bool, got \[4\]"),
    ("scheduler", _schedules(deaf=lambda now: now.h[..., 0]), "deaf .*of torch.bool, got .*float32"),
    ("scheduler", _schedules(candidates=lambda now: now.graph), "candidates with weights"),
    ("scheduler", _like("scheduler", carried_dim=lambda _, channels: 2.0), "carried_dim: expected a whole number"),
    ("scheduler", _like("scheduler", num_choices=-1), "num_choices: expected a whole number"),
    ("channel", _like("channel", deliver=lambda *told: None), "arrive as a CommGraph, got NoneType"),
    ("channel", _like("channel", deliver=lambda *told: FEW), "arrive of 4 agents, .*got 1 of 2"),
    ("channel", _like("channel", transmit=lambda _, msg, moment: msg[:1]), r"= \[3, 4, 8\].*got \[1, 4, 8\]"),
    ("channel", _like("channel", transmit=lambda _, msg, moment: msg.double()), "of torch.float32, got"),
    ("channel", Delay(1) + _like("channel", transmit=lambda _, msg, moment: msg[:1]), r"Mine: .*got \[1, 4, 8\]"),
    ("channel", _delivers(lambda msg, graph, state: Arrival(msg, graph)), "as a Delivery, got Arrival"),
    ("channel", _delivers(lambda msg, graph, state: Delivery((), state)), "one at least, got tuple, empty"),
    ("channel", _delivers(lambda msg, graph, state: Delivery((Arrival(msg, graph),), msg)), "carried_dim"),
    ("channel", _like("channel", carried_dim=lambda *told: -1), "carried_dim: expected a whole number"),
    ("topology", FromFunction(lambda alive, *told: torch.ones(2, 2, dtype=torch.bool)), "4"),
]


@pytest.mark.parametrize(("part", "mine", "words"), GIVEN, ids=[f"{part}-{n}" for n, (part, *_) in enumerate(GIVEN)])
def test_what_a_part_gives_is_not_spread_over_others(part: str, mine: Any, words: str) -> None:
    """Torch would take one number, or those of one environment, for all, or fail somewhere far from the part."""
    on_wire = part in ("topology", "scheduler", "codec", "channel")
    parts: dict[str, Any] = {"wire": Wire(**{part: mine})} if on_wire else {part: mine}

    def acts() -> None:
        policy = CommPolicy(D, A, parts.pop("comm", MeanComm(8, 8)), **parts)
        policy.act(moment(), policy.initial_state(B, N), key=1)

    with pytest.raises(GnnCommError, match=words):
        acts()


def test_a_topology_that_takes_other_arguments_is_refused() -> None:
    with pytest.raises(GnnCommError, match="Mine: expected __call__"):
        type("Mine", (Topology,), {"__call__": lambda self, alive: Full()(alive)})
