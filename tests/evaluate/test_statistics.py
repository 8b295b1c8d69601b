"""Intervals against closed forms, SciPy, and their promised coverage."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from gnncomm.errors import ConfigError, NonFiniteError
from gnncomm.evaluate import mean_interval, paired_difference, t_quantile, wilson


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


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        mean_interval(torch.tensor([1.0]))
    with pytest.raises(NonFiniteError, match="episode 1"):
        mean_interval(torch.tensor([1.0, float("nan"), 2.0]))
    with pytest.raises(ConfigError, match="3 and 2"):
        paired_difference(torch.zeros(3), torch.zeros(2))
