"""ExpoComm: hand-computed numbers, the layers beside the released network, and how far news spread."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gnncomm.bench.reference.expocomm import ExpoCommNetwork
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.layers.expocomm import ExpoComm, ExpoOnePeerComm
from gnncomm.testing import check_layer
from gnncomm.topology import Exponential, OnePeerExponential


def test_hand_computed() -> None:
    layer = ExpoComm(1, 1, key_channels=1)
    for name, parameter in layer.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    out = layer(torch.tensor([[[0.0], [1.0]]]), CommGraph.from_edge_index(torch.tensor([[0], [1]]), 2))
    # Agent 0 hears nobody and keeps its own value; agent 1 scores 0 for agent 0 and 1 for itself.
    assert out.flatten().tolist() == pytest.approx([0.0, math.e / (1 + math.e)])


def test_who_hears_nobody_reads_zeros_in_the_one_peer_form() -> None:
    layer = ExpoOnePeerComm(1)
    for parameter in layer.parameters():
        nn.init.constant_(parameter, 0.0)
    nn.init.constant_(layer.lin_heard.weight, 1.0)
    layer.cell.weight_ih.data[2] = 1.0  # the candidate; gates r = z = 1/2
    out = layer(torch.tensor([[[0.5], [2.0]]]), CommGraph.from_edge_index(torch.tensor([[1], [0]]), 2))
    assert out.flatten().tolist() == pytest.approx([0.5 * math.tanh(2.5) + 0.25, 0.5 * math.tanh(2.0) + 1.0])


def test_more_than_one_peer_is_read_as_the_mean() -> None:
    torch.manual_seed(0)
    layer, h = ExpoOnePeerComm(3), torch.randn(1, 3, 3)
    two = layer(h, CommGraph.from_edge_index(torch.tensor([[1, 2], [0, 0]]), 3))
    h[:, 1] = h[:, 1:].mean(1)
    one = layer(h, CommGraph.from_edge_index(torch.tensor([[1], [0]]), 3))
    torch.testing.assert_close(two[:, 0], one[:, 0])


def test_static_form_is_that_of_the_released_network() -> None:
    torch.manual_seed(0)
    network = ExpoCommNetwork(3, 2, hidden=6, attention=4, slots=4).double()
    layer = ExpoComm(6, 6, key_channels=4).double()
    layer.lin_send.weight.data = torch.cat([network.msg_k.weight.data, network.msg_v.weight.data])
    layer.lin_send.bias.data = torch.cat([network.msg_k.bias.data, network.msg_v.bias.data])
    layer.lin_query.load_state_dict(network.msg_q.state_dict())
    h = torch.randn(2, 5, 6, dtype=torch.float64)
    want, attention = network.attend(h, h, network.neighbours(5))
    graph = Exponential()(torch.ones(1, 5, dtype=torch.bool))
    out, (_, alpha) = layer(h, graph, return_attention_weights=True)
    torch.testing.assert_close(out, want, rtol=0, atol=1e-12)
    torch.testing.assert_close(alpha[-10:, 0].view(2, 5), attention[..., 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_one_peer_form_is_that_of_the_quirkless_released_network(step: int) -> None:
    torch.manual_seed(0)
    network = ExpoCommNetwork(3, 2, hidden=6, slots=4, one_peer=True, without_quirks=("own_turn",)).double()
    layer = ExpoOnePeerComm(6).double()
    layer.lin_heard.load_state_dict(network.msg_processor[0].state_dict())
    layer.cell.load_state_dict(network.msg_rnn.state_dict())
    h = torch.randn(2, 5, 6, dtype=torch.float64)
    sender = network(torch.zeros(2, 5, 3, dtype=torch.float64), h, h, step).sender
    graph = OnePeerExponential()(torch.ones(1, 5, dtype=torch.bool), step=step)
    torch.testing.assert_close(layer(h, graph), network.update(h, h, sender), rtol=0, atol=1e-12)


def test_the_released_static_form_says_nothing_from_its_zero_start() -> None:
    torch.manual_seed(0)
    for without_quirks, spread in (((), 0.0), (("blind",), 1e-3)):
        network = ExpoCommNetwork(3, 2, hidden=6, without_quirks=without_quirks)
        h, msg = torch.zeros(1, 5, 6), torch.zeros(1, 5, 6)
        for step in range(3):
            _, h, msg, *_ = network(torch.randn(1, 5, 3), h, msg, step)
        apart = float((msg - msg[:, :1]).abs().max().detach())
        assert apart <= 1e-6 if spread == 0 else apart > spread


def test_news_reach_everyone_in_log_n_steps() -> None:
    torch.manual_seed(0)
    layer, alive = ExpoOnePeerComm(16).double(), torch.ones(1, 8, dtype=torch.bool)

    def after(steps: int, rows: torch.Tensor) -> torch.Tensor:
        for step in range(steps):
            rows = layer(rows, OnePeerExponential()(alive, step=step))
        return rows

    h = torch.randn(1, 8, 16, dtype=torch.float64)
    for steps, reached in ((1, 2), (2, 4), (3, 8)):
        jacobian = torch.autograd.functional.jacobian(lambda rows, steps=steps: after(steps, rows).sum((0, 2)), h)
        assert ((jacobian != 0).any(-1).squeeze(1).sum(-1) == reached).all()


def test_at_least_two_slots() -> None:
    with pytest.raises(ConfigError, match="slots >= 2"):
        ExpoCommNetwork(3, 2, slots=1)


@pytest.mark.parametrize("layer", [ExpoComm(4, 3, key_channels=2), ExpoOnePeerComm(4)])
def test_laws_hold_with_edge_weights(layer: ExpoComm | ExpoOnePeerComm) -> None:
    check_layer(layer, weighted=True)
