"""A linear probe: what can be read out of vectors, beside what chance reads out of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gnncomm.errors import ConfigError
from gnncomm.probe.information import orders
from gnncomm.shapes import Float, Int

TRAINING = 2 / 3
"""Share of the rows that weights are fitted to; the score is that of the others."""
RIDGE = 1e-2
"""Of the penalty, for each row."""
_AT_ONCE = 1 << 22
"""Numbers of all labels in all orders that are fitted together."""


def read_out(
    x: Float[Tensor, "n M"], y: Int[Tensor, " n"] | Float[Tensor, "n D"], seed: int, permutations: int
) -> tuple[float, float, Float[Tensor, " P"]]:
    r"""How well a linear function of x tells y on rows that it was not fitted to; what a guess without x reaches; and
    the same with y in random orders.

    Ridge regression in closed form, on columns of x of mean 0 and variance 1 (those that vary) and y of mean 0:

    .. math::
        W = (X^\top X + \lambda n I)^{-1} X^\top Y

    Labels (int64) are regressed one-hot and the largest is taken; the score is the share that is right, the guess the
    most frequent label of the training rows. Of numbers the score is :math:`R^2 = 1 - SS_{res} / SS_{tot}`, averaged
    over the D columns, where the guess (their mean) has about 0. Rows have to be independent: here, of different
    episodes.

    Raises:
        ConfigError: fewer than 6 rows.
    """
    if len(x) < 6:
        raise ConfigError(f"A linear probe needs at least 6 rows, got {len(x)}. Play more episodes.")
    order = orders(len(x), seed, 1)[0]
    train, test = order.tensor_split([round(TRAINING * len(x))])
    hat = _hat(x.double(), train, test)
    labels = not y.is_floating_point()
    target = one_hot(torch.unique(y, return_inverse=True)[1]).double() if labels else y.double()
    score = _labels_right if labels else _explained
    found = float(score(hat, target.unsqueeze(0), train, test)[0])
    guess = float((target[test, int(target[train].sum(0).argmax())]).mean()) if labels else 0.0
    shuffled = orders(len(x), seed + 1, permutations)
    chunk = max(1, _AT_ONCE // target.numel())
    null = torch.cat([score(hat, target[part], train, test) for part in shuffled.split(chunk)])
    return found, guess, null


def _hat(x: Tensor, train: Tensor, test: Tensor) -> Float[Tensor, "t f"]:
    """From targets of the training rows (of mean 0) to predictions for the others."""
    mean, deviation = x[train].mean(0), x[train].std(0)
    varies = deviation > 1e-6 * x[train].abs().max().clamp(min=1e-30)
    x = (x[:, varies] - mean[varies]) / deviation[varies]
    fit, rest = x[train], x[test]
    penalty = RIDGE * len(fit) * torch.eye(fit.shape[1], dtype=x.dtype)
    hat: Tensor = rest @ torch.linalg.solve(fit.T @ fit + penalty, fit.T)
    return hat


def _predicted(hat: Tensor, target: Float[Tensor, "P n D"], train: Tensor) -> Float[Tensor, "P t D"]:
    mean = target[:, train].mean(1, keepdim=True)
    return hat @ (target[:, train] - mean) + mean


def _labels_right(hat: Tensor, target: Tensor, train: Tensor, test: Tensor) -> Float[Tensor, " P"]:
    right = _predicted(hat, target, train).argmax(-1) == target[:, test].argmax(-1)
    return right.double().mean(-1)


def _explained(hat: Tensor, target: Tensor, train: Tensor, test: Tensor) -> Float[Tensor, " P"]:
    true = target[:, test]
    left = (true - _predicted(hat, target, train)).square().sum(1)
    whole = (true - target[:, train].mean(1, keepdim=True)).square().sum(1)
    varies = whole > 1e-12
    share = torch.where(varies, 1 - left / whole.clamp(min=1e-12), 0.0)
    return share.sum(-1) / varies.sum(-1).clamp(min=1)


def principal_axes(x: Float[Tensor, "n M"]) -> tuple[Float[Tensor, "n 2"], Float[Tensor, " 2"]]:
    """The rows on the two axes along which they vary most, and the share of the variance along each."""
    centred = x.double() - x.double().mean(0)
    _, size, axes = torch.linalg.svd(centred, full_matrices=False)
    size, axes = size[:2], axes[:2]
    size = torch.nn.functional.pad(size, (0, 2 - len(size)))
    axes = torch.nn.functional.pad(axes, (0, 0, 0, 2 - len(axes)))
    sign = torch.where(axes.gather(1, axes.abs().argmax(1, keepdim=True)) < 0, -1.0, 1.0)  # else it is arbitrary
    return centred @ (axes * sign).T, size.square() / centred.square().sum().clamp(min=1e-30)
