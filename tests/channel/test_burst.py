"""Burst loss: a two-state chain that can be asked about any step, with the rate and the bursts it promises."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from gnncomm.channel import Burst, Loss
from gnncomm.graph import CommGraph, Layout
from gnncomm.random import stream, uniform
from gnncomm.types import Moment


def line(num_agents: int = 2) -> CommGraph:
    return CommGraph.from_edge_list([(0, 1)], num_agents).to_layout("dense")


def lost(subject: Burst, num_envs: int, steps: int) -> Tensor:
    """``[steps, B]``: whether the edge 0 -> 1 is lost, all steps asked at once; no other edge is drawn for."""
    key = torch.arange(num_envs).repeat(steps)
    step = torch.arange(steps).repeat_interleave(num_envs)
    left = subject.deliver(line().to_layout("sparse"), Moment(key, step)).to_layout("dense")
    return ~left.dense[:, 0, 1].view(steps, num_envs)


@pytest.mark.parametrize(("p", "length"), [(0.2, 2.0), (0.2, 5.0), (0.2, 10.0), (0.5, 4.0)])
def test_mean_loss_and_mean_burst_length(p: float, length: float) -> None:
    """Within 2 %, at the first step as at the last, over chains of 60 steps."""
    bad = lost(Burst(p, length), 12_000, 60)
    assert float(bad.double().mean()) == pytest.approx(p, rel=0.02)
    for step in (0, 1, 59):
        low, high = stats.binom.interval(0.9999, 12_000, p)
        assert low <= int(bad[step].sum()) <= high
    begins = bad[1:] & ~bad[:-1]
    ends = ~bad[1:] & bad[:-1]
    leave = float(ends.sum() / bad[:-1].sum())  # the rate at which bursts end is 1 / length
    assert 1 / leave == pytest.approx(length, rel=0.02)
    enter = float(begins.sum() / (~bad[:-1]).sum())
    assert enter == pytest.approx(p / (1 - p) / length, rel=0.03)


def test_bursts_are_geometric() -> None:
    """Lengths of bursts that begin and end within 200 steps of one chain per environment."""
    length, bad = 3.0, lost(Burst(0.3, 3.0), 1500, 200).t()
    runs: list[int] = []
    for row in bad[:, :].tolist():
        start = None
        for t, value in enumerate(row):
            if value and start is None and t > 0 and not row[t - 1]:
                start = t
            if not value and start is not None:
                if start < 150:
                    runs.append(t - start)
                start = None
    counts = torch.bincount(torch.tensor(runs), minlength=40).double()
    q = 1 - 1 / length
    expected = torch.tensor([q ** (k - 1) * (1 - q) for k in range(1, 11)], dtype=torch.float64)
    observed = torch.cat([counts[1:11], counts[11:].sum().view(1)])
    shares = torch.cat([expected, (1 - expected.sum()).view(1)])
    assert stats.chisquare(observed, (shares * observed.sum()).numpy()).pvalue > 1e-4


def test_chain_in_plain_python() -> None:
    """The rule of the docstring, forwards, with the same uniform numbers."""
    p, length, steps = 0.3, 4.0, 30
    leave, enter = 1 / length, p / (1 - p) / length
    got = lost(Burst(p, length), 20, steps)
    for b in range(20):
        bad = False
        for t in range(steps):
            u = float(uniform(stream(torch.tensor(b), "burst"), t, 0, 1, dtype=torch.float64))
            bad = u < p if t == 0 else u < (1 - leave if bad else enter)
            assert bool(got[t, b]) == bad


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_shortest_bursts_have_no_memory(p: float) -> None:
    """Length 1 / (1 - p): neighbouring steps are independent, as with ``Loss``."""
    bad = lost(Burst(p, 1 / (1 - p)), 20_000, 2)
    table = [[int((bad[0] & bad[1]).sum()), int((bad[0] & ~bad[1]).sum())]]
    table.append([int((~bad[0] & bad[1]).sum()), int((~bad[0] & ~bad[1]).sum())])
    assert stats.chi2_contingency(table).pvalue > 1e-4


def test_edges_and_directions_are_independent() -> None:
    key = torch.arange(20_000)
    graph = CommGraph.from_dense(torch.ones(1, 3, 3, dtype=torch.bool))
    kept = Burst(0.3, 5.0).deliver(graph, Moment(key, torch.full_like(key, 7))).dense
    assert bool(kept.diagonal(dim1=1, dim2=2).all())
    a = kept[:, 0, 1]
    for b in (kept[:, 1, 0], kept[:, 0, 2], kept[:, 2, 1]):
        table = [[int((a & b).sum()), int((a & ~b).sum())], [int((~a & b).sum()), int((~a & ~b).sum())]]
        assert stats.chi2_contingency(table).pvalue > 1e-4


@pytest.mark.parametrize("layout", Layout)
def test_layouts_and_shared_graphs_draw_the_same(layout: Layout) -> None:
    key, step = torch.arange(30), torch.arange(30)
    graph = CommGraph.from_dense(torch.rand(1, 6, 6) < 0.6)
    truth = Burst(0.4, 3.0).deliver(graph, Moment(key, step)).edge_index
    for spread in (graph, graph.expand(30)):
        assert torch.equal(Burst(0.4, 3.0).deliver(spread.to_layout(layout), Moment(key, step)).edge_index, truth)


def test_long_chains_are_cheap() -> None:
    """Looking back costs the mean time between decisions, not the length of the episode."""
    key = torch.arange(1000)
    bad = ~Burst(0.2, 20.0).deliver(line(), Moment(key, torch.full_like(key, 10**9))).dense[:, 0, 1]
    low, high = stats.binom.interval(0.9999, 1000, 0.2)
    assert low <= int(bad.sum()) <= high


def test_the_same_rate_as_loss() -> None:
    key = torch.arange(50_000)
    moment = Moment(key, torch.full_like(key, 3))
    loss, burst = (int(subject.deliver(line(), moment).num_edges) for subject in (Loss(0.2), Burst(0.2)))
    assert abs(loss - burst) < 5 * (2 * 50_000 * 0.16) ** 0.5
