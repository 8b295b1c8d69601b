"""Layers that cheat in one mode, one type, or beyond a certain size only; and layers that ignore edge weights."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GATv2Conv, GraphConv
from torch_geometric.typing import OptTensor

from gnncomm.graph import CommGraph
from gnncomm.layers import AttentionComm, CommLayer, ConvComm, MAGICComm, MeanComm
from gnncomm.testing import LawError, check_layer
from gnncomm.testing import layer as laws

When = Callable[[nn.Module, Tensor], bool]


def team_mean(rows: Tensor) -> Tensor:
    return rows.nan_to_num(posinf=0.0, neginf=0.0).mean(-2, keepdim=True)


def leaking(when: When, keep: bool = False) -> CommLayer:
    """A layer that subtracts a little of the mean over the team ``when`` it does."""

    class Leaks(MeanComm):
        def forward(
            self, h: Tensor, graph: CommGraph | Tensor, edge_attr: OptTensor = None, edge_weight: OptTensor = None
        ) -> Tensor:
            out = super().forward(h, graph, edge_attr, edge_weight)
            if h.dim() != 3 or not when(self, h):
                return out
            mean = team_mean(h).sum(-1, keepdim=True)
            return out + (mean - mean.detach() if keep else 1e-3 * mean)

    return Leaks(4, 4)


WHEN: dict[str, When] = {
    "in evaluation without gradients, beyond 1,000 rows": lambda layer, h: (
        not layer.training and not torch.is_grad_enabled() and h.shape[:-1].numel() > 1000
    ),
    "of four agents": lambda _layer, h: h.shape[-2] == 4,
    "in inference mode": lambda _layer, _h: torch.is_inference_mode_enabled(),
    "of rows that are views": lambda _layer, h: not h.is_contiguous(),
    "in evaluation": lambda layer, _: not layer.training,
    "in training": lambda layer, _: layer.training,
    "with gradients": lambda _layer, _h: torch.is_grad_enabled(),
    "without gradients": lambda _layer, _h: not torch.is_grad_enabled(),
    "without gradients, beyond 64 rows": lambda _layer, h: not torch.is_grad_enabled() and h.shape[:-1].numel() > 64,
    "with gradients, beyond 64 rows": lambda _layer, h: torch.is_grad_enabled() and h.shape[:-1].numel() > 64,
    "beyond 8 agents": lambda _layer, h: h.shape[-2] > 8,
    "beyond 30 environments": lambda _layer, h: h.shape[0] > 30,
    "for large numbers": lambda _layer, h: float(h.detach().nan_to_num().abs().max()) > 30,
    "for small numbers": lambda _layer, h: float(h.detach().nan_to_num()[0].abs().max()) < 0.1,
    "in float32": lambda _layer, h: h.dtype == torch.float32,
    "in float32, in evaluation, beyond 8 agents": lambda layer, h: (
        h.dtype == torch.float32 and not layer.training and h.shape[-2] > 8
    ),
}


@pytest.mark.parametrize("when", WHEN)
def test_a_leak_that_is_there_sometimes_is_caught(when: str) -> None:
    with pytest.raises(LawError):
        check_layer(leaking(WHEN[when]))


@pytest.mark.parametrize("when", ["in evaluation", "in training", "beyond 8 agents", "with gradients, beyond 64 rows"])
def test_a_gradient_that_leaks_sometimes_is_caught(when: str) -> None:
    with pytest.raises(LawError, match="Law of the jacobian broken"):
        check_layer(leaking(WHEN[when], keep=True))


def test_the_mode_is_named_and_left_as_it_was() -> None:
    layer = MeanComm(4, 4)
    layer.lin_self.eval()
    check_layer(layer)
    assert layer.training
    assert not layer.lin_self.training
    with pytest.raises(LawError) as caught:
        check_layer(leaking(WHEN["in evaluation"]))
    assert "evaluation mode" in caught.value.__notes__[0]


def test_a_dropout_is_tried_in_evaluation_mode() -> None:
    layer = ConvComm(GATv2Conv(4, 4, dropout=0.5, add_self_loops=False))
    check_layer(layer, training=False)
    with pytest.raises(LawError, match="Law of determinism broken"):
        check_layer(layer)


class Dead(MeanComm):
    """Rectified: at half of all rows, and here at the first point, no derivative by what was heard."""

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        return self.lin_self(h) + (self.lin_inbox(inbox).sum(-1, keepdim=True) - self.threshold).relu()


def test_a_derivative_that_vanishes_at_one_point_is_no_crime() -> None:
    """As with maximum and rectifier, where a processor's rounding of the random weights decides."""
    case = next(laws.cases(4, num_agents=5, num_envs=2, edge_dim=0, weighted=False, seed=0))
    layer, hears = Dead(4, 4).double(), case.graph.dense.transpose(1, 2).double()
    inbox = hears @ case.h / hears.sum(-1, keepdim=True).clamp(min=1)
    layer.threshold = 1.2 * layer.lin_inbox(inbox).sum(-1).abs().max().item()  # the rectifier is dead at this point
    leaf = case.h.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((layer(leaf, case.graph) - layer.lin_self(leaf)).sum(), leaf)
    assert not gradient.any()
    laws.check_jacobian(layer, case.h, case.graph)
    layer.threshold = 1e9  # deaf wherever one looks
    with pytest.raises(LawError, match="nothing is communicated"):
        laws.check_jacobian(layer, case.h, case.graph)


class IgnoresWeights(CommLayer):
    """Edge weights reach nobody, and neither would the gradient of who learned them."""

    def __init__(self) -> None:
        super().__init__(4, 4, 4)

    def send(self, h: Tensor) -> Tensor:
        return h

    def message(self, msg_j: Tensor) -> Tensor:
        return msg_j

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        return h + inbox


class DetachesWeights(IgnoresWeights):
    """Right values, no gradient."""

    def message(self, msg_j: Tensor, edge_weight: OptTensor) -> Tensor:
        return msg_j if edge_weight is None else edge_weight.detach().view(-1, 1) * msg_j


class AddsOne(IgnoresWeights):
    """Weights act, but 1 is not 1."""

    def message(self, msg_j: Tensor, edge_weight: OptTensor) -> Tensor:
        return msg_j if edge_weight is None else (1 + edge_weight.view(-1, 1)) * msg_j


@pytest.mark.parametrize("cheat", [IgnoresWeights, DetachesWeights, AddsOne])
def test_weights_without_effect_are_caught(cheat: type[IgnoresWeights]) -> None:
    check_layer(cheat())
    with pytest.raises(LawError, match="Law of edge weights broken"):
        check_layer(cheat(), weighted=True)


@pytest.mark.parametrize(
    "build",
    [
        lambda: MeanComm(4, 4),
        lambda: AttentionComm(4, 4),
        lambda: MAGICComm(4, 4, heads=2),
        lambda: ConvComm(GraphConv(4, 4)),
    ],
)
def test_weight_zero_is_silence(build: Callable[[], CommLayer]) -> None:
    case = next(laws.cases(4, num_agents=5, num_envs=2, edge_dim=0, weighted=True, seed=0))
    laws.check_zero_weights(build().double(), case.h, case.graph)
    with pytest.raises(LawError, match="Law of edge weights broken"):
        laws.check_zero_weights(AddsOne().double(), case.h, case.graph)


def test_it_takes_seconds() -> None:
    start = time.process_time()
    check_layer(AttentionComm(8, 8), weighted=True)
    assert time.process_time() - start < 20
