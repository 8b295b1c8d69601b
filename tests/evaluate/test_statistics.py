"""Intervals against closed forms, SciPy, and their promised coverage."""

from __future__ import annotations

import bisect
import itertools
import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from gnncomm.errors import ConfigError, NonFiniteError
from gnncomm.evaluation import mean_interval, paired_difference, sign_flip, t_quantile, wilson


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 10), (3, 10), (10, 10), (28, 1000), (997, 1000)])
def test_wilson_is_scipys(successes: int, n: int) -> None:
    theirs = stats.binomtest(successes, n).proportion_ci(method="wilson")
    mine = wilson(successes, n)
    assert mine.mean == successes / n
    assert mine.low == pytest.approx(theirs.low, abs=1e-12)
    assert mine.high == pytest.approx(theirs.high, abs=1e-12)


def test_wilson_by_hand() -> None:
    """No success in n: the upper end is z^2 / (n + z^2)."""
    z2 = 1.959963984540054**2
    assert wilson(0, 10).low == 0.0
    assert wilson(0, 10).high == pytest.approx(z2 / (10 + z2))
    assert wilson(10, 10).high == 1.0


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses(successes: int, n: int) -> None:
    with pytest.raises(ConfigError, match="successes"):
        wilson(successes, n)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 10, 29, 30, 99, 999, 1000, 1001, 4000, 10**6])
def test_t_quantile_is_scipys(degrees: int) -> None:
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-8)


def test_t_quantile_of_one_degree_is_the_cauchy_quantile() -> None:
    assert t_quantile(1) == pytest.approx(math.tan(0.475 * math.pi), rel=1e-12)
    with pytest.raises(ConfigError, match="degree"):
        t_quantile(0)


def test_mean_interval_is_scipys() -> None:
    x = torch.randn(17, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    theirs = stats.ttest_1samp(x.numpy(), 0.0).confidence_interval(0.95)
    mine = mean_interval(x)
    assert mine.mean == pytest.approx(float(x.mean()), abs=1e-12)
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_mean_interval_of_two_numbers_by_hand() -> None:
    """x = 0, 2: mean 1, s = sqrt(2), standard error 1, one degree of freedom: t = 12.706."""
    interval = mean_interval(torch.tensor([0.0, 2.0]))
    assert interval.mean == 1.0
    assert interval.high == pytest.approx(1.0 + 12.7062047, abs=1e-6)
    assert interval.half_width == pytest.approx(12.7062047, abs=1e-6)


def test_equal_numbers_have_no_width() -> None:
    interval = mean_interval(torch.full((1000,), 0.1))
    assert interval.low == interval.mean == interval.high == pytest.approx(0.1)


def test_95_percent_of_intervals_hold_the_mean() -> None:
    """2000 samples of 8 normal numbers: 95 % within four standard errors of a binomial share (0.5 %)."""
    samples = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
    held = sum(interval.low <= 0.0 <= interval.high for interval in map(mean_interval, samples))
    assert held / 2000 == pytest.approx(0.95, abs=0.02)


def test_paired_difference_is_scipys_paired_t_test() -> None:
    generator = torch.Generator().manual_seed(1)
    luck = 10 * torch.randn(50, generator=generator, dtype=torch.float64)
    a = luck + 0.5 + 0.1 * torch.randn(50, generator=generator, dtype=torch.float64)
    b = luck + 0.1 * torch.randn(50, generator=generator, dtype=torch.float64)
    mine = paired_difference(a, b)
    theirs = stats.ttest_rel(a.numpy(), b.numpy())
    assert mine.mean / mine.standard_error == pytest.approx(theirs.statistic, rel=1e-9)
    assert mine.interval.low == pytest.approx(theirs.confidence_interval().low, abs=1e-9)
    assert mine.standard_error < 0.05, "what pairs share must cancel out"


def test_sign_flip_by_hand() -> None:
    assert sign_flip(torch.tensor([1.0, 1.0, 1.0])) == 1 / 8
    assert sign_flip(torch.tensor([0.0, 2.0, 0.0, 0.0])) == 1 / 2
    assert sign_flip(torch.zeros(5)) == 1.0
    # +-3 +-1 +-1 is 5, 3, 3, 1, -1, -3, -3, -5
    assert sign_flip(torch.tensor([3.0, 1.0, -1.0])) == 3 / 8
    assert sign_flip(torch.tensor([-3.0, 1.0, -1.0])) == 7 / 8
    # equal sums are equal, also where they are rounded otherwise
    assert sign_flip(torch.tensor([0.1, 0.2, -0.3], dtype=torch.float64)) == 5 / 8


@pytest.mark.parametrize(("positive", "negative"), [(20, 9), (60, 40), (560, 470), (2600, 2400)])
def test_sign_flip_of_many_is_the_sign_test(positive: int, negative: int) -> None:
    """All of one size: a binomial tail. Random signs find it within 4 standard errors (of 9999 draws)."""
    d = torch.cat([torch.ones(positive), -torch.ones(negative)])
    d = d[torch.randperm(len(d), generator=torch.Generator().manual_seed(0))]
    exact = float(stats.binom.sf(positive - 1, len(d), 0.5))
    reach = 4 * math.sqrt(exact * (1 - exact) / 9999)
    # groups of many have sums of many sizes, and so a p-value of their own: alike, not the same
    assert sign_flip(d) == pytest.approx(exact, abs=reach if len(d) <= 256 else 0.01)


def differing(k: int, plus: int, episodes: int) -> Tensor:
    d = torch.zeros(episodes)
    d[:plus], d[plus:k] = 1.0, -1.0
    return d


def above_zero(d: Tensor) -> bool:
    return paired_difference(d, torch.zeros_like(d)).interval.low > 0


@pytest.mark.parametrize("episodes", [0, 1, 1000])
def test_few_differing_episodes_are_seldom_taken_for_a_gain(episodes: int) -> None:
    """k of E episodes differ by +-1, all else is equal: at most 2.5 % of the 2^k cases may be flagged (6.25 % at 4)."""
    for k in range(1, 17):
        flagged = sum(
            math.comb(k, plus) for plus in range(k + 1) if above_zero(differing(k, plus, max(2, k + episodes)))
        )
        assert flagged / 2**k <= 0.025, k
        assert k < 6 or flagged, "six of one sign are enough"


@pytest.mark.parametrize("k", [17, 20, 24, 31, 64, 200, 500])
def test_many_differing_episodes_are_seldom_taken_for_a_gain(k: int) -> None:
    """As above, by random signs: their own error (0.16 %) may shift the border by one count."""
    fewest = bisect.bisect(range(k + 1), 0, key=lambda plus: above_zero(differing(k, plus, 1000)))
    assert 0.005 < stats.binom.sf(fewest - 1, k, 0.5) <= 0.03


def test_no_sizes_of_differences_make_false_gains() -> None:
    for seed in range(20):
        size = torch.randn(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).exp()
        flagged = sum(above_zero(size * torch.tensor(signs)) for signs in itertools.product([1.0, -1.0], repeat=8))
        assert flagged / 2**8 <= 0.025


@pytest.mark.parametrize(
    ("d", "low", "high"),
    [
        ([0.0, 1.0, 2.0, 1.0], -0.299, 2.299),  # 1 -+ t(3) sqrt(2/3) / 2, as the mean itself has it
        ([1.0, 1.0, 1.0, 1.0], 0.0, 1.0),  # 4 of one sign: p = 1/16
        ([-1.0] * 5, -1.0, 0.0),
        ([1.0] * 6, 1.0, 1.0),  # p = 1/64
    ],
)
def test_interval_of_few_differences(d: list[float], low: float, high: float) -> None:
    interval = paired_difference(torch.tensor(d), torch.zeros(len(d))).interval
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-3)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        mean_interval(torch.tensor([1.0]))
    with pytest.raises(NonFiniteError, match="episode 1"):
        mean_interval(torch.tensor([1.0, float("nan"), 2.0]))
    with pytest.raises(ConfigError, match="3 and 2"):
        paired_difference(torch.zeros(3), torch.zeros(2))
