"""Masks of agents and of pairs in any layout; values, distances and draws of single edges."""

from __future__ import annotations

import pytest
import torch

from gnncomm.errors import GraphError, ShapeError
from gnncomm.graph import CommGraph, Edges, Layout
from gnncomm.random import normal, stream, uniform
from gnncomm.types import Moment

B, N = 3, 5


def graph_of(num_graphs: int) -> CommGraph:
    g, s, r = torch.meshgrid(torch.arange(num_graphs), torch.arange(N), torch.arange(N), indexing="ij")
    return CommGraph.from_dense(uniform(4, g, s, r) < 0.6)  # self-loops among them


def mask(*shape: int, seed: int = 5) -> torch.Tensor:
    return uniform(seed, torch.arange(torch.Size(shape).numel())).view(shape) < 0.6


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize(("num_graphs", "rows"), [(1, 1), (1, B), (B, B), (B, 1)])
def test_the_edges_between_chosen_agents(layout: Layout, num_graphs: int, rows: int) -> None:
    graph, talks, hears, pair = graph_of(num_graphs), mask(rows, N), mask(rows, N, seed=6), mask(rows, N, N)
    own = torch.eye(N, dtype=torch.bool)
    for self_loops in (True, False):
        stays = own if self_loops else torch.zeros((), dtype=torch.bool)
        want = graph.dense & (talks[:, :, None] & hears[:, None, :] & pair | stays)
        got = graph.to_layout(layout).keep_where(talks, hears, pair, self_loops)
        assert got.layout is layout
        assert torch.equal(got.dense, want)
    only = graph.to_layout(layout).keep_where(sender=talks)
    assert torch.equal(only.dense, graph.dense & (talks[:, :, None] | own))
    assert torch.equal(graph.to_layout(layout).keep_where().dense, graph.dense)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"sender": mask(B, N + 1)}, ShapeError, r"sender: expected bool \['B', 5\], got \[3, 6\]"),
        ({"receiver": mask(B, N).float()}, GraphError, "receiver says which edges stay: expected bool"),
        ({"pair": mask(B, N)}, ShapeError, r"pair: expected bool \['B', 5, 5\], got \[3, 5\]"),
        ({"sender": mask(2, N)}, ShapeError, "expected 3 environments"),
    ],
)
def test_masks_of_others_are_refused(wrong: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        graph_of(B).keep_where(**wrong)


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("num_graphs", [1, B])
def test_an_edge_is_what_its_two_ends_say(layout: Layout, num_graphs: int) -> None:
    graph = graph_of(num_graphs)
    pos = torch.arange(B * N * 2).view(B, N, 2).square().float()
    now = Moment(torch.arange(B) + 7, torch.arange(B), 2, pos)
    edges = Edges(graph.to_layout(layout), now)
    b, j, i = torch.meshgrid(torch.arange(B), torch.arange(N), torch.arange(N), indexing="ij")
    low, high = torch.minimum(j, i), torch.maximum(j, i)
    wanted = {
        "distance": (edges.distance("me"), torch.cdist(pos.double(), pos.double())),
        "step": (edges.draw("a"), uniform(stream(now.key, "a")[b], now.step[b], j, i)),
        "round": (
            edges.draw("a", per="round", dtype=torch.float64),
            uniform(stream(now.key, "a")[b], now.step[b], 2, j, i, dtype=torch.float64),
        ),
        "pair": (
            edges.draw("b", normal, per="episode", symmetric=True),
            normal(stream(now.key, "b")[b], low, high),
        ),
    }
    for name, (got, want) in wanted.items():
        where = [each.expand(edges.shape) for each in (edges.environment, edges.sender, edges.receiver)]
        torch.testing.assert_close(got.expand(edges.shape), want[tuple(where)], rtol=0, atol=1e-6, msg=name)
    near = edges.keep(edges.distance("me") < 100)
    own = torch.eye(N, dtype=torch.bool)
    assert torch.equal(near.dense, graph.dense & ((wanted["distance"][1] < 100) | own))
    counts = edges.sum_to_receiver(torch.ones(edges.shape)), edges.sum_to_sender(torch.ones(edges.shape))
    others = (graph.dense & ~own).expand(B, -1, -1).float()
    assert torch.equal(counts[0], others.sum(1))
    assert torch.equal(counts[1], others.sum(2))
