"""TarMAC: by hand, and the clean layer beside the released network."""

from __future__ import annotations

import math

import torch

from gnncomm.bench.reference.tarmac_ic3net import TarMACNetwork
from gnncomm.graph import CommGraph, Layout
from gnncomm.layers import AttentionComm
from gnncomm.methods import METHODS


def test_an_agent_attends_to_itself_by_hand() -> None:
    layer = AttentionComm(1, 1, heads=1, key_channels=1, own=True)
    with torch.no_grad():
        layer.lin_query.weight.fill_(1.0)
        layer.lin_send.weight.copy_(torch.tensor([[1.0], [10.0]]))  # key, value
        layer.lin_self.weight.zero_()
        layer.lin_self.bias.zero_()
        layer.lin_inbox.weight.fill_(1.0)
    h = torch.tensor([[[0.0], [1.0], [2.0]]])
    graph = CommGraph.from_edge_list([(0, 1), (2, 1)], 3)
    weights = [math.exp(0.0), math.exp(1.0), math.exp(2.0)]  # agent 1 asks 1: scores 0, 1 (its own) and 2
    want = (10 * weights[1] + 20 * weights[2]) / sum(weights)
    for layout in Layout:
        got = layer(h, graph.to_layout(layout)).flatten()
        torch.testing.assert_close(got, torch.tensor([0.0, want, 20.0]))  # alone, one attends to oneself only
    _, (edge_index, alpha) = layer(h, graph, return_attention_weights=True)
    assert edge_index.tolist() == [[0, 2, 0, 1, 2], [1, 1, 0, 1, 2]]
    torch.testing.assert_close(alpha.flatten()[3], torch.tensor(weights[1] / sum(weights)))
    assert layer.message_bits() == 2 * 32


def clean(network: TarMACNetwork, hidden: int) -> AttentionComm:
    """The layer with the weights of the network, whose biases it has not."""
    layer = AttentionComm(hidden, hidden, heads=1, own=True).double()
    with torch.no_grad():
        for name in ("state2query", "state2key", "state2value"):
            getattr(network, name).bias.zero_()
        layer.lin_query.weight.copy_(network.state2query.weight)
        layer.lin_send.weight.copy_(torch.cat([network.state2key.weight, network.state2value.weight]))
        layer.lin_self.weight.zero_()
        layer.lin_self.bias.copy_(network.C_modules[0].bias)
        layer.lin_inbox.weight.copy_(network.C_modules[0].weight)
    return layer


def test_the_layer_is_the_network_without_its_quirks() -> None:
    network = TarMACNetwork(4, 6, (2,), without_quirks=("scale", "own_gate")).double()
    layer = clean(network, 6)
    h, cell = torch.randn(2, 2, 5, 6, dtype=torch.float64)
    gate = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0]])
    done = network(torch.randn(2, 5, 4, dtype=torch.float64), h, cell, gate=gate)
    graph = CommGraph.from_dense((gate > 0).unsqueeze(2) & ~torch.eye(5, dtype=torch.bool))
    for layout in Layout:
        torch.testing.assert_close(layer(h, graph.to_layout(layout)), done["mid/c_0"])


def test_what_it_knows_is_not_on_the_wire() -> None:
    layer = AttentionComm(3, 4, heads=2, own=True)
    h = torch.randn(1, 4, 3)
    graph = CommGraph.from_dense(torch.ones(4, 4, dtype=torch.bool) & ~torch.eye(4, dtype=torch.bool))
    told = layer.receive(h, torch.zeros(1, 4, layer.msg_channels), graph)
    others = torch.where(torch.arange(4).view(1, 4, 1) == 0, h, torch.randn(1, 4, 3))
    assert torch.allclose(layer.receive(others, torch.zeros(1, 4, layer.msg_channels), graph)[:, 0], told[:, 0])


def test_two_rounds_share_their_weights() -> None:
    policy = METHODS["tarmac2"](6, 5, 4, hidden=32)
    first, second = policy.comm.rounds
    assert first is second
    assert first.message_bits() == (16 + 32) * 32
