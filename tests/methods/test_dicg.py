"""DICG: hand-computed numbers, and the layer beside the released network."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gnncomm.bench.reference.dicg import DICGNetwork
from gnncomm.graph import CommGraph
from gnncomm.layers import CommStack
from gnncomm.layers.dicg import DICGComm
from gnncomm.testing import check_layer
from gnncomm.topology import Full


def full(num_agents: int) -> CommGraph:
    return Full()(torch.ones(1, num_agents, dtype=torch.bool))


def unit(layer: DICGComm) -> DICGComm:
    for name, parameter in layer.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    return layer


def test_hand_computed() -> None:
    layer = unit(DICGComm(1, 1))
    out, (edge_index, alpha) = layer(torch.tensor([[[0.0], [1.0]]]), full(2), return_attention_weights=True)
    own = math.e / (1 + math.e)  # agent 1: scores 0 * 1 and 1 * 1
    assert out.flatten().tolist() == pytest.approx([0.5, own])
    attention = {(j, i): value for (j, i), value in zip(edge_index.T.tolist(), alpha.flatten().tolist(), strict=True)}
    assert attention == pytest.approx({(0, 1): 1 - own, (1, 0): 0.5, (0, 0): 0.5, (1, 1): own})


@pytest.mark.parametrize("num_agents", [1, 2, 5])
def test_one_round_with_residual_is_the_released_network(num_agents: int) -> None:
    torch.manual_seed(0)
    network = DICGNetwork(obs_dim=3, hidden=(8,), embedding=6, rounds=1).double()
    layer = DICGComm(6, 6).double()
    layer.lin_query.load_state_dict(network.attention_layer.linear_in.state_dict())
    convolution = network.gcn_layers[0]
    layer.lin_inbox.weight.data, layer.lin_inbox.bias.data = convolution.weight.data.T, convolution.bias.data
    _, rows = network(torch.randn(2, num_agents, 3, dtype=torch.float64))
    out = CommStack([layer], nn.Tanh())(rows[0], full(num_agents))
    torch.testing.assert_close(out, rows[0] + rows[1], rtol=0, atol=1e-12)


def test_the_released_graph_convolutions_are_not_trained() -> None:
    network = DICGNetwork(obs_dim=3, hidden=(8,), embedding=6)
    _, rows = network(torch.randn(4, 3))
    rows[-1].sum().backward()
    assert all(parameter.grad is None for parameter in network.gcn_layers.parameters())
    assert network.attention_layer.linear_in.weight.grad is not None


def test_laws_hold_with_edge_weights() -> None:
    check_layer(DICGComm(4, 3), weighted=True)
