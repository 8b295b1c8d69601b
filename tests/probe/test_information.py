"""Entropies, mutual information, clusters, the linear probe: by hand, and how often chance is taken for more."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gnncomm import random
from gnncomm.errors import ConfigError, ShapeError
from gnncomm.probe import by_chance, codes, entropy, mutual_information, p_value, principal_axes, read_out


def test_the_entropy_of_a_few_codes_by_hand() -> None:
    """Shares 1/2, 1/4, 1/4: 1.5 bits, and (3 - 1) / (2 * 8 ln 2) for so few rows."""
    rows = torch.tensor([5, 5, 5, 5, 7, 7, 9, 9])
    assert entropy(rows) == pytest.approx(1.5 + 2 / (16 * math.log(2)))
    assert entropy(torch.zeros(9, dtype=torch.int64)) == 0.0
    with pytest.raises(ShapeError, match="n >= 1"):
        entropy(rows[:0])


def test_mutual_information_by_hand() -> None:
    """y is x without its last bit: 1 bit of 2. All four cells of a square: 0, less the bias of a degree of freedom."""
    x = torch.arange(4).repeat(100)
    correction = (4 + 2 - 4 - 1) / (2 * 400 * math.log(2))
    assert mutual_information(x, x // 2) == pytest.approx(1 + correction)
    square = mutual_information(x // 2, x % 2)
    assert square == pytest.approx((2 + 2 - 4 - 1) / (2 * 400 * math.log(2)))
    with pytest.raises(ShapeError, match="as many codes"):
        mutual_information(x, x[1:])
    with pytest.raises(ConfigError, match="cells"):
        by_chance(torch.arange(4000), torch.arange(4000), 0, 99)


def test_the_correction_takes_the_bias_off() -> None:
    """Of independent codes the plug-in estimate is (K - 1)(L - 1) / (2 n ln 2) = 0.088 bits too high on average."""
    draw = random.integers(
        random.stream(0, "test"), 8, torch.arange(2).view(2, 1, 1), torch.arange(60).unsqueeze(-1), torch.arange(400)
    )
    mean = float(np.mean([mutual_information(x, y) for x, y in zip(*draw, strict=True)]))
    assert abs(mean) < 0.005


def test_what_chance_gives_is_what_independent_rows_give() -> None:
    x = torch.arange(4).repeat(30)
    y = random.integers(random.stream(1, "test"), 4, torch.arange(120))
    null = by_chance(x, y, 0, 99)
    assert null.tolist() == by_chance(x, y, 0, 99).tolist()
    assert null.tolist() != by_chance(x, y, 1, 99).tolist()
    order = random.uniform(
        random.stream(0, "orders"), torch.zeros(1, dtype=torch.int64), torch.arange(120), dtype=torch.float64
    ).argsort()
    assert float(null[0]) == pytest.approx(mutual_information(x, y[order]))
    assert p_value(mutual_information(x, x), null) == 1 / 100
    assert p_value(-1.0, null) == 1.0
    assert p_value(0.0, torch.zeros(99)) == 1.0, "what is equal by chance is no finding"


def test_chance_is_rarely_taken_for_more() -> None:
    """150 tests of independent codes and of vectors that say nothing: 5 % each, within three standard errors."""
    wrong = np.zeros(2)
    for seed in range(150):
        key = random.stream(seed, "blind")
        x, y = random.integers(key, 3, torch.arange(2).unsqueeze(-1), torch.arange(60))
        wrong[0] += p_value(mutual_information(x, y), by_chance(x, y, seed, 39)) <= 0.05
        message = random.normal(key, torch.arange(60).unsqueeze(-1), torch.arange(3))
        score, _, null = read_out(message, y, seed, 39)
        wrong[1] += p_value(score, null) <= 0.05
    assert (wrong / 150 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)).all()
    assert (wrong > 0).all()


def test_codes_are_the_rows_themselves_where_these_repeat() -> None:
    rows = torch.tensor([[0.5, 1.0], [2.0, -3.0], [0.5, 1.0]]).repeat(20, 1)
    found, exact = codes(rows + 1e-6 * torch.arange(60).unsqueeze(-1) / 60)
    assert exact
    assert found.tolist() == [found[0], found[1], found[0]] * 20
    assert found[0] != found[1]


def test_clusters_are_found() -> None:
    """Five clouds far apart."""
    noise = random.normal(random.stream(0, "clouds"), torch.arange(200).unsqueeze(-1), torch.arange(3))
    which = torch.arange(200) % 5
    centre = 50 * random.normal(random.stream(1, "clouds"), torch.arange(5).unsqueeze(-1), torch.arange(3))
    found, exact = codes(centre[which] + noise, seed=3, most=5)
    assert not exact
    assert mutual_information(found, which) == pytest.approx(math.log2(5), abs=0.05)
    assert found.tolist() == codes(centre[which] + noise, seed=3, most=5)[0].tolist()


def test_a_linear_probe_reads_what_is_there() -> None:
    """A label in a direction of its own, two numbers mixed into four; a column that never varies does no harm."""
    key, rows = random.stream(0, "probe"), torch.arange(240)
    label = rows % 3
    noise = random.normal(key, rows.unsqueeze(-1), torch.arange(4))
    x = torch.cat(
        [torch.nn.functional.one_hot(label).float() @ torch.randn(3, 4) + 0.01 * noise, torch.full((240, 1), 7.0)], 1
    )
    score, guess, null = read_out(x, label, 0, 39)
    assert score == 1.0
    assert 0.25 < guess < 0.5
    assert p_value(score, null) == 1 / 40
    numbers = noise @ torch.randn(4, 2) + 5
    score, guess, null = read_out(noise, numbers, 0, 39)
    assert score > 0.999
    assert guess == 0
    assert float(null.max()) < 0.3
    half = torch.stack([numbers[:, 0], random.normal(random.stream(9, "probe"), rows)], 1)
    assert read_out(noise, half, 0, 39)[0] == pytest.approx(0.5, abs=0.1)
    with pytest.raises(ConfigError, match="at least 6 rows"):
        read_out(noise[:5], label[:5], 0, 39)


def test_principal_axes_by_hand() -> None:
    """A cross: long along (0.8, 0.6), short along (0.6, -0.8), which is turned so that its largest part is positive."""
    along, across = torch.tensor([0.8, 0.6]), torch.tensor([0.6, -0.8])
    x = torch.stack([3 * along, -3 * along, across, -across]) + 10
    at, share = principal_axes(x)
    np.testing.assert_allclose(at, [[3, 0], [-3, 0], [0, -1], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(share, [0.9, 0.1], rtol=1e-5)
    assert principal_axes(torch.ones(5, 1))[0].tolist() == [[0, 0]] * 5
