"""The attention filter of MAGAT: by hand, and against the released network with its normalisation put right."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gnncomm import methods
from gnncomm.bench.reference import released
from gnncomm.bench.reference.magat import MagatNetwork
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.layers import CommStack, MAGATComm
from gnncomm.testing import check_layer

LOCAL = ("rows", "unscaled", "sparsity_only")


def copied(network: MagatNetwork, taps: int, heads: int) -> CommStack:
    width = network.filterWeight.shape[1]
    stack = MAGATComm.stack(width, heads * width, taps, heads).double()
    for k, layer in enumerate(stack.rounds, 1):
        assert isinstance(layer, MAGATComm)
        tap_PFG = network.filterWeight.data[:, :, 0, k]
        layer.lin_query.weight.data = network.weight.data[:, 0].flatten(0, 1)
        layer.lin_inbox.weight.data = torch.block_diag(*tap_PFG)
        if k == 1:
            assert network.bias is not None
            layer.lin_self.weight.data = network.filterWeight.data[:, :, 0, 0].flatten(0, 1)
            layer.lin_self.bias.data = network.bias.data[:, 0].repeat(heads)
    return stack


def shift_of(num_agents: int = 6) -> Tensor:
    draw = torch.rand(2, num_agents, num_agents, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return torch.where(draw < 0.5, draw + 0.1, 0.0) * (1 - torch.eye(num_agents))


@pytest.mark.parametrize(("taps", "heads"), [(2, 1), (3, 2), (4, 3)])
def test_the_stack_is_the_released_filter_with_local_attention(taps: int, heads: int) -> None:
    torch.manual_seed(0)
    network = MagatNetwork(5, 5, heads, taps, without_quirks=LOCAL).double()
    x_BGN, shift_BNN = 2 * torch.randn(2, 5, 6, dtype=torch.float64), shift_of()
    graph = CommGraph.from_dense(shift_BNN != 0, weight=shift_BNN)
    got = copied(network, taps, heads)(x_BGN.transpose(1, 2), graph).relu()
    assert torch.allclose(got, network(x_BGN, shift_BNN).transpose(1, 2), rtol=0, atol=1e-12)


def test_all_rounds_have_the_attention_of_the_first() -> None:
    stack = MAGATComm.stack(3, 4, taps=4, heads=2)
    assert [layer.msg_channels for layer in stack.rounds] == [3, 9, 9]
    assert len({id(layer.lin_query) for layer in stack.rounds}) == 1  # type: ignore[attr-defined]


def test_a_softmax_by_hand() -> None:
    layer = MAGATComm(1, 1)
    layer.lin_query.weight.data.fill_(1.0)
    layer.lin_self.weight.data.fill_(0.0)
    layer.lin_self.bias.data.fill_(0.0)
    layer.lin_inbox.weight.data.fill_(4.0)
    h = torch.tensor([[[0.0], [math.log(3.0)], [1.0]]])
    hears = torch.tensor([[[False, False, True], [False, False, True], [False, False, False]]])
    out, (edge_index, alpha) = layer(h, CommGraph.from_dense(hears), return_attention_weights=True)
    assert edge_index.tolist() == [[0, 1], [2, 2]]
    assert alpha.flatten().tolist() == pytest.approx([0.25, 0.75])
    assert out.flatten().tolist() == pytest.approx([0.0, 0.0, 3 * math.log(3.0)])


def test_laws() -> None:
    check_layer(MAGATComm(4, 3, heads=2), weighted=True)
    check_layer(MAGATComm.stack(4, 3, taps=3, heads=2))


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="heads >= 1"):
        MAGATComm(4, 4, heads=0)
    with pytest.raises(ConfigError, match="expected a row"):
        MAGATComm(9, 4, heads=1, signal_channels=4)
    with pytest.raises(ConfigError, match="taps >= 2"):
        MAGATComm.stack(4, 4, taps=1)


def test_method() -> None:
    policy = methods.magat(obs_dim=7, num_actions=3, num_agents=4, hidden=8)
    assert [type(layer) for layer in policy.comm.rounds] == [MAGATComm, MAGATComm]
    network = released("magat", 7, 3, 4, hidden=8, without_quirks=["rows"])
    assert network(torch.randn(2, 8, 4), torch.ones(2, 4, 4)).shape == (2, 8, 4)
