"""Circulant graphs are recognised, others are not."""

from __future__ import annotations

import pytest
import torch

from gnncomm.graph import CommGraph, Layout


def circulant(num_agents: int, offsets: list[int]) -> CommGraph:
    """Agent i hears i + o."""
    receiver = torch.arange(num_agents).repeat_interleave(len(offsets))
    sender = (receiver + torch.tensor(offsets).repeat(num_agents)) % num_agents
    return CommGraph.from_edge_index(torch.stack([sender, receiver]), num_agents)


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize(
    ("num_agents", "offsets"), [(5, [1]), (5, [1, 4]), (6, [0, 2, 3]), (4, [0, 1, 2, 3]), (1, [0])]
)
def test_offsets_are_read_off(num_agents: int, offsets: list[int], layout: Layout) -> None:
    assert circulant(num_agents, offsets).to_layout(layout).shifts == tuple(offsets)


def test_direction() -> None:
    """0 -> 1 -> 2 -> 0: everyone hears the agent before, which is two further on."""
    assert CommGraph.from_edge_list([(0, 1), (1, 2), (2, 0)], 3).shifts == (2,)


@pytest.mark.parametrize(
    ("edges", "num_agents"),
    [
        ([], 3),
        ([(0, 1), (1, 2)], 3),  # somebody hears nobody
        ([(1, 0), (2, 1), (3, 2), (1, 3)], 4),  # one each, but not at one distance
        ([(1, 0), (2, 0), (0, 1)], 3),
    ],
)
def test_other_graphs_have_none(edges: list[tuple[int, int]], num_agents: int) -> None:
    assert CommGraph.from_edge_list(edges, num_agents).shifts is None


def test_graphs_of_several_environments_are_not_looked_at() -> None:
    assert circulant(4, [1]).expand(3).shifts is None
