"""The plain baseline is the transformer block of PyTorch wherever everyone hears everyone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph, Layout
from gnncomm.layers import TransformerComm
from gnncomm.topology import Full

F = 8


@pytest.fixture
def block() -> nn.TransformerEncoderLayer:
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(F, 2, 2 * F, 0.0, "gelu", batch_first=True, norm_first=True).double()
    with torch.no_grad():
        block.self_attn.in_proj_bias.zero_()
        for norm in (block.norm1, block.norm2):
            norm.weight.normal_()
            norm.bias.normal_()
    return block


def copied(block: nn.TransformerEncoderLayer) -> TransformerComm:
    layer = TransformerComm(F, heads=2).double()
    query, *rest = block.self_attn.in_proj_weight.chunk(3)
    with torch.no_grad():
        layer.lin_query.weight.copy_(query)
        layer.lin_send.weight.copy_(torch.cat(rest))
    layer.lin_inbox.load_state_dict(block.self_attn.out_proj.state_dict())
    layer.norm_attention.load_state_dict(block.norm1.state_dict())
    layer.norm_mlp.load_state_dict(block.norm2.state_dict())
    layer.mlp[0].load_state_dict(block.linear1.state_dict())
    layer.mlp[2].load_state_dict(block.linear2.state_dict())
    return layer


@pytest.mark.parametrize("layout", Layout)
def test_equals_the_block_of_pytorch(block: nn.TransformerEncoderLayer, layout: Layout) -> None:
    h = torch.randn(3, 5, F, dtype=torch.float64)
    graph = Full()(torch.ones(3, 5, dtype=torch.bool)).to_layout(layout)
    torch.testing.assert_close(copied(block)(h, graph), block(h))


def test_who_is_not_heard_is_masked(block: nn.TransformerEncoderLayer) -> None:
    h = torch.randn(1, 4, F, dtype=torch.float64)
    adjacency = torch.rand(4, 4) < 0.4
    deaf_to = ~(adjacency.t() | torch.eye(4, dtype=torch.bool))  # receiver, sender
    graph = CommGraph.from_dense(adjacency & ~torch.eye(4, dtype=torch.bool))
    torch.testing.assert_close(copied(block)(h, graph), block(h, src_mask=deaf_to))


def test_the_change_alone_is_for_a_stack() -> None:
    whole = TransformerComm(F, heads=2)
    change = TransformerComm(F, heads=2, residual=False)
    change.load_state_dict(whole.state_dict())
    h, graph = torch.randn(1, 3, F), CommGraph.from_edge_list([(0, 1)], 3)
    torch.testing.assert_close(h + change(h, graph), whole(h, graph))
    with pytest.raises(ConfigError, match="divide channels=8"):
        TransformerComm(F, heads=3)
