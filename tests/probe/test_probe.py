"""The probe on relay, where it is known what is said, and on teams that say or hear nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gnncomm import envs
from gnncomm.channel import Delay
from gnncomm.codec import GumbelSymbols
from gnncomm.errors import ConfigError, ResourceError
from gnncomm.layers import CommLayer, CommStack
from gnncomm.policy import CommPolicy, Memory, TanhGaussian
from gnncomm.probe import ProbeReport, collect, probe, probe_figure
from gnncomm.topology import Empty, Line
from gnncomm.types import Box, TimeStep
from gnncomm.wire import Wire

S, N, K = 4, 3, 2
WIDTH = S + N
ENV = envs.make("relay", num_envs=50, num_agents=N, num_symbols=S)


class Pass(CommLayer):
    """Says the symbol that is known, and knows what it hears; blind: hears nothing."""

    def __init__(self, blind: bool = False) -> None:
        super().__init__(WIDTH, WIDTH, S)
        self.blind = blind

    def send(self, h: Tensor) -> Tensor:
        return h[..., :S]

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        known = torch.cat([inbox, h.new_zeros(*h.shape[:-1], N)], -1)
        return h if self.blind else h + known


def team(blind: bool = False, env: Any = ENV, actions: Any = None, **wire: Any) -> CommPolicy:
    """Hands the symbol on along the line, and names it: certain of it where it is known."""
    comm = CommStack([Pass(blind) for _ in range(K)], residual=False)
    parts = {"encoder": nn.Identity(), "actor": Name(), "actions": actions}
    wire = {"topology": Line(), **wire}
    return CommPolicy(env.obs_dim, env.num_actions, comm, Memory(WIDTH), "before", Wire(**wire), **parts)


class Name(nn.Module):
    """An own weight, so that a policy knows its type."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(100.0))

    def forward(self, h: Tensor) -> Tensor:
        return self.scale * h[..., :S]


@pytest.fixture(scope="module")
def report() -> ProbeReport:
    return probe(team(), ENV, 200, seed=1, permutations=39)


def test_who_knows_the_symbol_tells_log2_of_it(report: ProbeReport) -> None:
    """Round 1: agent 0 says it, round 2: agents 0 and 1. Nobody else says anything."""
    knows = {(0, 0), (1, 0), (1, 1)}
    assert len(report.said) == K * N
    for said in report.said:
        bits = math.log2(S) if (said.round, said.sender) in knows else 0.0
        assert said.exact
        assert said.entropy == pytest.approx(bits, abs=0.05)
        sees = bits if said.sender == 0 else 0.0
        assert said.signalling.value == pytest.approx(sees, abs=0.05)
        assert said.signalling.real == (sees > 0)
        assert said.consistency.value == pytest.approx(bits, abs=0.05)
        assert said.consistency.real == (bits > 0)


def test_the_symbol_is_read_from_whoever_knows_it(report: ProbeReport) -> None:
    cells = {(cell.round, cell.sender): cell for cell in report.readable if cell.target == "symbol"}
    for place, cell in cells.items():
        told = place in {(0, 0), (1, 0), (1, 1)}
        assert cell.real == told
        assert cell.score.value == (1.0 if told else cell.guess)
        assert 0.15 < cell.guess < 0.4
    assert {cell.target for cell in report.readable} == {"symbol", "next action of the sender"}
    assert [cell.sender for cell in report.best()] == [0, 0]


def test_an_exchanged_symbol_changes_what_is_named(report: ProbeReport) -> None:
    """A symbol of another episode is another one in 3 of 4; then who hears it names that. Agent 2 cannot be told to
    change by itself, and nobody hears agent 2 say anything."""
    pairs = np.array(report.exchanged.pairs)
    assert np.isnan(np.diag(pairs)).all()
    symbols = report.moments.marks["symbol"].max(1).values
    partner = torch.cat([symbols.view(4, 50)[:, -1:], symbols.view(4, 50)[:, :-1]], 1).flatten()
    unlike = float((partner != symbols).double().mean())
    for sender, receiver in ((0, 1), (1, 2), (0, 2)):
        assert pairs[sender, receiver] == pytest.approx(unlike, abs=1e-6)
    assert pairs[2, 0] == pairs[2, 1] == 0
    assert report.exchanged.real
    assert report.muted.real
    assert report.exchanged.divergence > 1


def test_a_report_says_it(report: ProbeReport) -> None:
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["schema"] == 1
    assert data["messages"][0]["signalling"]["value"] == pytest.approx(2, abs=0.05)
    assert data["wire"]["bits_per_agent_step"] == K * 32 * S
    assert data["listening"]["exchanged"]["pairs"][0][0] is None
    verdict = " ".join(report.verdict())
    assert "read symbol best from agent 0 in round 1: 100.0% right" in verdict
    assert "Receivers listen" in verdict
    assert [table.row_count for table in report.tables()] == [K * N, 2 * K, N]


def test_the_same_arguments_give_the_same_numbers(report: ProbeReport) -> None:
    """Also in other numbers of environments; other seeds give other numbers."""
    env = envs.make("relay", num_envs=50, num_agents=N, num_symbols=S)
    assert probe(team(), env, 200, seed=1, permutations=39).to_dict() == report.to_dict()
    assert probe(team(), env, 200, seed=2, permutations=39).to_dict() != report.to_dict()


def test_who_does_not_listen_is_not_said_to() -> None:
    blind = probe(team(blind=True), ENV, 60, permutations=39)
    assert not blind.exchanged.real
    assert not blind.muted.real
    assert blind.exchanged.everyone is not None
    assert blind.exchanged.everyone.mean == 0
    assert "Nobody listens: what is read changes no decision." in blind.verdict()
    assert any(said.signalling.real for said in blind.said), "what is said is another question"


def test_who_says_nothing_is_not_heard() -> None:
    silent = probe(team(topology=Empty()), ENV, 60, permutations=39)
    assert silent.said == silent.readable == []
    assert silent.exchanged.everyone is None
    assert silent.verdict() == ["Nobody says anything that another could read often enough to be looked at."]
    assert silent.tables() == []
    json.dumps(silent.to_dict(), allow_nan=False)


def test_symbols_of_a_codec_are_what_is_said() -> None:
    found = probe(team(codec=GumbelSymbols(S)), ENV, 60, permutations=39)
    first = next(said for said in found.said if (said.round, said.sender) == (0, 0))
    assert first.exact
    assert first.signalling.value == pytest.approx(2, abs=0.1)
    assert {symbols.shape[-1] for symbols in found.moments.symbols} == {1}


def test_late_messages_are_exchanged_where_they_arrive() -> None:
    """Sent at step 0, read at step 1: what is exchanged is what is read then."""
    env = envs.make("relay", num_envs=30, num_agents=2, num_symbols=4, steps=2)

    class Late(Pass):
        def __init__(self) -> None:
            CommLayer.__init__(self, 7, 7, S)
            self.blind = False

        def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
            return h + nn.functional.pad(inbox, (0, 3))

    comm = CommStack([Late()], residual=False)
    policy = CommPolicy(
        env.obs_dim, 4, comm, Memory(7), "before", Wire(channel=Delay(1)), encoder=nn.Identity(), actor=Name()
    )
    found = probe(policy, env, 60, permutations=39)
    symbols = found.moments.marks["symbol"].max(1).values.view(2, 30)
    unlike = float((symbols != symbols.roll(1, 1)).double().mean())
    assert found.exchanged.pairs[0][1] == pytest.approx(unlike, abs=1e-6)


def test_numbers_move() -> None:
    """Symbol 1 turns the first of four numbers from one end of its range to the other: a quarter of all that moves."""

    class Steered(type(ENV)):  # type: ignore[misc]
        def step(self, action: Tensor) -> TimeStep:
            return super().step(action[..., 0].round().long())  # type: ignore[no-any-return]

    class Turn(Name):
        def forward(self, h: Tensor) -> Tensor:
            return torch.cat([100 * (h[..., 1:2] > 0) - 50, h.new_zeros(*h.shape[:-1], 2 * S - 1)], -1)

    env = Steered(num_envs=50, num_agents=N, num_symbols=S)
    env.box = Box(((0.0,) * S,) * N, ((3.0,) * S,) * N)
    policy = team(env=env, actions=TanhGaussian(env.box))
    policy.actor = Turn()
    found = probe(policy, env, 100, permutations=39)
    one = (found.moments.marks["symbol"].max(1).values == 1).view(2, 50)
    assert found.numbers
    assert found.exchanged.pairs[0][2] == pytest.approx(float((one != one.roll(1, 1)).double().mean()) / S, abs=1e-3)
    intent = [cell for cell in found.readable if cell.target == "next action of the sender"]
    assert {cell.labels for cell in intent} == {False}
    assert intent[0].score.value > 0.99


def test_neither_weights_nor_modes_nor_the_game_are_changed(report: ProbeReport) -> None:
    policy = team()
    policy.train()
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    probe(policy, ENV, 30, permutations=19)
    assert policy.training
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())
    assert report.wire.edges_per_step == K * 2 * (N - 1)


def test_what_cannot_be_probed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="at least 30 episodes"):
        probe(team(), ENV, 29)
    with pytest.raises(ConfigError, match="19 permutations"):
        probe(team(), ENV, 30, permutations=5)
    monkeypatch.setattr(collect, "MAX_BYTES", 100)
    with pytest.raises(ResourceError, match="30 episodes"):
        probe(team(), ENV, 30)


@pytest.mark.slow
def test_a_figure_shows_it(report: ProbeReport, tmp_path: Path) -> None:
    figure = probe_figure(report, tmp_path / "probe.svg")
    assert (tmp_path / "probe.svg").read_text().startswith("<?xml")
    texts = [found.get_text() for found in figure.findobj() if hasattr(found, "get_text")]  # type: ignore[attr-defined]
    assert "agent 0, round 1: 100% right, " + f"{report.best()[0].guess:.0%} by guessing" in texts
    assert {"symbol", "Who listens to whom", "100%"} <= set(texts)
    probe_figure(probe(team(topology=Empty()), ENV, 30, permutations=19), tmp_path / "silent.png")
