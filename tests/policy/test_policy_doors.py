"""What a policy is given must be of one batch, and what it decides with must be numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from gnncomm.channel import Delay
from gnncomm.deploy import LocalAgent, run_team, team_of
from gnncomm.deploy.mailbox import Inbox
from gnncomm.errors import DtypeError, GnnCommError, NonFiniteError, ShapeError
from gnncomm.layers import AttentionComm
from gnncomm.policy import GRU, LSTM, CommPolicy, Integration, PolicyState, WireState
from gnncomm.policy.checks import planted_nan
from gnncomm.topology import FromFunction
from gnncomm.types import SparseObs, TimeStep
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
    """A critic or encoder that spreads one number over all rows, or gives something else."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self, *told: object) -> object:
        return self.value


@pytest.mark.parametrize(
    ("part", "gives", "words"),
    [
        ("critic", torch.zeros(()), r"a critic that gives a number for each agent, \[3, 4\], got \[\]"),
        ("critic", torch.zeros(B, N, 1), r"\[3, 4\], got \[3, 4, 1\]"),
        ("critic", None, "got NoneType"),
        ("encoder", torch.zeros(1, N, 8), r"rows of width 8, \[3, 4, 8\], got \[1, 4, 8\]"),
    ],
)
def test_what_a_part_gives_is_not_spread_over_others(part: str, gives: object, words: str) -> None:
    """Torch would take one number, or those of one environment, for all."""
    parts: Any = {part: _Gives(gives)}
    policy = CommPolicy(D, A, AttentionComm(8, 8, heads=2), **parts)
    with pytest.raises(ShapeError, match=words):
        policy.act(moment(), policy.initial_state(B, N))


def test_a_topology_of_another_team_is_refused() -> None:
    two = FromFunction(lambda alive, *told: torch.ones(2, 2, dtype=torch.bool))
    policy = CommPolicy(D, A, AttentionComm(8, 8, heads=2), wire=Wire(topology=two))
    with pytest.raises(GnnCommError, match="4"):
        policy.act(moment(), policy.initial_state(B, N))
