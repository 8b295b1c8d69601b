"""Many seeds of one method in a number, and two methods beside each other: pure functions of arrays.

A *score* is what one trained team comes to (its success, say), and scores are ``[R]``, one for each of R seeds, or
``[R, K]`` where the same seeds were trained on K tasks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gnncomm import random
from gnncomm.errors import ConfigError
from gnncomm.evaluation import Interval, mean_interval, paired_difference, sign_flip, t_quantile

Floats = NDArray[np.float64]

REPETITIONS = 10_000
"""Of a bootstrap."""
_ALL_LABELS, _SOME_LABELS = 20_000, 9999
"""Up to so many exchanges of labels are all tried; of more, so many at random."""


def iqm(scores: Floats) -> Any:
    r"""The interquartile mean over the last axis: the mean without the lowest and the highest quarter.

    .. math:: \frac{1}{n - 2c} \sum_{i=c+1}^{n-c} x_{(i)}, \qquad c = \lfloor n / 4 \rfloor

    Of 5 scores it is the mean of the middle three; of fewer than 4 it is the mean. Source: Agarwal et al. 2021, "Deep
    reinforcement learning at the edge of the statistical precipice", section 4.3 (scores of all tasks side by side).
    """
    n = scores.shape[-1]
    cut = n // 4
    return np.sort(scores, axis=-1)[..., cut : n - cut].mean(-1)


def resampled(runs: int, repetitions: int, key: int, tasks: int = 1) -> NDArray[np.int64]:
    """``[repetitions, runs, tasks]``: which run stands in for each, drawn with replacement for each task by itself."""
    draw, run, task = torch.arange(repetitions)[:, None, None], torch.arange(runs)[:, None], torch.arange(tasks)
    found: NDArray[np.int64] = random.integers(random.stream(key, "bootstrap"), runs, draw, run, task).numpy()
    return found


def bootstrap(
    scores: Floats, statistic: Callable[[Floats], Any] = iqm, repetitions: int = REPETITIONS, key: int = 0
) -> Interval:
    """``statistic`` of all scores, with a 95 % percentile interval of the stratified bootstrap.

    Runs are drawn again with replacement, for each task (the stratum) by itself, so that each keeps its R runs. Source:
    Agarwal et al. 2021, section 4.2; Efron and Tibshirani 1993, "An introduction to the bootstrap", section 13.3. With
    R = 5 it is too narrow: it knows of no seed that was not trained.

    Args:
        scores: ``[R]`` or ``[R, K]``.
        statistic: ``[..., R * K]`` -> ``[...]``.
        repetitions: B.
        key: of the draws.

    Raises:
        ConfigError: no runs.
    """
    table = _table(scores)
    drawn = np.take_along_axis(table[None], resampled(len(table), repetitions, key, table.shape[1]), 1)
    return _percentiles(float(statistic(table.reshape(-1))), statistic(drawn.reshape(repetitions, -1)))


def probability_of_improvement(a: Floats, b: Floats, repetitions: int = REPETITIONS, key: int = 0) -> Interval:
    r"""How likely a seed of the one method is above a seed of the other, with a stratified bootstrap over both.

    .. math::
        P(A > B) = \frac{1}{K n m} \sum_{k, i, j} \Bigl([a_{ik} > b_{jk}] + \tfrac12 [a_{ik} = b_{jk}]\Bigr)

    Source: Agarwal et al. 2021, section 4.4; the inner part is the statistic U of Mann and Whitney 1947 over n m.

    Raises:
        ConfigError: no runs, or other tasks.
    """
    ours, theirs = _table(a), _table(b)
    if ours.shape[1] != theirs.shape[1]:
        raise ConfigError(f"Expected scores on the same tasks, got {ours.shape[1]} and {theirs.shape[1]}.")
    drawn = np.zeros(repetitions)
    point, tasks = 0.0, ours.shape[1]
    for task in range(tasks):
        x, y = ours[:, task, None], theirs[:, task]
        wins = (x > y) + 0.5 * (x == y)  # [n, m]
        point += float(wins.mean()) / tasks
        often = (
            _counts(len(ours), repetitions, 2 * (key * tasks + task)),
            _counts(len(theirs), repetitions, 2 * (key * tasks + task) + 1),
        )
        drawn += ((often[0] @ wins) * often[1]).sum(1) / (wins.size * tasks)
    return _percentiles(point, drawn)


@dataclass(frozen=True)
class Test:
    """A mean difference with its 95 % interval, and how surprising it is where there is none (two-sided)."""

    interval: Interval
    p: float
    least_p: float
    """No data of this size could give a smaller one."""
    of: str
    """What was compared: pairs of ``seeds``, pairs of ``episodes``, or ``unpaired seeds``."""
    count: int
    """How many differences."""

    __test__ = False  # pytest takes classes of this name for its own


def paired_test(a: Floats, b: Floats, of: str) -> Test:
    """``a - b`` of pairs by ``paired_difference``, with twice the smaller p of the exact ``sign_flip`` either way."""
    one, other = (torch.from_numpy(np.asarray(scores, float)) for scores in (a, b))
    difference, interval = one - other, paired_difference(one, other).interval
    p = min(1.0, 2 * min(sign_flip(difference), sign_flip(-difference)))
    return Test(interval, p, min(1.0, 2.0 ** (1 - len(difference))), of, len(difference))


def unpaired_test(a: Floats, b: Floats) -> Test:
    r"""The difference of two means of independent seeds, by Welch's interval and Fisher's exchange of labels.

    .. math::
        \bar a - \bar b \pm t_\nu \sqrt{s_a^2 / n + s_b^2 / m}, \qquad
        p = P\bigl(|\bar a^* - \bar b^*| \ge |\bar a - \bar b|\bigr)

    over all :math:`\binom{n + m}{n}` ways to call n of the seeds a (9999 random ones beside the observed one, where
    they are more than 20,000). Sources: Welch 1947, "The generalization of Student's problem when several different
    population variances are involved", with Satterthwaite's degrees of freedom, rounded down; Fisher 1935.

    Raises:
        ConfigError: fewer than two seeds of one.
    """
    n, m = len(a), len(b)
    if min(n, m) < 2:
        raise ConfigError(f"unpaired_test: expected two seeds of each at least, got {n} and {m}. Train more.")
    mean, parts = float(np.mean(a) - np.mean(b)), (np.var(a, ddof=1) / n, np.var(b, ddof=1) / m)
    variance = float(sum(parts))
    reach = 0.0
    if variance > 0:
        freedom = variance**2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1))
        reach = t_quantile(max(1, int(freedom + 1e-9))) * math.sqrt(variance)
    pool, ways = np.concatenate([a, b]), math.comb(n + m, n)
    sums = pool[_labels(n, n + m, ways)].sum(1)
    gap = np.abs(sums / n - (pool.sum() - sums) / m)
    as_far = gap >= abs(mean) - 1e-9 * np.abs(pool).sum()
    p = float(as_far.mean()) if ways <= _ALL_LABELS else float((1 + as_far.sum()) / (1 + len(as_far)))
    least = (1 if n != m else 2) / ways if ways <= _ALL_LABELS else 1 / (1 + _SOME_LABELS)
    return Test(Interval(mean, mean - reach, mean + reach), p, least, "unpaired seeds", n + m)


def holm(p: Sequence[float]) -> list[float]:
    r"""The p-values of m tests as they are when all are made at once: the chance of one false alarm is at most theirs.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min\bigl(1, (m - j + 1)\, p_{(j)}\bigr)

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    found, highest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        found[place] = highest
    return found


def detectable(n: int, m: int | None = None, power: float = 0.8) -> float:
    r"""The smallest difference that n and m seeds find, in standard deviations between seeds; n pairs if m is None.

    .. math::
        d = \bigl(t_{0.975, \nu} + t_{power, \nu}\bigr) \sqrt{1 / n + 1 / m}, \quad \nu = n + m - 2
        \qquad\text{or}\qquad (\ldots)\sqrt{1 / n}, \quad \nu = n - 1

    of the two-sided t-test at 5 %, found in a share ``power`` of cases: 2.0 for 5 and 5, 1.3 for 10 and 10, 0.9 for 20
    and 20, as by the noncentral t to within 1 %. Source: Cohen 1988, "Statistical power analysis", chapter 2; Colas et
    al. 2018, "How many random seeds?" (arXiv:1806.08295).

    Raises:
        ConfigError: too few seeds for a t-test.
    """
    freedom, spread = (n - 1, 1 / n) if m is None else (n + m - 2, 1 / max(n, 1) + 1 / max(m, 1))
    if freedom < 1 or n < 1 or (m is not None and m < 1):
        raise ConfigError(f"detectable: expected more seeds than there are means, got {n} and {m}. Train more.")
    return (t_quantile(freedom) + t_quantile(freedom, power)) * math.sqrt(spread)


def over_seeds(scores: Floats) -> Interval | None:
    """The mean with Student's 95 % interval; None of a single seed."""
    return mean_interval(torch.from_numpy(scores)) if len(scores) > 1 else None


def _table(scores: Floats) -> Floats:
    table = np.asarray(scores, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or not table.size:
        raise ConfigError(f"Expected scores [R] or [R, K] of one run at least, got the shape {np.shape(scores)}.")
    return table


def _counts(runs: int, repetitions: int, key: int) -> Floats:
    """``[repetitions, runs]``: how often each run was drawn."""
    drawn = resampled(runs, repetitions, key)[..., 0]
    return np.stack([(drawn == run).sum(1) for run in range(runs)], 1).astype(np.float64)


def _labels(n: int, total: int, ways: int) -> NDArray[np.int64]:
    """``[ways, n]``: who is called a."""
    if ways <= _ALL_LABELS:
        return np.array(list(itertools.combinations(range(total), n)))
    keys = torch.arange(_SOME_LABELS)
    return random.sample_without_replacement(keys, total, n).numpy()


def _percentiles(point: float, drawn: Floats) -> Interval:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(point, float(low), float(high))
