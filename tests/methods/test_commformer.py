"""CommFormer: the layer beside a block of the released encoder."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gnncomm.bench.reference.commformer import CommFormerNetwork, CommFormerSettings, Relations
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.layers.commformer import CommFormerComm
from gnncomm.testing import check_layer

EDGES = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 1], [0, 1, 0, 0], [1, 0, 1, 0]], dtype=torch.bool)  # sender, receiver


@pytest.mark.parametrize("relations", [False, True])
def test_is_a_block_of_the_quirkless_released_encoder(relations: bool) -> None:
    torch.manual_seed(0)
    settings = CommFormerSettings(3, 2, 4, hidden=6, heads=2, relations=relations)
    network = CommFormerNetwork(settings, without_quirks=("twice_scaled",)).double()
    # Without self edges in the graph the learned embedding could only tell oneself from the others: let it not.
    network.edges_embed.weight.data[0] = network.edges_embed.weight.data[1]
    block = network.encoder.blocks[0]
    attention = block.self_attn
    for parameter in attention.parameters():
        nn.init.normal_(parameter)
    layer = CommFormerComm(6, heads=2).double()
    of_query, of_key = attention.relation_in_proj(network.edges_embed.weight.data[1]).detach().chunk(2)
    weights, biases = attention.in_proj_weight.data.chunk(3), list(attention.in_proj_bias.data.chunk(3))
    if relations:
        biases[0], biases[1] = biases[0] + of_query, biases[1] + of_key
    layer.lin_query.weight.data, layer.lin_query.bias.data = weights[0], biases[0]
    layer.lin_send.weight.data, layer.lin_send.bias.data = torch.cat(weights[1:]), torch.cat(biases[1:])
    for mine, theirs in ((layer.lin_inbox, attention.out_proj), (layer.mlp[0], block.fc1), (layer.mlp[2], block.fc2)):
        mine.weight.data, mine.bias.data = theirs.weight.data.T, theirs.bias.data
    layer.norm_attention.load_state_dict(block.attn_layer_norm.state_dict())
    layer.norm_mlp.load_state_dict(block.ff_layer_norm.state_dict())
    obs = torch.randn(2, 4, 3, dtype=torch.float64)
    adjacency = EDGES.T.double()
    _, rep, _ = network.encode(obs, Relations(adjacency, adjacency.long()))
    rows = network.encoder.ln(network.encoder.obs_encoder(obs))
    torch.testing.assert_close(layer(rows, CommGraph.from_dense(EDGES)), rep, rtol=0, atol=1e-12)


def test_greedy_actions_are_those_that_the_decoder_likes_best() -> None:
    torch.manual_seed(0)
    network = CommFormerNetwork(CommFormerSettings(3, 4, 5, hidden=8)).double()
    for parameter in network.decoder.parameters():
        nn.init.normal_(parameter)
    graph, available = network.relations(), torch.ones(2, 5, 4, dtype=torch.float64)
    available[:, 2, :3] = 0
    with torch.no_grad():
        _, rep, _ = network.encode(torch.randn(2, 5, 3, dtype=torch.float64), graph)
        action, log_prob = network.act(rep, graph, available)
        logits, _ = network.decode(action, rep, graph)
    logits = torch.where(available > 0, logits, -torch.inf)
    assert (action[:, 2] == 3).all()
    assert torch.equal(action, logits.argmax(-1))
    torch.testing.assert_close(log_prob, logits.log_softmax(-1).amax(-1))


def test_heads_divide_channels() -> None:
    with pytest.raises(ConfigError, match="heads=4"):
        CommFormerComm(6, heads=4)


def test_laws_hold_with_edge_weights() -> None:
    check_layer(CommFormerComm(4, heads=2), weighted=True)
