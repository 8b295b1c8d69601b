"""The graph filter of Adversarial Comms: by hand, against the released network, over tree-like and weighted graphs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnncomm import methods
from gnncomm.bench.reference import released
from gnncomm.bench.reference.adversarial_comms_graph_filter import GraphFilterNetwork
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.layers import CommStack, GraphFilterComm, symmetric_weights
from gnncomm.testing import check_layer


def shift_of(density: float = 0.5, num_agents: int = 6) -> Tensor:
    draw = torch.rand(2, num_agents, num_agents, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return torch.where(draw < density, draw + 0.1, 0.0) * (1 - torch.eye(num_agents))


def graph_of(shift_BNN: Tensor) -> CommGraph:
    return CommGraph.from_dense(shift_BNN != 0, weight=shift_BNN)


def copied(network: GraphFilterNetwork, taps: int) -> CommStack:
    stack = GraphFilterComm.stack(5, 5, taps, mean=False).double()
    for k, layer in enumerate(stack.rounds, 1):
        assert isinstance(layer, GraphFilterComm)
        layer.lin_inbox.weight.data = network.weight1.data[:, 0, k]
        if k == 1:
            assert network.bias is not None
            layer.lin_self.weight.data, layer.lin_self.bias.data = (
                network.weight1.data[:, 0, 0],
                network.bias.data[:, 0],
            )
    return stack


@pytest.mark.parametrize("taps", [2, 3, 4])
def test_the_stack_is_the_released_filter_with_its_bias(taps: int) -> None:
    torch.manual_seed(0)
    network = GraphFilterNetwork(5, 5, taps, without_quirks=["no_bias"]).double()
    x_BGN, shift_BNN = torch.randn(2, 5, 6, dtype=torch.float64), shift_of()
    want = network(x_BGN, shift_BNN).transpose(1, 2)
    got = copied(network, taps)(x_BGN.transpose(1, 2), graph_of(shift_BNN))
    assert torch.allclose(got, want, rtol=0, atol=1e-12)
    assert (want - network(x_BGN, shift_BNN.transpose(1, 2)).transpose(1, 2)).abs().max() > 0.01


@pytest.mark.parametrize(("mean", "heard"), [(True, 1.5), (False, 3.0)])
def test_numbers_by_hand(mean: bool, heard: float) -> None:
    layer = GraphFilterComm(1, 1, mean=mean)
    layer.lin_self.weight.data.fill_(1.0)
    layer.lin_self.bias.data.fill_(0.5)
    layer.lin_inbox.weight.data.fill_(10.0)
    h = torch.tensor([[[1.0], [2.0], [4.0]]])
    hears = torch.tensor([[[False, False, True], [False, False, True], [False, False, False]]])
    for weight in (None, 1.0, 0.25):
        tensor = None if weight is None else torch.full((1, 3, 3), weight)
        out = layer(h, CommGraph.from_dense(hears, weight=tensor))
        assert out.flatten().tolist() == [1.5, 2.5, 4 + 10 * heard * (weight or 1.0) + 0.5]


@pytest.mark.parametrize("layout", ["dense", "regular", "sparse"])
def test_symmetric_weights_are_those_of_the_degrees(layout: str) -> None:
    path = torch.zeros(1, 4, 4, dtype=torch.bool)
    for a, b in ((0, 1), (1, 2), (1, 3)):
        path[0, a, b] = path[0, b, a] = True
    graph = symmetric_weights(CommGraph.from_dense(path).to_layout(layout))
    assert graph.layout == layout
    assert graph.edge_weight is not None
    assert torch.allclose(graph.edge_weight, torch.full((6,), 3.0).rsqrt())
    adjacency = path[0].double()
    scale = adjacency.sum(0).rsqrt().diag()
    dense = graph.to_layout("dense").weight
    assert dense is not None
    assert torch.allclose(dense[0].double(), scale @ adjacency @ scale, atol=1e-6)


def test_symmetric_weights_know_sender_from_receiver() -> None:
    edges = torch.tensor([[0, 0, 1], [1, 2, 2]])
    weight = symmetric_weights(CommGraph.from_edge_index(edges, 3, 1)).edge_weight
    assert weight is not None
    assert weight.tolist() == pytest.approx([2**-0.5, 0.5, 2**-0.5])
    silent = CommGraph.from_edge_index(edges, 3, 1, weight=torch.tensor([0.0, 1.0, 1.0]))
    scaled = symmetric_weights(silent).edge_weight
    assert scaled is not None
    assert scaled.tolist() == pytest.approx([0.0, 2**-0.5, 2**-0.5])


@pytest.mark.parametrize("mean", [True, False])
def test_laws(mean: bool) -> None:
    check_layer(GraphFilterComm(4, 3, mean=mean))
    check_layer(GraphFilterComm(4, 3, mean=mean), weighted=True)
    check_layer(GraphFilterComm.stack(4, 3, taps=3, mean=mean))
    check_layer(GraphFilterComm.stack(4, 3, taps=3, mean=mean), weighted=True)


def test_rows_that_do_not_fit_are_refused() -> None:
    for widths in ((4, 4, 5), (4, 4, 0), (9, 3, 4), (4, 4, 4, False)):
        with pytest.raises(ConfigError, match="expected a row"):
            GraphFilterComm(*widths)
    with pytest.raises(ConfigError, match="taps >= 2"):
        GraphFilterComm.stack(4, 4, taps=1)


def test_method() -> None:
    policy = methods.adversarial_comms(obs_dim=7, num_actions=3, num_agents=4, hidden=8)
    assert isinstance(policy.comm.rounds[0], GraphFilterComm)
    assert policy.comm.rounds[0].message_bits() == 8 * 32
    network = released("adversarial_comms", 7, 3, 4, hidden=8)
    assert network(torch.randn(2, 8, 4), torch.ones(2, 4, 4)).shape == (2, 8, 4)
