"""Heads and loss terms of value-based methods: hand-computed numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gnncomm.codec import Bottleneck
from gnncomm.methods import value_side
from gnncomm.moment import Moment


def test_temporal_relation_kl() -> None:
    now = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], requires_grad=True)
    following = torch.tensor([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]], requires_grad=True)
    loss = value_side.temporal_relation_kl(now, following)
    assert loss.tolist() == pytest.approx([0.25 * math.log(0.5) + 0.75 * math.log(1.5), 0.0])
    loss.sum().backward()
    assert following.grad is None  # the target
    assert now.grad is not None
    assert now.grad.tolist() == [pytest.approx([-0.5, -1.5, 0.0]), pytest.approx([-1.0, 0.0, 0.0])]


def test_skip_head() -> None:
    head = value_side.SkipHead(1, 3, 2)
    head.lin.weight.data, head.lin.bias.data = torch.tensor([[1.0, 10.0, 100.0], [0.0, 0.0, 1.0]]), torch.zeros(2)
    assert head(torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([3.0])).tolist() == [321.0, 3.0]


def test_add_incentives() -> None:
    alpha, msg = torch.zeros(2, 2), torch.zeros(2, 2, 1)
    alpha[0, 1], msg[0, 1] = 0.5, 4.0  # from agent 0 to agent 1
    assert value_side.add_incentives(torch.ones(2, 1), alpha, msg).flatten().tolist() == [1.0, 3.0]


def test_gaussian_kl() -> None:
    one, two, zero = torch.ones(1, 1), torch.full((1, 1), 2.0), torch.zeros(1, 1)
    assert value_side.gaussian_kl(zero, one, one, two).item() == pytest.approx(0.5 * math.log(2))
    assert value_side.gaussian_kl(one, two, one, two).item() == 0.0
    p, q = (torch.distributions.Normal(mean, variance.sqrt()) for mean, variance in ((two, two), (zero, one)))
    want = torch.distributions.kl_divergence(p, q).item()
    assert value_side.gaussian_kl(two, two, zero, one).item() == pytest.approx(want)


def test_attention_entropy() -> None:
    even, sure = value_side.attention_entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]])).tolist()
    assert even == pytest.approx(1.0)
    assert sure == pytest.approx(-1e-4 * math.log2(1e-4))


def test_message_kl_is_what_the_codec_charges() -> None:
    mean = torch.tensor([[[2.0, 0.0], [1.0, -1.0]]])
    assert value_side.message_kl(mean, torch.ones_like(mean)).tolist() == [[2.0, 1.0]]
    moment = Moment(torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), 0)
    coded = Bottleneck(sigma=0.5, beta=1.0)(mean, moment)
    assert coded.cost is not None
    torch.testing.assert_close(coded.cost, value_side.message_kl(mean, torch.full_like(mean, 0.5)))


def test_action_inference_loss() -> None:
    logits = torch.tensor([[[0.0, math.log(3)], [0.0, 0.0]]])
    loss = value_side.action_inference_loss(logits, torch.tensor([[1, 0]]))
    assert loss.tolist() == [pytest.approx([-math.log(0.75), math.log(2)])]


def test_message_smoothness() -> None:
    msg = torch.tensor([1.0, 2.0, 4.0, 4.0, 4.0]).view(5, 1, 1, 1)
    want = [0.0, 1.5 * 1 / 4, (1.5 * 4 + 9) / (2 * 16), (4 + 0.5 * 9) / (3 * 16), (0.5 * 4) / (3 * 16)]
    assert value_side.message_smoothness(msg).flatten().tolist() == pytest.approx(want)
    assert value_side.message_smoothness(torch.zeros(3, 1, 1, 2)).isfinite().all()


def test_margin_penalty() -> None:
    assert value_side.margin_penalty(torch.tensor([1.0, 1.1, 0.0])).item() == pytest.approx(math.exp(-2.5), rel=1e-5)


def test_state_prediction() -> None:
    predict = value_side.StatePrediction(4, 2)
    for parameter in predict.parameters():
        nn.init.zeros_(parameter)
    nn.init.ones_(predict.net[2].bias)
    assert predict(torch.randn(5, 3, 4), torch.tensor([3.0, 1.0]).expand(5, 2)).item() == pytest.approx(2.0)


def test_info_nce() -> None:
    anchor, positive = torch.tensor([[1.0, 0.0]]), torch.tensor([[5.0, 0.0]])
    negative = torch.tensor([[[0.0, 1.0], [0.0, 3.0]]])
    loss = value_side.info_nce(anchor, positive, negative, temperature=1.0)
    assert loss.item() == pytest.approx(-math.log(math.e / (math.e + 2)))
    sharper = value_side.info_nce(anchor, positive, negative)
    assert sharper.item() == pytest.approx(math.log1p(2 * math.exp(-1 / 0.07)), rel=0.2)
