"""Success on ``relay`` under a channel has a closed form; measured with weights set by hand.

The first agent says the symbol, everyone passes on what it heard, and who knows nothing names symbol 0. The table of
docs/closed_forms.md is printed by ``python tests/channel/test_closed_forms.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gnncomm import channel, envs
from gnncomm.evaluation import Interval, play, wilson
from gnncomm.evaluation.play import team
from gnncomm.layers import CommStack, MeanComm
from gnncomm.policy import CommPolicy, Memory
from gnncomm.topology import Line
from gnncomm.wire import Wire

S = 8
EPISODES = 20_000


class Sum(Memory):
    """Remembers the sum of all rows."""

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden)
        self.state_dim = hidden

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return state + x, state + x


@dataclass(frozen=True)
class Case:
    """A channel, the task, and the success that the closed form predicts."""

    channel: str
    predicted: float
    settings: dict[str, Any] = field(default_factory=dict)
    remembers: bool = False

    def __str__(self) -> str:
        task = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return f"{self.channel} ({task}{', remembers' if self.remembers else ''})"


def guess(q: float) -> float:
    """Success where the symbol is unknown with probability ``q``."""
    return (1 - q) + q / S


def cases() -> list[Case]:
    found = []
    for p in (0.1, 0.3, 0.5, 0.9):
        for agents in (2, 3, 4):
            found.append(Case(f"loss:p={p}", guess(1 - (1 - p) ** (agents - 1)), {"num_agents": agents}))
        found.append(Case(f"burst:p={p},length=20", guess(p), {"num_agents": 2}))
        several = {"num_agents": 2, "steps": 5}
        found.append(Case(f"loss:p={p}", guess(p**5), several, remembers=True))
        found.append(Case(f"burst:p={p},length=20", guess(p * (1 - 1 / 20) ** 4), several, remembers=True))
        found.append(Case(f"delay:steps=2 + loss:p={p}", guess(p**3), several, remembers=True))
    for steps in (1, 3):
        for agents in (2, 3):
            known = (agents - 1) * steps <= 3
            found.append(Case(f"delay:steps={steps}", guess(not known), {"num_agents": agents, "steps": 4}))
    for most in (2, 5, 9):
        once = {"num_agents": 2, "steps": 3, "seen": "first"}
        found.append(Case(f"jitter:max={most}", guess(1 - min(1.0, 3 / (most + 1))), once, remembers=True))
    for kept in (1, 2, 4, 8):
        found.append(Case(f"budget:beta={kept / (2 * S)}", (kept + (kept < S)) / S if kept <= S else 1.0, {}))
    return found


def relay_by_hand(env: Any, wire: Wire, remembers: bool, decoys: bool) -> CommPolicy:
    """Rows: the symbol one-hot, and 1 for who sees it. Messages: the same symbol, and with ``decoys`` S more numbers.

    With decoys number s is worth s + 1 and decoy j is worth j + 1/2, so among the k largest of 2 S numbers are the
    symbols s >= S - k.
    """
    width = S + 1
    layer = MeanComm(width, width, 2 * S)
    comm = CommStack([layer] * max(env.num_agents - 1, 1))
    memory = Sum(width) if remembers else Memory(width)
    policy = CommPolicy(env.obs_dim, S, comm, memory, "before", wire)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
        policy.encoder.weight[:S, :S] = torch.eye(S)
        policy.encoder.weight[S, S] = 1.0
        assert isinstance(layer.lin_send, nn.Linear)
        worth = torch.arange(1, S + 1) / S if decoys else torch.ones(S)
        layer.lin_send.weight[:S, :S] = torch.diag(worth)
        layer.lin_send.weight[S:, S] = (torch.arange(S) + 0.5) / S if decoys else 0.0
        layer.lin_inbox.weight[:S, :S] = torch.eye(S)
        policy.actor.weight[:, :S] = torch.eye(S)
    return policy


MEASURED: dict[str, Interval] = {}


def measure(case: Case) -> Interval:
    """Once for all tests."""
    if str(case) not in MEASURED:
        MEASURED[str(case)] = play_out(case)
    return MEASURED[str(case)]


@torch.no_grad()
def play_out(case: Case) -> Interval:
    env = envs.make("relay", num_envs=EPISODES, **({"num_agents": 2, "num_symbols": S} | case.settings))
    wire = Wire(Line(), channel=channel.resolve(case.channel))
    policy = relay_by_hand(env, wire, case.remembers, decoys=case.channel.startswith("budget"))
    outcome = play(env, team(policy, env, None), EPISODES, seed=1_000_000)
    return wilson(int(outcome.success.sum()), EPISODES)


@pytest.mark.parametrize("case", cases(), ids=str)
def test_success_is_what_the_closed_form_says(case: Case) -> None:
    """Within the 99.9 % interval, 1.68 times as wide as that of 95 %: there are some forty cases."""
    measured = measure(case)
    middle = (measured.low + measured.high) / 2
    assert abs(case.predicted - middle) <= 1.68 * measured.half_width


def test_most_predictions_are_within_95_percent() -> None:
    measured = [(measure(case), case.predicted) for case in cases()]
    inside = [interval.low <= predicted <= interval.high for interval, predicted in measured]
    assert sum(inside) >= 0.88 * len(inside)


if __name__ == "__main__":
    for each in cases():
        found = measure(each)
        task = ", ".join(f"{name}={value}" for name, value in each.settings.items()) or "num_agents=2"
        memory = "yes" if each.remembers else "no"
        numbers = [f"{each.predicted:.4f}", f"{found.mean:.4f}", f"{found.low:.4f} – {found.high:.4f}"]
        print("| " + " | ".join([f"`{each.channel}`", task, memory, *numbers]) + " |")
