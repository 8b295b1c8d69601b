"""InforMARL: the clean layers against the released encoder, and one exchange against a graph transformer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import TransformerConv

from gnncomm import methods
from gnncomm.bench.reference import released
from gnncomm.bench.reference.informarl import InforMARLNetwork
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.layers import ConvComm, EmbedComm, InforMARLComm, relative_features
from gnncomm.testing import check_layer

RANGE = 1.2


def embedding_of(network: InforMARLNetwork, features: int) -> EmbedComm:
    """The layer with the weights of the released one; all nodes have the type 0, whose embedding joins the bias."""
    their, layer = network.embed_layer, EmbedComm(features, 8, edge_dim=1).double()
    ours = layer.embedding
    assert ours.lin_edge is not None
    row, entity, edge = their.lin1.weight.data.split([features, 4, 1], 1)
    ours.lin_row.weight.data, ours.lin_edge.weight.data = row, edge
    ours.lin_row.bias.data = their.lin1.bias.data + entity @ their.entity_embed.weight.data[0]
    ours.rest[2].load_state_dict(their.layers[0].state_dict())
    for norm in (ours.rest[1], ours.rest[4]):
        norm.load_state_dict(their.layer_norm.state_dict())
    return layer


def test_the_layers_are_the_released_encoder_with_its_own_features() -> None:
    torch.manual_seed(0)
    network = InforMARLNetwork(5, 8, 8, 3, conv_layers=1, max_edge_dist=RANGE, without_quirks=["no_self"]).double()
    torch.nn.init.normal_(network.embed_layer.layer_norm.weight)  # type: ignore[arg-type]
    pos, x = torch.rand(2, 6, 2, dtype=torch.float64) * 2, torch.randn(2, 6, 5, dtype=torch.float64)
    distance = torch.cdist(pos, pos, compute_mode="donot_use_mm_for_euclid_dist")
    want = network(torch.cat([x, torch.zeros(2, 6, 1)], -1), distance).view(2, 6, -1)
    near = (distance < RANGE) & ~torch.eye(6, dtype=torch.bool)
    graph = relative_features(CommGraph.from_dense(near), pos, vector=False)
    rows = embedding_of(network, 5)(x, graph)
    for conv in (network.gnn1, *network.gnn2):
        comm = ConvComm(conv.float(), edge_dim=1).double()  # to float32 and back: the weights were drawn in it
        rows = comm(rows, graph).relu()
    assert torch.allclose(rows, want, rtol=0, atol=1e-12)


def test_one_exchange_is_a_graph_transformer_over_embedded_messages() -> None:
    torch.manual_seed(0)
    layer = InforMARLComm(5, 6, heads=2, edge_dim=1).double()
    edges = torch.tensor([[0, 1, 2, 3], [2, 2, 1, 2]])
    graph = CommGraph.from_edge_index(edges, 4, 1, attr=torch.rand(4, 1, dtype=torch.float64))
    x = torch.randn(1, 4, 5, dtype=torch.float64)
    conv = TransformerConv(6, 3, heads=2).double()
    for ours, theirs in (("query", "query"), ("value", "value"), ("self", "skip")):
        getattr(conv, f"lin_{theirs}").load_state_dict(getattr(layer, f"lin_{ours}").state_dict())
    conv.lin_key.weight.data = layer.lin_key.weight.data
    torch.nn.init.normal_(conv.lin_key.bias)  # no softmax sees it
    heard = layer.embedding(x[0, graph.edge_index[0]], graph.edge_attr)
    per_message = torch.stack([torch.arange(4), graph.edge_index[1]])
    want = conv((heard, layer.embedding(x[0], None)), per_message)
    assert torch.allclose(layer(x, graph)[0], want, rtol=0, atol=1e-12)


def test_attention_is_what_the_messages_are_weighed_with() -> None:
    torch.manual_seed(0)
    layer = InforMARLComm(4, 4, heads=2, edge_dim=2)
    pos = torch.rand(2, 5, 2)
    graph = relative_features(CommGraph.from_dense(~torch.eye(5, dtype=torch.bool)[None]), pos)
    with pytest.raises(ConfigError, match="width 2, got 3"):
        layer(torch.randn(2, 5, 4), graph)
    layer = InforMARLComm(4, 4, heads=2, edge_dim=3)
    _, (edge_index, alpha) = layer(torch.randn(2, 5, 4), graph, return_attention_weights=True)
    inbox = torch.zeros(10, 2).index_add(0, edge_index[1], alpha)
    assert torch.allclose(inbox, torch.ones(10, 2))


def test_laws() -> None:
    for layer in (EmbedComm(5, 4, edge_dim=1), InforMARLComm(5, 4, heads=2, edge_dim=1)):
        check_layer(layer, edge_dim=1, weighted=True)


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ConfigError, match="divide"):
        InforMARLComm(5, 4, heads=3)
    with pytest.raises(ConfigError, match="edge_dim >= 0"):
        EmbedComm(5, 4, edge_dim=-1)


def test_method() -> None:
    policy = methods.informarl(obs_dim=7, num_actions=3, num_agents=4, hidden=8)
    assert [type(layer) for layer in policy.comm.rounds] == [InforMARLComm, InforMARLComm]
    network = released("informarl", 7, 3, 4, hidden=8)
    nodes: Tensor = torch.cat([torch.randn(2, 4, 7), torch.zeros(2, 4, 1)], -1)
    assert network(nodes, torch.rand(2, 4, 4)).shape == (8, 8)
