"""HetGPPO: relative features by hand, the clean layer against the released network with one set of weights."""

from __future__ import annotations

import pytest
import torch

from gnncomm import methods
from gnncomm.bench.reference import released
from gnncomm.bench.reference.hetgppo_matposconv import HetGPPONetwork
from gnncomm.errors import ConfigError, ShapeError
from gnncomm.graph import CommGraph
from gnncomm.layers import HetGPPOComm, relative_features
from gnncomm.testing import check_layer


@pytest.mark.parametrize(("ours", "theirs"), [("sum", "add"), ("mean", "mean"), ("max", "max")])
def test_the_layer_is_the_released_network_with_one_set_of_weights(ours: str, theirs: str) -> None:
    torch.manual_seed(0)
    network = HetGPPONetwork(6, 16, 3, None, theirs).double()
    edges = torch.tensor([[0, 1, 2, 3, 1], [1, 0, 1, 1, 2]])
    x, pos, vel = (torch.randn(2, 4, width, dtype=torch.float64) for width in (6, 2, 2))
    layer = HetGPPOComm(6, 16, 16, edge_dim=5, aggr=ours).double()
    encoder, decoder = network.gnns[0].gnn["message_encoder"], network.decoders[0]
    assert layer.lin_edge is not None
    layer.lin_send.weight.data, layer.lin_edge.weight.data = encoder[0].weight.data.split([6, 5], 1)
    layer.bias.data = encoder[0].bias.data
    layer.lin_message.load_state_dict(encoder[2].state_dict())
    layer.decoder.load_state_dict({name: value for name, value in decoder.state_dict().items() if name[0] in "02"})
    graph = relative_features(CommGraph.from_edge_index(edges, 4, 1), pos, vel)
    got = network.heads[0](layer(x, graph).tanh())
    assert torch.allclose(got, network(x, pos, vel, edges), rtol=0, atol=1e-12)


def test_heterogeneous_networks_are_those_of_their_agents() -> None:
    torch.manual_seed(0)
    network = HetGPPONetwork(6, 8, 3, num_agents=3).double()
    edges = torch.tensor([[0, 1, 2, 2], [1, 2, 0, 2]])
    x, pos, vel = (torch.randn(2, 3, width, dtype=torch.float64) for width in (6, 2, 2))
    before = network(x, pos, vel, edges)
    assert torch.equal(network(x, pos, vel, edges[:, :3]), before)  # the self-loop counts for nothing
    for parameter in network.gnns[1].parameters():
        parameter.data.zero_()
    after = network(x, pos, vel, edges)
    assert torch.equal(before[:, [0, 2]], after[:, [0, 2]])
    assert not torch.equal(before[:, 1], after[:, 1])


@pytest.mark.parametrize("layout", ["dense", "regular", "sparse"])
def test_relative_features_by_hand(layout: str) -> None:
    pos = torch.tensor([[[0.0, 0.0], [3.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]]])
    vel = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]).expand(2, -1, -1)
    graph = CommGraph.from_edge_index(torch.tensor([[0], [1]]), 2, 1).to_layout(layout)
    attr = relative_features(graph, pos, vel).edge_attr
    assert attr is not None
    assert attr.tolist() == [[-3.0, -4.0, 5.0, 1.0, -2.0], [0.0, 0.0, 0.0, 1.0, -2.0]]
    distance = relative_features(graph, pos, vector=False).edge_attr
    assert distance is not None
    assert distance.tolist() == [[5.0], [0.0]]


def test_agents_in_one_place_have_finite_gradients() -> None:
    pos = torch.ones(1, 2, 2, requires_grad=True)
    attr = relative_features(CommGraph.from_dense(torch.ones(1, 2, 2, dtype=torch.bool)), pos).edge_attr
    assert attr is not None
    attr.sum().backward()
    assert pos.grad is not None
    assert pos.grad.isfinite().all()


def test_weights_stay_and_wrong_positions_are_refused() -> None:
    graph = CommGraph.from_dense(torch.ones(1, 2, 2, dtype=torch.bool), weight=torch.full((1, 2, 2), 0.5))
    weight = relative_features(graph, torch.zeros(3, 2, 2)).edge_weight
    assert weight is not None
    assert weight.tolist() == [0.5] * 12
    with pytest.raises(ShapeError, match="expected pos"):
        relative_features(graph, torch.zeros(3, 4, 2))


def test_laws() -> None:
    check_layer(HetGPPOComm(5, 4, 3, edge_dim=3), edge_dim=3)
    check_layer(HetGPPOComm(5, 4, 3, edge_dim=2, aggr="mean"), edge_dim=2, weighted=True)
    check_layer(HetGPPOComm(5, 4, aggr="max"))


def test_features_of_another_width_are_refused() -> None:
    graph = CommGraph.from_dense(torch.ones(1, 3, 3, dtype=torch.bool))
    with pytest.raises(ConfigError, match="edge features of width 3, got none"):
        HetGPPOComm(5, 4, edge_dim=3)(torch.zeros(1, 3, 5), graph)
    with pytest.raises(ConfigError, match="edge features of width 0, got 3"):
        HetGPPOComm(5, 4)(torch.zeros(1, 3, 5), relative_features(graph, torch.zeros(1, 3, 2)))
    with pytest.raises(ConfigError, match="sum, mean or max"):
        HetGPPOComm(5, 4, aggr="median")


def test_method() -> None:
    policy = methods.hetgppo(obs_dim=7, num_actions=3, num_agents=4, hidden=8)
    assert isinstance(policy.comm.rounds[0], HetGPPOComm)
    assert policy.memory.state_dim == 0
    network = released("hetgppo", 7, 3, 4, hidden=8)
    x, pos = torch.randn(2, 4, 7), torch.randn(2, 4, 2)
    assert network(x, pos, pos, torch.tensor([[0], [1]])).shape == (2, 4, 3)
