"""Distances of any float32, and graphs that no machine holds."""

from __future__ import annotations

import pytest
import torch

from gnncomm import topology
from gnncomm.errors import GraphError
from gnncomm.topology import KNearest, Radius, Ring


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1.0, 1e20, 1e30, 1e38])
@pytest.mark.parametrize("num_agents", [7, 300])
def test_edges_do_not_depend_on_the_unit(num_agents: int, scale: float) -> None:
    """On a line at 0, 1, 2, ...: the two nearest of each are its neighbours, and everyone is within infinity."""
    alive = torch.ones(1, num_agents, dtype=torch.bool)
    pos = (torch.arange(num_agents, dtype=torch.float64) / 128 * scale).float().view(1, -1, 1)
    near = KNearest(2)(alive, pos).to_layout("dense").dense[0]
    for agent in range(1, num_agents - 1):
        assert near[:, agent].nonzero().flatten().tolist() == [agent - 1, agent + 1]
    assert Radius(torch.inf)(alive, pos).num_edges == num_agents * (num_agents - 1)
    assert Radius(1.5 / 128 * scale)(alive, pos).num_edges == 2 * (num_agents - 1)


def test_what_is_further_than_float32_reaches_is_still_within_infinity() -> None:
    pos = torch.tensor([[[-3e38], [3e38], [0.0]]])
    assert Radius(torch.inf)(torch.ones(1, 3, dtype=torch.bool), pos).num_edges == 6


def test_a_graph_that_no_machine_holds_is_refused_before_it_is_made() -> None:
    alive = torch.ones(1, 10**6, dtype=torch.bool)
    with pytest.raises(GraphError, match="dense graph of 1000000 agents takes"):
        Ring()(alive).to_layout("dense")
    for name in ("erdos_renyi:p=0.1", "small_world:k=2,p=0.1"):
        with pytest.raises(GraphError, match="1000000 agents in 1 episode"):
            topology.resolve(name)(alive, key=torch.tensor([3]))
