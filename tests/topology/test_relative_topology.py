"""Topologies that measure: edge features by hand, by name, and through a policy."""

from __future__ import annotations

import pytest
import torch

from gnncomm import envs
from gnncomm.errors import GraphError
from gnncomm.learn import TrainConfig
from gnncomm.learn.build import build_policy
from gnncomm.topology import Complement, Distance, Empty, Full, Radius, Relative, Ring, resolve, spec_of

ALIVE = torch.ones(1, 3, dtype=torch.bool)
POS = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [3.0, 0.0]]])


def test_sender_minus_receiver_by_hand() -> None:
    graph = Relative(Full())(ALIVE, POS)
    assert graph.edge_attr is not None
    found = {tuple(edge): attr for edge, attr in zip(graph.edge_index.t().tolist(), graph.edge_attr, strict=True)}
    assert found[1, 0].tolist() == [3.0, 4.0, 5.0]
    assert found[0, 1].tolist() == [-3.0, -4.0, 5.0]
    assert found[2, 1].tolist() == [0.0, -4.0, 4.0]
    distance = Distance(Full())(ALIVE, POS).edge_attr
    assert distance is not None
    assert torch.equal(distance, graph.edge_attr[:, 2:])


def test_the_edges_are_those_of_the_inner_topology() -> None:
    for inner in (Full(), Ring(), Radius(3.5), Empty()):
        assert torch.equal(Relative(inner)(ALIVE, POS).dense, inner(ALIVE, POS).dense)


def test_by_name() -> None:
    for text, topology in {
        "full.relative()": Relative(Full()),
        "radius:r=2.0.distance()": Distance(Radius(2.0)),
        "~ring.relative()": Complement(Relative(Ring())),
    }.items():
        assert resolve(text) == topology
        assert resolve(spec_of(topology)) == topology


def test_where_the_dead_are_does_not_matter() -> None:
    alive, pos = torch.tensor([[True, False, True]]), POS.clone()
    pos[0, 1] = torch.nan
    graph = Relative(Full())(alive, pos)
    assert graph.edge_index.tolist() == [[2, 0], [0, 2]]
    assert graph.edge_attr is not None
    assert bool(graph.edge_attr.isfinite().all())


def test_without_positions() -> None:
    with pytest.raises(GraphError, match="Distance measures positions: expected pos"):
        Distance(Full())(ALIVE)


@pytest.mark.parametrize("comm", ["hetgppo:edge_dim=3", "informarl:edge_dim=3", "dcc:edge_dim=3"])
def test_a_layer_reads_where_others_are(comm: str) -> None:
    """What an agent does depends on where the sender is seen, not only on what it says."""
    env = envs.make("predator_prey", num_envs=2)
    torch.manual_seed(0)
    policy = build_policy(TrainConfig.of(comm=comm, topology="full.relative()", observation="flat", num_envs=4), env)
    now = env.reset(seed=0)
    state = policy.initial_state(2, env.num_agents)
    moved = now.map(torch.clone)
    assert moved.pos is not None
    moved.pos[:, 0] += 5.0
    here, there = policy.act(now, state).logits, policy.act(moved, state).logits
    assert bool((here != there).any(-1).all())
