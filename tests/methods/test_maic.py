"""MAIC: hand-computed numbers, and the layer beside the released network."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gnncomm.bench.reference.maic import MAICNetwork
from gnncomm.layers.maic import MAICComm
from gnncomm.methods.losses.maic import attention_entropy, gaussian_kl
from gnncomm.testing import check_layer
from gnncomm.topology import Empty, Full

ALIVE = torch.ones(1, 3, dtype=torch.bool)


def test_hand_computed() -> None:
    layer = MAICComm(1, 1, latent_channels=1, key_channels=1)
    layer.model, layer.incentive = nn.Linear(1, 1), nn.Linear(2, 1)
    for name, parameter in layer.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    layer.incentive.weight.data = torch.tensor([[1.0, 10.0]])
    h = torch.tensor([[[0.0], [1.0], [2.0]]])
    # z = h, f = h_i + 10 z_j, scores h_j h_i. Agent 1 hears 0 and 2 with scores 0 and 2.
    of_two = 1 / (1 + math.exp(-2))
    of_one = 1 / (1 + math.exp(-2))  # agent 2 hears 0 and 1 with scores 0 and 2
    want = [15.0, 1 + 20 * of_two, 2 + 10 * of_one]
    out, (edge_index, alpha) = layer(h, Full()(ALIVE), return_attention_weights=True)
    assert out.flatten().tolist() == pytest.approx(want)
    assert alpha[(edge_index[0] == 2) & (edge_index[1] == 1)].item() == pytest.approx(of_two)
    assert layer(h, Empty()(ALIVE)).flatten().tolist() == [0.0, 0.0, 0.0]


def test_is_the_released_network_where_all_have_one_model() -> None:
    torch.manual_seed(0)
    network = (
        MAICNetwork(2, 5, 3, hidden=6, width=7, latent=4, attention=3, without_quirks=("over_receivers",))
        .double()
        .eval()
    )
    layer = MAICComm(6, 5, latent_channels=4, key_channels=3, width=7).double()
    mean = torch.randn(4, dtype=torch.float64)
    for last, value in ((network.embed_net[3], torch.cat([mean.repeat(3), torch.zeros(12)])), (layer.model[2], mean)):
        nn.init.zeros_(last.weight)
        last.bias.data = value.double()
    layer.incentive.load_state_dict(network.msg_net.state_dict())
    layer.lin_query.load_state_dict(network.w_query.state_dict())
    layer.lin_key.load_state_dict(network.w_key.state_dict())
    obs, h = torch.randn(2, 3, 2, dtype=torch.float64), torch.randn(2, 3, 6, dtype=torch.float64)
    step = network(obs, h, eps=torch.zeros(2, 3, 3, 4, dtype=torch.float64))
    incentives = step.q - network.fc2(step.h)
    torch.testing.assert_close(layer(step.h, Full()(ALIVE)), incentives, rtol=0, atol=1e-12)


def test_small_attention_is_cut_in_execution_only() -> None:
    torch.manual_seed(0)
    network = MAICNetwork(2, 5, 4).eval()
    nn.init.constant_(network.w_query.weight, 0.0)
    network.w_query.bias.data, network.w_key.bias.data = torch.ones(32), torch.zeros(32)
    nn.init.constant_(network.w_key.weight, 2.0)
    obs, h = torch.randn(1, 4, 2), torch.randn(1, 4, 64)
    step = network(obs, h)
    small = (step.alpha < 0.25 / 4) & (step.alpha > 0)
    assert (small & (step.alpha > 0.01)).any()
    used = torch.where(small, 0.0, step.alpha)
    torch.testing.assert_close(step.q, network.fc2(step.h) + (used.unsqueeze(-1) * step.msg).sum(1))
    training = network(obs, h, eps=torch.zeros(1, 4, 4, 8))
    torch.testing.assert_close(training.q, network.fc2(step.h) + (step.alpha.unsqueeze(-1) * step.msg).sum(1))


def test_laws_hold_with_edge_weights() -> None:
    check_layer(MAICComm(4, 3, latent_channels=2, key_channels=2, width=5), weighted=True)


def test_gaussian_kl() -> None:
    one, two, zero = torch.ones(1, 1), torch.full((1, 1), 2.0), torch.zeros(1, 1)
    assert gaussian_kl(zero, one, one, two).item() == pytest.approx(0.5 * math.log(2))
    assert gaussian_kl(one, two, one, two).item() == 0.0
    p, q = (torch.distributions.Normal(mean, variance.sqrt()) for mean, variance in ((two, two), (zero, one)))
    want = torch.distributions.kl_divergence(p, q).item()
    assert gaussian_kl(two, two, zero, one).item() == pytest.approx(want)


def test_attention_entropy() -> None:
    even, sure = attention_entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]])).tolist()
    assert even == pytest.approx(1.0)
    assert sure == pytest.approx(-1e-4 * math.log2(1e-4))
