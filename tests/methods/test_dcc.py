"""DCC: a recurrent cell that only what was heard updates."""

from __future__ import annotations

import pytest
import torch

from gnncomm import methods
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.layers import CommStack, DCCComm
from gnncomm.schedule import Always
from gnncomm.testing import check_layer


def test_who_hears_nothing_stays_as_it_is() -> None:
    torch.manual_seed(0)
    layer, h = DCCComm(6, heads=2, head_channels=3), torch.randn(2, 3, 6)
    graph = CommGraph.from_edge_index(torch.tensor([[0], [1]]), 3, 1)
    out = layer(h, graph)
    assert torch.equal(out[:, [0, 2]], h[:, [0, 2]])
    assert not torch.equal(out[:, 1], h[:, 1])


def test_one_message_enters_the_cell_as_its_value() -> None:
    torch.manual_seed(0)
    layer = DCCComm(6, heads=2, head_channels=3, edge_dim=2).double()
    h, attr = torch.randn(1, 2, 6, dtype=torch.float64), torch.randn(1, 2, dtype=torch.float64)
    graph = CommGraph.from_edge_index(torch.tensor([[0], [1]]), 2, 1, attr=attr)
    assert layer.lin_edge is not None
    value = h[:, 0] @ layer.lin_key_value.weight[6:].T + attr @ layer.lin_edge.weight[6:].T
    assert torch.allclose(layer(h, graph)[:, 1], layer.cell(layer.lin_inbox(value), h[:, 1]))


def test_attention_by_loops() -> None:
    torch.manual_seed(0)
    layer, h = DCCComm(6, heads=2, head_channels=3).double(), torch.randn(1, 4, 6, dtype=torch.float64)
    graph = CommGraph.from_dense(~torch.eye(4, dtype=torch.bool)[None])
    _, (edge_index, alpha) = layer(h, graph, return_attention_weights=True)
    for i in range(4):
        others = [j for j in range(4) if j != i]
        query = layer.lin_query(layer.norm(h[0, i])).view(2, 3)
        keys = torch.stack([layer.lin_key_value(h[0, j])[:6].view(2, 3) for j in others])
        want = ((query * keys).sum(-1) / 3**0.5).softmax(0)
        assert torch.allclose(alpha[edge_index[1] == i], want)


def test_weights_of_zero_are_heard_as_nothing_said() -> None:
    """An edge that weighs nothing is still a message: the cell is updated, by the bias alone."""
    torch.manual_seed(0)
    layer, h = DCCComm(6, heads=2, head_channels=3), torch.randn(1, 2, 6)
    graph = CommGraph.from_edge_index(torch.tensor([[0], [1]]), 2, 1, weight=torch.zeros(1))
    assert torch.allclose(layer(h, graph)[:, 1], layer.cell(layer.lin_inbox.bias.unsqueeze(0), h[:, 1]))


def test_laws() -> None:
    check_layer(DCCComm(5, heads=2, head_channels=3, edge_dim=2), edge_dim=2, weighted=True)
    check_layer(CommStack([DCCComm(5, heads=2, head_channels=3)] * 2, residual=False))
    with pytest.raises(ConfigError, match="heads >= 1"):
        DCCComm(5, heads=0)


def test_method() -> None:
    policy = methods.dcc(obs_dim=7, num_actions=3, num_agents=4, hidden=8)
    request, reply = policy.comm.rounds
    assert request is reply
    assert isinstance(request, DCCComm)
    assert (request.heads, request.head_channels) == (4, 32)
    assert isinstance(policy.wire.scheduler, Always)
