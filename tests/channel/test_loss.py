"""Message loss: a pure function of (episode, step, sender, receiver) with the right rate."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from scipy import stats
from torch import Tensor

from gnncomm.channel import Channel, Ideal, Loss
from gnncomm.errors import ConfigError, ShapeError
from gnncomm.graph import CommGraph, Layout
from gnncomm.random import stream, uniform
from gnncomm.schedule import Always, Situation
from gnncomm.topology import Full, KNearest, Ring
from gnncomm.types import Moment

LAYOUTS = list(Layout)


def moments(num_envs: int, first_key: int = 1000, step: int = 5) -> tuple[Tensor, Tensor]:
    return torch.arange(num_envs) + first_key, torch.full((num_envs,), step)


def full(num_envs: int, num_agents: int, self_loops: bool = False) -> CommGraph:
    return Full(self_loops)(torch.ones(num_envs, num_agents, dtype=torch.bool))


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5, 0.9])
def test_rate(p: float) -> None:
    """Lost edges of 1,014,000 lie in the 99.9 % binomial interval."""
    key, step = moments(6500)
    graph = full(6500, 13)
    total = 6500 * 13 * 12
    lost = total - Loss(p).deliver(graph, Moment(key, step)).num_edges
    low, high = stats.binom.interval(0.999, total, p)
    assert low <= lost <= high


def test_edges_are_lost_independently() -> None:
    """Pairs of edges that share sender, receiver, both ends, environment or step: the counts of a 2 x 2 table fit."""
    steps, p = 20_000, 0.3
    key, step = torch.full((steps,), 7), torch.arange(steps)
    alive = Loss(p).deliver(full(1, 3), Moment(key, step)).dense
    other = Loss(p).deliver(full(1, 3), Moment(key + 1, step)).dense
    a = alive[:, 0, 1]
    for b in (alive[:, 0, 2], alive[:, 2, 1], alive[:, 1, 0], alive[:, 1, 2], other[:, 0, 1], alive[:, 0, 1].roll(1)):
        table = [[int((a & b).sum()), int((a & ~b).sum())], [int((~a & b).sum()), int((~a & ~b).sum())]]
        assert stats.chi2_contingency(table).pvalue > 1e-4


def test_definition() -> None:
    """The rule of the docstring, edge by edge, in plain Python."""
    key, step = moments(3)
    kept = Loss(0.4).deliver(full(3, 4), Moment(key, step)).dense
    for b in range(3):
        for s in range(4):
            for r in range(4):
                draw = float(uniform(stream(key[b], "loss"), int(step[b]), s, r))
                assert bool(kept[b, s, r]) == (s != r and draw >= 0.4)


def test_nested_in_severity() -> None:
    key, step = moments(50)
    graph = full(50, 6)
    survivors = [Loss(p).deliver(graph, Moment(key, step)).expand(50).dense for p in (0, 0.05, 0.1, 0.3, 0.3, 0.75, 1)]
    for milder, harder in pairwise(survivors):
        assert not (harder & ~milder).any()
    assert survivors[1].sum() > survivors[3].sum() > survivors[5].sum() > 0


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("spread", [False, True])
def test_layouts_draw_the_same(layout: Layout, spread: bool) -> None:
    """Also a graph that all environments share against one that is stored for each."""
    key, step = moments(20)
    graph = Ring(2)(torch.ones(20, 9, dtype=torch.bool)) | full(20, 9, self_loops=True).keep(torch.rand(1, 9, 9) < 0.5)
    truth = Loss(0.5).deliver(graph, Moment(key, step))
    kept = Loss(0.5).deliver((graph.expand(20) if spread else graph).to_layout(layout), Moment(key, step))
    assert kept.layout is layout
    assert torch.equal(kept.edge_index, truth.edge_index)
    assert 0 < kept.num_edges < 20 * graph.num_edges


@pytest.mark.parametrize("layout", LAYOUTS)
def test_environments_do_not_see_each_other(layout: Layout) -> None:
    """The same wire alone, in a batch of 64 and in another order."""
    key, step = moments(64)
    step = step + torch.arange(64)
    graph = full(64, 5).to_layout(layout)
    kept = Loss(0.5).deliver(graph, Moment(key, step)).dense
    for b in range(64):
        assert torch.equal(Loss(0.5).deliver(graph, Moment(key[b : b + 1], step[b : b + 1])).dense[0], kept[b])
    order = torch.randperm(64)
    assert torch.equal(Loss(0.5).deliver(graph, Moment(key[order], step[order])).dense, kept[order])
    folded = Loss(0.5).deliver(graph, Moment(key.repeat(2), torch.cat([step, step + 1]))).dense
    assert torch.equal(folded[:64], kept), "time folds into the environment axis"
    assert not torch.equal(folded[64:], kept), "each step draws anew"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_extremes(layout: Layout) -> None:
    """p = 0 is the ideal channel, bit for bit; p = 1 leaves no edge but those from an agent to itself."""
    key, step = moments(4)
    graph = full(4, 5, self_loops=True).to_layout(layout)
    assert Loss(0).deliver(graph, Moment(key, step)) is graph
    assert Ideal().deliver(graph, Moment(key, step)) is graph
    everything_lost = Loss(1).deliver(graph, Moment(key, step))
    assert torch.equal(everything_lost.dense, torch.eye(5, dtype=torch.bool).expand(4, -1, -1))


def test_an_agent_hears_itself_at_any_loss() -> None:
    key, step = moments(200)
    kept = Loss(0.99).deliver(full(200, 5, self_loops=True), Moment(key, step)).dense
    assert kept.diagonal(dim1=1, dim2=2).all()


def test_features_of_surviving_edges_stay() -> None:
    pos = torch.rand(10, 6, 2)
    graph = KNearest(3)(torch.ones(10, 6, dtype=torch.bool), pos)
    g, s, r = torch.broadcast_tensors(*graph.endpoints())
    graph = graph.with_features(weight=(100 * g + 10 * s + r).float())
    kept = Loss(0.5).deliver(graph, Moment(*moments(10)))
    assert kept.edge_weight is not None
    sender, receiver = kept.edge_index % 6
    assert torch.equal(kept.edge_weight.long(), 100 * kept.batch + 10 * sender + receiver)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), float("inf")])
def test_p_is_a_probability(p: float) -> None:
    with pytest.raises(ConfigError, match="expected 0 <= p <= 1"):
        Loss(p)


def test_batches_that_do_not_match() -> None:
    with pytest.raises(ShapeError, match="key and graph disagree"):
        Loss(0.5).deliver(full(3, 4).expand(3), Moment(*moments(2)))


def test_the_base_does_nothing() -> None:
    key, step = moments(2)
    msg = torch.rand(2, 3, 4)
    for channel in (Channel(), Ideal(), Loss(0.5)):
        assert channel.transmit(msg, Moment(key, step)) is msg
    graph = full(2, 3)
    assert Channel().deliver(graph, Moment(key, step)) is graph
    schedule = Always()(Situation(msg, msg, graph, msg[..., :0], Moment(key, step)))
    assert schedule.graph is graph
    assert schedule.msg is msg
    assert schedule.log_prob is None
