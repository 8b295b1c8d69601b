"""``only``: some environments fall silent. ``~``: the edges that are missing."""

from __future__ import annotations

import pytest
import torch

from gnncomm.errors import ShapeError
from gnncomm.graph import CommGraph, Layout

ALL_LAYOUTS = list(Layout)


@pytest.mark.parametrize("layout", ALL_LAYOUTS)
@pytest.mark.parametrize("num_graphs", [1, 3])
def test_only_some_environments(layout: Layout, num_graphs: int) -> None:
    adjacency = torch.rand(num_graphs, 5, 5) < 0.5
    graph = CommGraph.from_dense(adjacency).to_layout(layout)
    on = torch.tensor([True, False, True])
    expected = torch.where(on.view(3, 1, 1), adjacency, False)
    assert torch.equal(graph.only(on).dense, expected)
    assert graph.only(on).layout is layout
    assert graph.only(torch.ones(3, dtype=torch.bool)) is graph, "nobody fell silent"
    assert graph.only(torch.tensor([False])).num_edges == 0
    assert graph.only(torch.tensor([False])).num_graphs == num_graphs


@pytest.mark.parametrize("layout", ALL_LAYOUTS)
def test_only_keeps_features_where_there_are_edges(layout: Layout) -> None:
    graph = CommGraph.from_edge_index(
        torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]]), 2, 2, weight=torch.tensor([1.0, 2, 3, 4])
    ).to_layout(layout)
    kept = graph.only(torch.tensor([False, True]))
    assert kept.edge_weight is not None
    assert kept.edge_weight.tolist() == [4.0, 3.0]
    assert kept.edge_index.tolist() == [[3, 2], [2, 3]]


@pytest.mark.parametrize("on", [torch.ones(3), torch.ones(3, 1, dtype=torch.bool), torch.ones(2, dtype=torch.bool)])
def test_only_refuses(on: torch.Tensor) -> None:
    with pytest.raises(ShapeError, match="expected"):
        CommGraph.from_dense(torch.ones(3, 4, 4)).only(on)


@pytest.mark.parametrize("layout", ALL_LAYOUTS)
def test_not_is_every_other_pair_of_two(layout: Layout) -> None:
    adjacency = torch.rand(3, 5, 5) < 0.5
    missing = ~CommGraph.from_dense(adjacency).to_layout(layout)
    assert torch.equal(missing.dense, ~adjacency & ~torch.eye(5, dtype=torch.bool))
    assert missing.weight is None
    everyone = CommGraph.from_dense(~torch.eye(5, dtype=torch.bool).expand(3, 5, 5))
    loopless = CommGraph.from_dense(adjacency) & everyone
    assert torch.equal((missing | loopless).dense, everyone.dense)
    assert (missing & loopless).num_edges == 0
