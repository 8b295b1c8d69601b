"""Topologies, schedulers, codecs, channels and layers on a device that is not the CPU: nothing mixes devices."""

from __future__ import annotations

import networkx as nx
import pytest
import torch
from device_parts import CHANNEL, CODEC, SCHEDULER, TOPOLOGY, said
from torch import Tensor

from gnncomm import channel, codec, random, schedule, topology
from gnncomm.graph import CommGraph, Layout
from gnncomm.layers import fused as attention
from gnncomm.layers.names import LAYERS, make_layer
from gnncomm.types import Moment

B, H = 2, 16
MANY = 300  # more than are looked at pair by pair
BY_HAND = "from_function", "from_networkx"  # have no text; the first does what its function does
COMPOSED = ["star | knn:k=1", "~ring", "full.every(2)", "radius:r=2.relative()", "knn:k=2 & full"]


def world(num_agents: int, device: torch.device | str) -> tuple[Tensor, Tensor, Tensor]:
    """Alive, positions and keys."""
    place = random.integers(3, 6, torch.arange(B).view(-1, 1, 1), torch.arange(num_agents).view(-1, 1), torch.arange(2))
    alive = torch.ones(B, num_agents, dtype=torch.bool)
    alive[1, 0] = False
    return alive.to(device), place.float().to(device), torch.arange(B).to(device)


def same(there: CommGraph, here: CommGraph, device: torch.device) -> None:
    assert there.device == device
    assert there.edge_index.tolist() == here.edge_index.tolist()


@pytest.mark.parametrize("num_agents", [6, MANY])
@pytest.mark.parametrize(
    "text", [*(said(name, TOPOLOGY) for name in topology.names() if name not in BY_HAND), *COMPOSED]
)
def test_topologies(text: str, num_agents: int, device: torch.device) -> None:
    if num_agents == MANY and text == "random_regular:k=2":
        pytest.skip("asks the device for hours here, and does the same with few agents")
    rule = topology.resolve(text)
    alive, pos, key = world(num_agents, device)
    step = torch.tensor([0, 1], device=device)
    same(rule(alive, pos, step, key), rule(alive.cpu(), pos.cpu(), step.cpu(), key.cpu()), device)


def test_graphs_from_networkx(device: torch.device) -> None:
    rule = topology.FromNetworkx(nx.path_graph(6, create_using=nx.DiGraph))
    alive, pos, key = world(6, device)
    same(rule(alive, pos, 0, key), rule(alive.cpu(), pos.cpu(), 0, key.cpu()), device)


@pytest.mark.parametrize("layout", Layout)
def test_graphs(layout: Layout, device: torch.device) -> None:
    draw = random.uniform(5, torch.arange(B).view(-1, 1, 1), torch.arange(6).view(-1, 1), torch.arange(6)) < 0.4
    graph = CommGraph.from_dense(draw.to(device), weight=draw.float().to(device)).to_layout(layout)
    mask = torch.tensor([True, False], device=device)
    for changed in (graph, graph.only(mask), graph.with_features().with_self_loops(), graph.select(mask), ~graph):
        assert changed.device == device
        for other in Layout:
            assert changed.to_layout(other).in_degree.tolist() == changed.in_degree.tolist()
    graph.among(world(6, device)[0]), graph.reach(2), graph.shifts, graph.batch, graph.out_degree


@pytest.mark.parametrize(
    ("name", "fused"),
    [*((name, False) for name in LAYERS), ("attention", True)],
)
@pytest.mark.parametrize("layout", Layout)
def test_layers(name: str, layout: Layout, fused: bool, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    layer = make_layer(name, H)
    h, (alive, pos, _) = torch.randn(B, 6, H), world(6, "cpu")
    graph = topology.resolve("knn:k=2")(alive, pos).to_layout(layout)
    want = layer(h, graph)
    layer.to(device)
    if fused:
        monkeypatch.setattr(attention, "at_hand", lambda *values: True)
        monkeypatch.setattr(torch, "is_autocast_enabled", lambda *device: False)  # knows no such device
    there = h.to(device).requires_grad_()
    out = layer(there, graph.to(device))
    assert out.device == device
    torch.testing.assert_close(torch.tensor(out.tolist()), want, rtol=1e-4, atol=1e-5)
    if not fused:
        out.square().sum().backward()
        assert there.grad is not None
        assert there.grad.device == device


def moments(device: torch.device | str) -> Moment:
    alive, pos, _ = world(6, device)
    return Moment(torch.arange(B).to(device), torch.tensor([1, 2]).to(device), 0, pos, alive)


@pytest.mark.parametrize("name", sorted(codec.names()))
def test_codecs(name: str, device: torch.device) -> None:
    torch.manual_seed(1)
    part = codec.resolve(said(name, CODEC)).to(device)
    assert part(torch.randn(B, 6, H).to(device), moments(device)).msg.device == device


@pytest.mark.parametrize("name", sorted(channel.names()))
def test_channels(name: str, device: torch.device) -> None:
    part = channel.resolve(said(name, CHANNEL))
    alive, pos, _ = world(6, device)
    graph = topology.resolve("knn:k=2")(alive, pos)
    msg = torch.randn(B, 6, H).to(device)
    carried = part.carry(msg, graph, msg.new_zeros(B, 6, part.carried_dim(H, 6)), moments(device))
    assert all(arrival.graph.device == arrival.msg.device == device for arrival in carried.arrivals)


@pytest.mark.parametrize("name", sorted(schedule.names()))
def test_schedulers(name: str, device: torch.device) -> None:
    torch.manual_seed(1)
    part = schedule.resolve(said(name, SCHEDULER), in_channels=H, num_agents=6).to(device)
    graph = topology.resolve("full")(world(6, device)[0])
    h = torch.randn(B, 6, H).to(device)
    decided = part(schedule.Situation(h, h, graph, h.new_zeros(B, 6, part.carried_dim(H)), moments(device), 3))
    assert decided.graph.device == device
