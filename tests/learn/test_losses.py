"""The two losses of PPO against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gnncomm.learn.losses import masked_mean, policy_loss, value_loss

ALL = torch.tensor([True])
NAN, INF = float("nan"), float("inf")


def surrogate(ratio: float, advantage: float) -> tuple[float, float]:
    """The loss for one action with this ratio, and its derivative by the log-probability."""
    log_prob = torch.tensor([math.log(ratio)], requires_grad=True)
    loss = policy_loss(log_prob, torch.zeros(1), torch.tensor([advantage]), ALL, clip=0.2)
    loss.backward()
    assert log_prob.grad is not None
    return loss.item(), log_prob.grad.item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.4, 0.0),  # good and likely enough: clipped, no pull
        (0.5, 2.0, -1.0, -1.0),  # good and unlikely: pulled back
        (1.5, -2.0, 3.0, 3.0),  # bad and likely: pushed away
        (0.5, -2.0, 1.6, 0.0),  # bad and unlikely enough: clipped
    ],
)
def test_surrogate_by_hand(ratio: float, advantage: float, loss: float, slope: float) -> None:
    assert surrogate(ratio, advantage) == (pytest.approx(loss, rel=1e-6), pytest.approx(slope, rel=1e-6))


@pytest.mark.parametrize(
    ("value", "old", "target", "clip", "loss"),
    [
        (3.0, 0.0, 1.0, None, 2.0),  # (3 - 1)^2 / 2
        (3.0, 0.0, 1.0, 0.5, 2.0),  # clipped to 0.5, the plain error 4 is larger than 0.25
        (1.0, 0.0, 1.0, 0.5, 0.125),  # clipped to 0.5, whose error 0.25 is larger than 0
        (0.2, 0.0, 1.0, 0.5, 0.32),  # within the range: (0.8)^2 / 2
    ],
)
def test_value_loss_by_hand(value: float, old: float, target: float, clip: float | None, loss: float) -> None:
    got = value_loss(torch.tensor([value]), torch.tensor([old]), torch.tensor([target]), ALL, clip)
    assert float(got) == pytest.approx(loss, rel=1e-6)


def test_means_are_over_the_living() -> None:
    x, mask = torch.tensor([1.0, 100.0, 5.0]), torch.tensor([True, False, True])
    assert float(masked_mean(x, mask)) == 3.0
    assert float(masked_mean(x, torch.zeros(3, dtype=torch.bool))) == 0.0


@pytest.mark.parametrize("junk", [NAN, INF, -INF, 1e30])
def test_rows_of_the_dead_may_hold_anything(junk: float) -> None:
    """Each argument in turn: neither the loss nor a gradient changes, and no gradient reaches the dead."""
    mask = torch.tensor([True, False, True])
    clean = [torch.tensor([0.1, 0.2, 0.3]) * k for k in (1, 2, 3, 4)]

    def losses(rows: list[Tensor]) -> tuple[list[float], list[Tensor]]:
        rows = [row.clone().requires_grad_() for row in rows]
        log_prob, old, advantage, target = rows
        total = [policy_loss(log_prob, old, advantage, mask, 0.2), value_loss(log_prob, old, target, mask, 0.2)]
        sum(total, torch.zeros(())).backward()
        return [loss.item() for loss in total], [row.grad for row in rows if row.grad is not None]

    want, want_grad = losses(clean)
    assert all(grad[1] == 0 for grad in want_grad)
    for position in range(4):
        rows = [row.clone() for row in clean]
        rows[position][1] = junk
        got, got_grad = losses(rows)
        assert got == want
        assert all(a.equal(b) for a, b in zip(got_grad, want_grad, strict=True))
