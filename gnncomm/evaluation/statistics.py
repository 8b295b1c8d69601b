"""Means with 95 % confidence intervals: of a share, of independent numbers, of paired differences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ConfigError, NonFiniteError
from gnncomm.shapes import Float

Z = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""
TAIL = 0.025
"""What a 95 % interval may miss on either side."""
_ENUMERATED, _GROUPS, _FLIPS = 16, 256, 9999


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences, its standard error, and its 95 % interval, see ``paired_difference``."""

    mean: float
    standard_error: float
    interval: Interval


def wilson(successes: int, n: int) -> Interval:
    r"""The share :math:`\hat p = s / n` with Wilson's score interval.

    .. math::
        \frac{\hat p + z^2 / 2n \pm z \sqrt{\hat p (1 - \hat p) / n + z^2 / 4n^2}}{1 + z^2 / n}, \qquad z = 1.96

    Unlike the normal interval it stays inside [0, 1] and keeps its width at shares of 0 and 1. Source: Wilson 1927,
    "Probable inference, the law of succession, and statistical inference"; recommended by Brown, Cai and DasGupta
    2001, "Interval estimation for a binomial proportion", section 5.

    Raises:
        ConfigError: ``n < 1``, or ``successes`` outside 0 ... n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ConfigError(f"wilson: expected 0 <= successes <= n and n >= 1, got {successes} of {n}.")
    share, z2 = successes / n, Z * Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At the ends the formula gives 0 and 1 exactly, arithmetic does not.
    low = 0.0 if successes == 0 else centre - reach
    high = 1.0 if successes == n else centre + reach
    return Interval(share, low, high)


def mean_interval(x: Float[Tensor, " E"]) -> Interval:
    r""":math:`\bar x \pm t_{E-1} s / \sqrt E`, with Student's t for E independent numbers.

    Raises:
        ConfigError: fewer than two numbers. NonFiniteError: one of them is NaN or infinite.
    """
    mean, standard_error = _moments(x)
    reach = t_quantile(len(x) - 1) * standard_error
    return Interval(mean, mean - reach, mean + reach)


def paired_difference(a: Float[Tensor, " E"], b: Float[Tensor, " E"]) -> Difference:
    """``d = a - b``, where ``a[e]`` and ``b[e]`` come from the same episode: what they share cancels out.

    The interval is Student's, which is wrong where only a few episodes differ at all: so it is widened to hold 0 unless
    the exact test ``sign_flip`` rules 0 out, too, at the same 2.5 % on that side. An interval without 0 is thus found
    in at most 2.5 % of cases on either side where ``d`` is symmetric about 0, whatever its distribution.

    Raises:
        ConfigError: fewer than two pairs, or not as many of the one as of the other.
        NonFiniteError: a number is NaN or infinite.
    """
    if len(a) != len(b):
        raise ConfigError(f"paired_difference: expected pairs, got {len(a)} and {len(b)} numbers.")
    difference = a.double() - b.double()
    mean, standard_error = _moments(difference)
    interval = mean_interval(difference)
    if interval.low > 0 and sign_flip(difference) > TAIL:
        interval = Interval(mean, 0.0, interval.high)
    if interval.high < 0 and sign_flip(-difference) > TAIL:
        interval = Interval(mean, interval.low, 0.0)
    return Difference(mean, standard_error, interval)


def sign_flip(difference: Float[Tensor, " E"]) -> float:
    r"""The p-value of Fisher's test of symmetric differences against a positive mean.

    .. math::
        p = P\Bigl(\sum_e \epsilon_e |d_e| \ge \sum_e d_e\Bigr), \qquad \epsilon_e = \pm 1 \text{ at random}

    so that :math:`P(p \le \alpha) \le \alpha` for every :math:`\alpha` where each difference is as likely d as -d.
    Zeros say nothing: with k differences other than 0, p is at least :math:`2^{-k}`. All signs of up to 16 of them are
    enumerated; of more, 9999 random ones are tried beside the observed one (Dwass 1957), which keeps the bound. More
    than 256 are summed in 256 groups first, whose signs flip together.

    Source: Fisher 1935, "The Design of Experiments", section 21; Dwass 1957, "Modified randomization tests for
    nonparametric hypotheses".
    """
    d = difference[difference != 0].double()
    if len(d) > _GROUPS:
        d = d.new_zeros(_GROUPS).index_add(0, torch.arange(len(d), device=d.device) % _GROUPS, d)
    size = d.abs()
    least = d.sum() - 1e-9 * size.sum()  # sums that are equal but for rounding are equal
    if len(d) <= _ENUMERATED:
        sums = size.new_zeros(1)
        for value in size:
            sums = torch.cat([sums - value, sums + value])
        return float((sums >= least).double().mean())
    draw, word, bit = (torch.arange(count, device=d.device) for count in (_FLIPS, -(-len(d) // 64), 64))
    words = random.bits(0, draw.unsqueeze(-1), word)
    signs = (words.unsqueeze(-1) >> bit & 1).flatten(1)[:, : len(d)].double() * 2 - 1
    return float((1 + (signs @ size >= least).sum()) / (1 + _FLIPS))


def _moments(x: Tensor) -> tuple[float, float]:
    """Mean and standard error of the mean, in float64."""
    if len(x) < 2:
        raise ConfigError(f"A confidence interval needs at least 2 numbers, got {len(x)}. Play more episodes.")
    x = x.double()
    if not bool(x.isfinite().all()):
        where = int((~x.isfinite()).nonzero()[0])
        raise NonFiniteError(
            f"Expected finite numbers, got {x[where].item()} in episode {where}: mend the environment."
        )
    if bool((x == x[0]).all()):
        return float(x[0]), 0.0  # exactly, where the sum would round
    return float(x.mean()), float(x.std()) / math.sqrt(len(x))


def t_quantile(degrees: int, share: float = 0.975) -> float:
    r"""The quantile of Student's t with ``degrees`` of freedom below which ``share`` lies, good to about 1e-9.

    Bisection on the angle :math:`\theta = \arctan(t / \sqrt\nu)` of the finite series for
    :math:`A(t | \nu) = P(|T| < t)`: Abramowitz and Stegun 1964, 26.7.3 (odd) and 26.7.4 (even). Beyond 1000 degrees
    the expansion 26.7.5 around the normal quantile.

    Raises:
        ConfigError: ``degrees < 1``, or ``share`` outside of [0.5, 1).
    """
    if degrees < 1 or not 0.5 <= share < 1:
        raise ConfigError(
            f"t_quantile: expected at least one degree of freedom and a share in [0.5, 1), got {degrees} and {share}."
        )
    if degrees > 1000:
        z = Z if share == 0.975 else NormalDist().inv_cdf(share)
        return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _central_probability(middle, degrees) < 2 * share - 1 else (low, middle)
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def _central_probability(theta: float, degrees: int) -> float:
    """``P(|T| < sqrt(degrees) tan(theta))``."""
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = degrees % 2
    term, series = (cosine if odd else 1.0), 0.0
    for power in range(odd, degrees - 1, 2):
        if power > 1:
            term *= (power - 1) / power * cosine**2
        series += term
    return 2 / math.pi * (theta + sine * series) if odd else sine * series
