"""DGN: hand-computed numbers, the layer beside the released network, and Q on the rows of all rounds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gnncomm.bench.reference.dgn import DGNNetwork
from gnncomm.graph import CommGraph
from gnncomm.layers import CommStack
from gnncomm.layers.dgn import DGNComm
from gnncomm.testing import check_layer

EDGES = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 1], [0, 1, 0, 0], [1, 0, 1, 0]], dtype=torch.bool)
GRAPH = CommGraph.from_dense(EDGES)  # sender, receiver


def test_hand_computed() -> None:
    layer = DGNComm(1, 1, heads=1, head_channels=1)
    for name, parameter in layer.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    graph = CommGraph.from_edge_index(torch.tensor([[1, 0], [0, 2]]), 3)
    out = layer(torch.tensor([[[1.0], [2.0], [-1.0]]]), graph)
    # Agent 0: scores 1 of itself and 2 of agent 1. Agent 1 hears nobody. Agent 2 asks with relu(-1) = 0.
    assert out.flatten().tolist() == pytest.approx([(1 + 2 * math.e) / (1 + math.e), 2.0, 0.5])


def test_a_round_is_that_of_the_quirkless_released_network() -> None:
    torch.manual_seed(0)
    network = DGNNetwork(3, 2, hidden=6, without_quirks=("unscaled", "no_output")).double()
    relation = network.get_submodule("att_1")
    layer = DGNComm(6, 6, heads=1, head_channels=6).double()
    layer.lin_send.weight.data = torch.cat([relation.fck.weight.data, relation.fcv.weight.data])
    layer.lin_send.bias.data = torch.cat([relation.fck.bias.data, relation.fcv.bias.data])
    layer.lin_query.load_state_dict(relation.fcq.state_dict())
    layer.lin_out.load_state_dict(relation.fcout.state_dict())
    nn.init.eye_(layer.lin_place.weight)
    h = torch.randn(2, 4, 6, dtype=torch.float64)
    adjacency = (EDGES.T | torch.eye(4, dtype=torch.bool)).double()
    want, _, _ = network.relate(relation, h, adjacency)
    torch.testing.assert_close(layer(h, GRAPH), want, rtol=0, atol=1e-12)


def test_a_linear_head_on_the_stack_reads_the_rows_of_all_rounds() -> None:
    """Rows of three blocks: each round reads the one before it and writes the next."""
    torch.manual_seed(0)
    small = [DGNComm(2, 2, heads=2, head_channels=3) for _ in range(2)]
    wide = []
    for number, layer in enumerate(small):
        nn.init.eye_(layer.lin_place.weight)
        twin = DGNComm(6, 6, heads=2, head_channels=3)
        for parameter in twin.parameters():
            nn.init.zeros_(parameter)
        reads, writes = slice(2 * number, 2 * number + 2), slice(2 * number + 2, 2 * number + 4)
        twin.lin_send.weight.data[:, reads], twin.lin_send.bias.data = layer.lin_send.weight, layer.lin_send.bias.data
        twin.lin_query.weight.data[:, reads] = layer.lin_query.weight
        twin.lin_query.bias.data = layer.lin_query.bias.data
        twin.lin_out.weight.data[:2], twin.lin_out.bias.data[:2] = layer.lin_out.weight, layer.lin_out.bias
        twin.lin_place.weight.data[writes, :2] = torch.eye(2)
        wide.append(twin)
    h0 = torch.randn(3, 4, 2)
    c1 = small[0](h0, GRAPH)
    c2 = small[1](c1, GRAPH)
    rows = CommStack(wide)(torch.cat([h0, torch.zeros(3, 4, 4)], -1), GRAPH)
    torch.testing.assert_close(rows, torch.cat([h0, c1, c2], -1))


def test_laws_hold_with_edge_weights() -> None:
    check_layer(DGNComm(4, 3, heads=2, head_channels=3), weighted=True)
