"""Entropy and mutual information of codes, and what chance alone would give."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ConfigError, ShapeError
from gnncomm.shapes import Float, Int

CODES = 16
"""Clusters that vectors are sorted into, where they take more different values than ``EXACT`` allows."""
EXACT = 8
"""Values are told apart as they are while there are at least so many rows for each of them."""
MOST_CELLS = 1 << 27
_ROUNDS = 25
"""Of the search for clusters."""


def entropy(codes: Int[Tensor, " n"]) -> float:
    r"""Bits: the plug-in estimate with the correction of Miller (1955) and Madow.

    .. math::
        \hat H = -\sum_k \hat p_k \log_2 \hat p_k + \frac{K - 1}{2 n \ln 2}

    with the shares :math:`\hat p_k` of the K codes that occur in n rows; the correction takes off the first-order bias
    (Paninski 2003, "Estimation of entropy and mutual information", section 4).
    """
    count = _counts(codes).double()
    share = count / len(codes)
    return float(-(share * share.log2()).sum()) + (len(count) - 1) / (2 * len(codes) * math.log(2))


def mutual_information(x: Int[Tensor, " n"], y: Int[Tensor, " n"]) -> float:
    r"""Bits: :math:`\hat H(x) + \hat H(y) - \hat H(x, y)`, each as ``entropy``; about 0 if independent, also below.

    Raises:
        ShapeError: rows of different number, or none.
    """
    return float(_information(x, y, torch.arange(len(y)).unsqueeze(0))[0])


def by_chance(x: Int[Tensor, " n"], y: Int[Tensor, " n"], seed: int, permutations: int) -> Float[Tensor, " P"]:
    """The mutual information of x and y with the rows of y in random orders: a sample of its null distribution.

    Exact for rows that are independent (here: of different episodes), whatever the distributions of x and y.
    """
    return _information(x, y, orders(len(y), seed, permutations))


def p_value(found: float, null: Tensor) -> float:
    """``(1 + #{null >= found}) / (1 + P)``: of a test that rejects a true null at most as often as it says.

    Phipson and Smyth 2010, "Permutation p-values should never be zero".
    """
    tolerance = 1e-9 * max(1.0, abs(found))
    return (1 + int((null >= found - tolerance).sum())) / (1 + len(null))


def orders(rows: int, seed: int, count: int) -> Int[Tensor, "P n"]:
    """``count`` random orders of the rows; the same for the same arguments."""
    key = random.stream(seed, "orders")
    return random.uniform(key, torch.arange(count).unsqueeze(-1), torch.arange(rows), dtype=torch.float64).argsort(-1)


def codes(x: Tensor, seed: int = 0, most: int = CODES) -> tuple[Int[Tensor, " n"], bool]:
    """A number for each row of ``x [n, D]``, and whether equal numbers mean equal rows.

    Rows are told apart as they are (to four digits of the largest, as products of other batches round otherwise) where
    each value occurs ``EXACT`` times on average; else by ``most`` clusters (k-means from k-means++ seeds, columns at
    unit variance): then an entropy is at most log2(``most``), and a mutual information tells less than there is.
    """
    scale = x.double().abs().max().clamp(min=1e-30) if x.is_floating_point() and x.numel() else torch.ones(())
    _, exact = (x.double() / scale).mul(1e4).round().unique(dim=0, return_inverse=True)
    if int(exact.max()) + 1 <= max(2, len(x) // EXACT):
        return exact, True
    return _clusters(x.double(), seed, min(most, len(x) // EXACT + 1)), False


def _clusters(x: Float[Tensor, "n D"], seed: int, count: int) -> Int[Tensor, " n"]:
    x = (x - x.mean(0)) / x.std(0).clamp(min=1e-12)
    key, row = random.stream(seed, "clusters"), 0
    centres = x[:1]
    for number in range(1, count):
        distance = torch.cdist(x, centres).min(1).values.square()
        draw = random.uniform(key, number, dtype=torch.float64) * distance.sum()
        row = min(int((distance.cumsum(0) < draw).sum()), len(x) - 1)
        centres = torch.cat([centres, x[row : row + 1]])
    nearest = torch.cdist(x, centres).argmin(1)
    for _ in range(_ROUNDS):
        size = torch.bincount(nearest, minlength=count)
        means = torch.zeros_like(centres).index_add_(0, nearest, x) / size.clamp(min=1).unsqueeze(-1)
        centres = torch.where((size > 0).unsqueeze(-1), means, centres)
        nearest = torch.cdist(x, centres).argmin(1)
    return nearest


def _counts(codes: Tensor) -> Tensor:
    if codes.dim() != 1 or not len(codes):
        raise ShapeError(f"Expected codes [n >= 1], got {list(codes.shape)}.")
    counts: Tensor = codes.unique(return_counts=True)[1]
    return counts


def _information(x: Tensor, y: Tensor, orders: Int[Tensor, "P n"]) -> Float[Tensor, " P"]:
    """Of x with y in each of the orders."""
    if x.shape != y.shape:
        raise ShapeError(f"Expected as many codes of x as of y, got {list(x.shape)} and {list(y.shape)}.")
    alone = entropy(x) + entropy(y)
    (_, x), (_, y) = x.unique(return_inverse=True), y.unique(return_inverse=True)
    width, count, n = int(y.max()) + 1, len(orders), len(x)
    cells = (int(x.max()) + 1) * width
    if cells * count > MOST_CELLS:
        raise ConfigError(f"Expected at most {MOST_CELLS:,} cells, got {cells:,} in each of {count:,} orders.")
    place = x * width + y[orders] + cells * torch.arange(count).unsqueeze(-1)
    joint = torch.bincount(place.flatten(), minlength=cells * count).view(count, cells)
    share = joint.double() / n
    filled = (joint > 0).sum(1)
    together: Tensor = -torch.special.xlogy(share, share).sum(1) / math.log(2) + (filled - 1) / (2 * n * math.log(2))
    return alone - together
