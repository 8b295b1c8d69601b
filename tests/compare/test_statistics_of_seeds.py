"""Numbers over seeds against numbers by hand, SciPy and, in an environment of its own, rliable."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from gnncomm.compare import bootstrap, detectable, holm, iqm, paired_test, probability_of_improvement, unpaired_test
from gnncomm.compare.curves import band, reached, smoothed
from gnncomm.compare.statistics import resampled
from gnncomm.errors import ConfigError
from gnncomm.evaluation import t_quantile

A, B = np.array([0.1, 0.5, 0.7, 0.9, 0.3]), np.array([0.2, 0.5, 0.6, 0.1, 0.0])


def test_the_interquartile_mean_by_hand() -> None:
    assert iqm(A) == pytest.approx(0.5), "of five the middle three"
    assert iqm(np.array([0.0, 0.0, 9.0])) == 3.0, "of three all"
    assert iqm(np.array([-100.0, 1.0, 3.0, 100.0])) == 2.0
    scores = np.arange(23.0) ** 2
    assert iqm(scores) == pytest.approx(stats.trim_mean(scores, 0.25))


def test_a_bootstrap_draws_runs_within_each_task() -> None:
    drawn = resampled(5, 4000, 0, tasks=2)
    assert drawn.shape == (4000, 5, 2)
    share = np.stack([(drawn == run).mean((0, 1)) for run in range(5)])
    np.testing.assert_allclose(share, 0.2, atol=0.015)
    assert (drawn[..., 0] == drawn[..., 1]).mean() == pytest.approx(0.2, abs=0.02), "of each task by itself"
    tasks = np.array([[0.0, 10.0], [1.0, 11.0]])
    found = bootstrap(tasks, lambda scores: scores.mean(-1))
    assert (found.mean, found.low, found.high) == (5.5, 5.0, 6.0)


def test_the_bootstrap_of_two_runs_by_hand() -> None:
    """The mean of two draws of 0 and 1 is 0, 1/2, 1 with chances 1/4, 1/2, 1/4: beyond 2.5 % on either side."""
    found = bootstrap(np.array([0.0, 1.0]))
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)
    assert bootstrap(np.array([0.25])).low == 0.25


def test_the_probability_of_improvement_is_mann_whitneys_u() -> None:
    """By hand: 0.1 beats 0.0 and ties 0.1; 0.5 beats three and ties one; 0.7 and 0.9 beat all; 0.3 beats three."""
    found = probability_of_improvement(A, B)
    assert found.mean == pytest.approx((1.5 + 3.5 + 5 + 5 + 3) / 25)
    assert found.mean == pytest.approx(stats.mannwhitneyu(A, B).statistic / 25)
    assert found.low < found.mean < found.high
    assert probability_of_improvement(A, A).mean == 0.5
    sure = probability_of_improvement(A + 1, B)
    assert (sure.mean, sure.low, sure.high) == (1.0, 1.0, 1.0)
    with pytest.raises(ConfigError, match="same tasks"):
        probability_of_improvement(A, np.ones((5, 2)))


def test_five_pairs_can_say_at_most_so_much() -> None:
    """All five signs agree: one of 2^5 ways, on either side."""
    found = paired_test(A, A - np.array([0.1, 0.2, 0.3, 0.4, 0.5]), "seeds")
    assert found.p == found.least_p == 2 / 32
    assert found.interval.mean == pytest.approx(0.3)
    assert found.interval.low == 0.0, "the interval agrees with the exact test"
    assert paired_test(A, A, "seeds").p == 1.0
    assert paired_test(np.arange(6.0) + 1, np.zeros(6), "seeds").p == 2 / 64


def test_an_unpaired_test_is_welchs_interval_and_all_exchanges_of_labels() -> None:
    found = unpaired_test(A, B)
    theirs = stats.permutation_test((A, B), lambda a, b, axis=0: a.mean(axis) - b.mean(axis), n_resamples=np.inf)
    assert found.p == pytest.approx(theirs.pvalue)
    assert found.interval.mean == pytest.approx(0.22)
    freedom = int(stats.ttest_ind(A, B, equal_var=False).df)
    reach = stats.t.ppf(0.975, freedom) * math.sqrt(A.var(ddof=1) / 5 + B.var(ddof=1) / 5)
    assert found.interval.high - found.interval.mean == pytest.approx(reach)
    assert unpaired_test(A + 9, B).p == found.least_p == 2 / math.comb(10, 5)
    many = unpaired_test(np.arange(20.0), np.arange(20.0) + 30)
    assert many.p == 1 / 10_000, "more ways than are tried"
    with pytest.raises(ConfigError, match="two seeds of each"):
        unpaired_test(A, B[:1])


def test_holm_by_hand() -> None:
    """0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1, which may not be below the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("n", "size"), [(5, 2.02), (10, 1.32), (20, 0.909)])
def test_what_seeds_can_find_is_found_with_that_power(n: int, size: float) -> None:
    """SciPy's noncentral t, which the formula stands for."""
    found = detectable(n, n)
    assert found == pytest.approx(size, abs=0.01)
    freedom = 2 * n - 2
    power = stats.nct.sf(stats.t.ppf(0.975, freedom), freedom, found * math.sqrt(n / 2))
    assert power == pytest.approx(0.8, abs=0.01)


def test_pairs_find_smaller_differences_than_as_many_seeds_apart() -> None:
    assert detectable(5) == pytest.approx((2.776 + 0.941) / math.sqrt(5), abs=1e-3)
    assert detectable(5, 10) == pytest.approx((2.160 + 0.870) * math.sqrt(0.3), abs=1e-3)
    assert t_quantile(8, 0.8) == pytest.approx(stats.t.ppf(0.8, 8), rel=1e-8)
    assert t_quantile(4000, 0.8) == pytest.approx(stats.t.ppf(0.8, 4000), rel=1e-8)
    with pytest.raises(ConfigError, match="more seeds"):
        detectable(1, 1)
    with pytest.raises(ConfigError, match="share"):
        t_quantile(3, 0.3)


def test_curves_over_seeds_by_hand() -> None:
    np.testing.assert_allclose(smoothed(np.array([1.0, 3.0, 5.0, 7.0]), 2), [1, 2, 4, 6])
    x = np.arange(8.0)
    assert reached(x, np.array([0.0, 1, 1, 1, 1, 1, 0, 0]), 1.0) == 5.0, "after five that are as good"
    assert reached(x, np.full(8, 0.5), 0.9) is None
    assert reached(x, np.full(8, 3.0), 4.0, fewer_is_better=True) == 4.0
    assert reached(x[:4], np.ones(4), 0.9) is None
    found = band([(np.array([0.0, 4.0]), np.array([0.0, 4.0])), (np.array([2.0, 8.0]), np.array([4.0, 4.0]))])
    np.testing.assert_allclose(found.x, [2, 4])
    np.testing.assert_allclose(found.y, [3, 4])
    np.testing.assert_allclose([found.low, found.high], [[2, 4], [4, 4]])
    with pytest.raises(ConfigError, match="same places"):
        band([(np.array([0.0, 1.0]), np.zeros(2)), (np.array([2.0, 3.0]), np.zeros(2))])


THEIRS = """
import json, sys
import numpy as np
from rliable import library, metrics
given = {name: np.array(rows) for name, rows in json.loads(open(sys.argv[1]).read()).items()}
np.random.seed(0)
iqm = lambda scores: np.array([metrics.aggregate_iqm(scores)])
points, ends = library.get_interval_estimates(given, iqm, reps=20000)
pair = {"x,y": (given["x"], given["y"])}
chance, between = library.get_interval_estimates(pair, metrics.probability_of_improvement, reps=5000)
told = {name: [float(points[name][0]), *map(float, np.ravel(ends[name]))] for name in given}
told["x,y"] = [float(np.ravel(chance["x,y"])[0]), *map(float, np.ravel(between["x,y"]))]
json.dump(told, open(sys.argv[2], "w"))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rliable_says_the_same(tmp_path: Path, fresh_environment: Any) -> None:
    """Points to rounding; ends of intervals as near as two bootstraps come."""
    rng = np.random.default_rng(3)
    given = {"x": rng.normal(0.6, 0.2, (10, 3)), "y": rng.normal(0.5, 0.2, (7, 3)), "one": rng.normal(size=(5, 1))}
    place = fresh_environment(linked=["numpy", "scipy", "matplotlib"])
    place.pip("rliable==1.2.0", "pandas<3")
    (tmp_path / "theirs.py").write_text(THEIRS)
    (tmp_path / "given.json").write_text(json.dumps({name: rows.tolist() for name, rows in given.items()}))
    place.python("theirs.py", "given.json", "told.json")
    told = json.loads((tmp_path / "told.json").read_text())
    for name, scores in given.items():
        mine = bootstrap(scores)
        assert mine.mean == pytest.approx(told[name][0], abs=1e-9)
        assert [mine.low, mine.high] == pytest.approx(told[name][1:], abs=0.03 * scores.std())
    mine = probability_of_improvement(given["x"], given["y"])
    assert mine.mean == pytest.approx(told["x,y"][0], abs=1e-9)
    assert [mine.low, mine.high] == pytest.approx(told["x,y"][1:], abs=0.02)
