"""The draws are uniform, independent and a function of their counters alone.

All statistics are taken at fixed keys, so each test gives the same p-value on every run; a p-value below 1e-4 or above
1 - 1e-4 (too good) fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ConfigError, DtypeError

DRAWS = 2**20
COUNT = torch.arange(DRAWS)
GRID = torch.arange(1024)
ALARM = 1e-4

SEQUENCES: dict[str, Callable[[torch.dtype], Tensor]] = {
    "counter": lambda dtype: random.uniform(7, COUNT, dtype=dtype),
    "key": lambda dtype: random.uniform(COUNT, dtype=dtype),
    "key, then a counter": lambda dtype: random.uniform(COUNT, 5, dtype=dtype),
    "first of two counters": lambda dtype: random.uniform(7, COUNT, 3, dtype=dtype),
    "grid of key and counter": lambda dtype: random.uniform(GRID.unsqueeze(1), GRID, dtype=dtype).flatten(),
    "grid of two counters": lambda dtype: random.uniform(0, GRID.unsqueeze(1), GRID, dtype=dtype).flatten(),
    "negative counter": lambda dtype: random.uniform(7, -COUNT, dtype=dtype),
    "counter in steps of 2^32": lambda dtype: random.uniform(7, COUNT << 32, dtype=dtype),
    "key in steps of 2^44": lambda dtype: random.uniform(COUNT << 44, 0, dtype=dtype),
    "stream": lambda dtype: random.uniform(random.stream(COUNT, "channel"), 0, dtype=dtype),
}


def plausible(p: float) -> bool:
    return ALARM < p < 1 - ALARM


def chi_squared(counts: Tensor, expected: Tensor | None = None) -> float:
    frequencies = None if expected is None else expected.numpy()
    return float(stats.chisquare(counts.double().numpy(), frequencies).pvalue)


def flat_cells(draw: Tensor, cells: int) -> Tensor:
    return torch.bincount((draw * cells).long(), minlength=cells)


# --- uniform ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES)
def test_uniform_passes_kolmogorov_smirnov(sequence: Callable[[torch.dtype], Tensor]) -> None:
    assert plausible(float(stats.kstest(sequence(torch.float64).numpy(), "uniform").pvalue))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES)
def test_uniform_passes_chi_squared(sequence: Callable[[torch.dtype], Tensor], dtype: torch.dtype) -> None:
    draw = sequence(dtype).double()
    assert plausible(chi_squared(flat_cells(draw, 1000)))
    assert plausible(chi_squared(flat_cells((draw * 4096) % 1, 1024))), "the ten bits after the first twelve"


@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES)
def test_neighbours_are_uncorrelated(sequence: Callable[[torch.dtype], Tensor]) -> None:
    draw = sequence(torch.float64).numpy()
    for lag in (1, 2, 3, 16, 1024):
        correlation = float(np.corrcoef(draw[:-lag], draw[lag:])[0, 1])
        assert abs(correlation) * math.sqrt(DRAWS) < 4.5, f"lag {lag}"


def test_every_bit_is_fair() -> None:
    bits = random.bits(11, COUNT)
    ones = torch.stack([((bits >> place) & 1).sum() for place in range(64)])
    z = (ones - DRAWS / 2).abs() / math.sqrt(DRAWS / 4)
    assert z.max() < 4.5
    assert z.max() > 1.5, "64 bits closer to fair than coins are"


# --- independence ----------------------------------------------------------------------------------------------------


def pair_p_value(a: Tensor, b: Tensor, cells: int = 64) -> float:
    """Chi-squared of the pairs ``(a, b)`` on a grid of ``cells x cells``."""
    pair = (a.flatten() * cells).long() * cells + (b.flatten() * cells).long()
    return chi_squared(torch.bincount(pair, minlength=cells * cells))


PAIRS: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    "neighbouring counters": lambda: (random.uniform(3, COUNT), random.uniform(3, COUNT + 1)),
    "neighbouring keys": lambda: (random.uniform(3, COUNT), random.uniform(4, COUNT)),
    "keys in sequence": lambda: (random.uniform(COUNT, 0), random.uniform(COUNT + 1, 0)),
    "two streams": lambda: (
        random.uniform(random.stream(COUNT, "action"), 0),
        random.uniform(random.stream(COUNT, "channel"), 0),
    ),
    "streams whose names differ in one letter": lambda: (
        random.uniform(random.stream(3, "gate0"), COUNT),
        random.uniform(random.stream(3, "gate1"), COUNT),
    ),
    "a stream and its parent": lambda: (random.uniform(random.stream(COUNT, "action"), 0), random.uniform(COUNT, 0)),
    "counters swapped": lambda: (
        random.uniform(3, GRID.unsqueeze(1), GRID + 2000),
        random.uniform(3, GRID + 2000, GRID.unsqueeze(1)),
    ),
    "key and counter swapped": lambda: (random.uniform(COUNT, 5), random.uniform(5, COUNT)),
    "one more counter, zero": lambda: (random.uniform(3, COUNT), random.uniform(3, COUNT, 0)),
    "counter and its negative": lambda: (random.uniform(3, COUNT + 1), random.uniform(3, -COUNT - 1)),
    "sender and receiver": lambda: (
        random.uniform(3, GRID.unsqueeze(1), GRID),
        random.uniform(3, GRID.unsqueeze(1), GRID + 1),
    ),
    "key plus 1, counter minus 1": lambda: (random.uniform(COUNT, 9), random.uniform(COUNT + 1, 8)),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_pairs_are_independent(pair: Callable[[], tuple[Tensor, Tensor]]) -> None:
    assert plausible(pair_p_value(*pair()))


def test_triples_are_independent() -> None:
    """Where multiplicative generators show their planes."""
    draw = [(random.uniform(3, COUNT + lag) * 16).long() for lag in range(3)]
    assert plausible(chi_squared(torch.bincount((draw[0] * 16 + draw[1]) * 16 + draw[2], minlength=16**3)))


def test_no_collisions_among_neighbouring_inputs() -> None:
    """2^20 draws of 64 bits collide with probability 2^-25."""
    assert random.bits(GRID.unsqueeze(1), GRID).unique().numel() == DRAWS
    assert random.bits(0, GRID.unsqueeze(1), GRID).unique().numel() == DRAWS


FLIPPED: dict[str, Callable[[Tensor], Tensor]] = {
    "key": random.bits,
    "key before a counter": lambda x: random.bits(x, 5),
    "last counter": lambda x: random.bits(3, x),
    "first counter": lambda x: random.bits(3, x, 7),
    "seed of a stream": lambda x: random.stream(x, "action"),
}


@pytest.mark.parametrize("small", [False, True], ids=["large inputs", "small inputs"])
@pytest.mark.parametrize("function", FLIPPED.values(), ids=FLIPPED)
def test_avalanche(function: Callable[[Tensor], Tensor], small: bool) -> None:
    """Any flipped input bit flips 32 of the 64 output bits on average, and each of them in half of the cases."""
    samples = 2**13
    base = torch.arange(samples) if small else random.bits(1, torch.arange(samples))
    mask = torch.tensor([1 << bit if bit < 63 else -(2**63) for bit in range(64)])
    change = function(base) ^ function(base ^ mask.unsqueeze(1))  # [input bit, sample]
    flips = torch.stack([((change >> place) & 1).sum(1) for place in range(64)], dim=1)  # [input bit, output bit]
    per_flip = flips.sum(1) / samples
    assert (per_flip - 32).abs().max() < 5 * 4 / math.sqrt(samples)
    z = (flips - samples / 2).abs() / math.sqrt(samples / 4)
    assert z.max() < 5.5, "4096 pairs of bits: a true coin exceeds 5.5 once in 6000 tests"


# --- a pure function of its arguments --------------------------------------------------------------------------------


def test_published_sequence() -> None:
    """The counters 0, 1, 2, ... after a key are SplitMix64 seeded with the hash of the key, here with 1234567."""
    key = 2710597752463413364
    assert random.bits(key).item() == 1234567
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [word % 2**64 for word in random.bits(key, torch.arange(5)).tolist()] == published


def by_hand(key: int, *counters: int) -> int:
    """The formula of the module in Python's unbounded integers."""

    def mix(x: int) -> int:
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    phi = 0x9E3779B97F4A7C15
    state = mix(mix((key + phi) % 2**64))
    for counter in counters:
        state = mix((state + (counter + 1) * phi) % 2**64)
    return state


@given(st.integers(-(2**70), 2**70), st.lists(st.integers(-(2**70), 2**70), max_size=3))
def test_integers_of_any_size_are_taken_modulo_2_to_64(key: int, counters: list[int]) -> None:
    assert random.bits(key, *counters).item() % 2**64 == by_hand(key, *counters)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_a_number_and_a_tensor_mean_the_same(key: int, counter: int) -> None:
    expected = random.bits(key, counter)
    assert random.bits(torch.tensor(key), counter) == expected
    assert random.bits(key, torch.tensor([counter]))[0] == expected
    assert random.bits(torch.tensor([[key]]), torch.tensor([counter]))[0, 0] == expected


@pytest.mark.parametrize(
    "draw",
    [
        lambda key, counter: random.uniform(key, 2, counter),
        lambda key, counter: random.uniform(key, 2, counter, dtype=torch.float64),
        random.normal,
        random.gumbel,
        lambda key, counter: random.integers(key, 1000, counter),
        lambda key, counter: random.stream(key + counter, "x"),
    ],
)
def test_alone_and_in_a_batch(draw: Callable[[Tensor, Tensor], Tensor]) -> None:
    key = torch.arange(100, 164).unsqueeze(1)
    counter = torch.arange(-5, 28)
    together = draw(key, counter)
    assert together.shape == (64, 33)
    for b, c in ((0, 0), (63, 32), (17, 5)):
        assert torch.equal(draw(key[b], counter[c]), together[b, c : c + 1])
    assert torch.equal(draw(key.flip(0), counter), together.flip(0)), "order"
    assert torch.equal(draw(key.expand(64, 33), counter.expand(64, 33)), together), "expanded"
    assert torch.equal(draw(key.T, counter.unsqueeze(1)), together.T), "another layout"
    assert torch.equal(torch.cat([draw(key[:1], counter), draw(key[1:], counter)]), together), "another batch size"


def test_state_of_the_global_generator_does_not_matter() -> None:
    first = random.normal(1, COUNT[:100])
    before = torch.get_rng_state()
    torch.manual_seed(99)
    assert torch.equal(random.normal(1, COUNT[:100]), first)
    torch.set_rng_state(before)
    random.normal(1, COUNT[:100])
    assert torch.equal(torch.get_rng_state(), before)


def test_small_integer_types_are_counters_too() -> None:
    expected = random.bits(3, torch.arange(-4, 4))
    for dtype in (torch.int8, torch.int16, torch.int32):
        assert torch.equal(random.bits(3, torch.arange(-4, 4, dtype=dtype)), expected)


def test_arguments_are_not_changed() -> None:
    key, counter = torch.arange(5), torch.arange(5)
    random.sample_without_replacement(key, 4, 2, counter)
    random.normal(key, counter)
    assert torch.equal(key, torch.arange(5))
    assert torch.equal(counter, torch.arange(5))


# --- the other distributions -----------------------------------------------------------------------------------------


def test_dtypes() -> None:
    assert random.bits(0, 1).dtype == torch.int64
    assert random.stream(0, "a").dtype == torch.int64
    assert random.integers(0, 5, 1).dtype == torch.int64
    assert random.sample_without_replacement(COUNT[:2], 3, 2).dtype == torch.int64
    for draw in (random.uniform, random.normal, random.gumbel):
        assert draw(0, 1).dtype == torch.float32
        assert draw(0, 1, dtype=torch.float64).dtype == torch.float64


# Key 0: the top 24 bits are all one for the first counter and all zero for the second (found by search).
ALL_ONES, ALL_ZEROS = 9031885, 20769456


def test_the_ends_of_the_interval() -> None:
    assert random.uniform(0, ALL_ONES).item() == 1 - 2**-24
    assert random.uniform(0, ALL_ZEROS).item() == 0.0
    for dtype in (torch.float32, torch.float64):
        ends = random.gumbel(0, torch.tensor([ALL_ONES, ALL_ZEROS]), dtype=dtype)
        assert ends.isfinite().all(), ends
        assert ends[0] > 16
        assert ends[1] < -2.8


def test_float32_is_float64_cut_to_24_bits() -> None:
    wide = random.uniform(7, COUNT, dtype=torch.float64)
    assert torch.equal(random.uniform(7, COUNT).double(), (wide * 2**24).floor() / 2**24)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal(dtype: torch.dtype) -> None:
    draw = random.normal(7, COUNT, dtype=dtype).double()
    assert draw.isfinite().all()
    assert plausible(float(stats.kstest(draw.numpy(), "norm").pvalue))
    # standard errors of the first four moments of n normal numbers: sqrt(1, 2, 15, 96) / sqrt(n)
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        error = (draw**power).mean().item() - expected
        assert abs(error) < 4 * math.sqrt(variance / DRAWS), f"moment {power}"


def test_normal_neighbours_are_independent() -> None:
    a, b = random.normal(7, COUNT, dtype=torch.float64), random.normal(7, COUNT + 1, dtype=torch.float64)
    assert abs((a * b).mean().item()) * math.sqrt(DRAWS) < 4.5
    assert abs(((a**2 - 1) * (b**2 - 1)).mean().item()) * math.sqrt(DRAWS) / 2 < 4.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gumbel_argmax_samples_from_the_softmax(dtype: torch.dtype) -> None:
    logits = torch.tensor([2.0, 0.0, -1.0, 0.5, -6.0], dtype=dtype)
    choice = (logits + random.gumbel(7, COUNT.unsqueeze(1), torch.arange(5), dtype=dtype)).argmax(1)
    expected = logits.double().softmax(0) * DRAWS
    assert plausible(chi_squared(torch.bincount(choice, minlength=5), expected))


def test_gumbel_distribution() -> None:
    draw = random.gumbel(8, COUNT, dtype=torch.float64)
    assert plausible(float(stats.kstest(draw.numpy(), "gumbel_r").pvalue))


@pytest.mark.parametrize("high", [2, 3, 5, 7, 1000])
def test_integers_are_unbiased(high: int) -> None:
    draw = random.integers(7, high, COUNT)
    assert draw.min() == 0
    assert draw.max() == high - 1
    assert plausible(chi_squared(torch.bincount(draw, minlength=high)))


def test_integers_below_a_tensor_of_limits() -> None:
    high = torch.tensor([1, 2, 10, 2**40, 2**53])
    draw = random.integers(7, high, COUNT[:200_000].unsqueeze(1))
    assert (draw >= 0).all()
    assert (draw < high).all()
    assert (draw[:, 0] == 0).all()
    assert torch.equal(draw[:, 2], random.integers(7, 10, COUNT[:200_000]))
    assert plausible(float(stats.kstest((draw[:, 3].double() / 2**40).numpy(), "uniform").pvalue))


def permutation_index(rows: Tensor, base: int) -> Tensor:
    return (rows * base ** torch.arange(rows.shape[-1])).sum(-1)


@pytest.mark.parametrize(("population", "count", "outcomes"), [(4, 4, 24), (5, 2, 20), (6, 1, 6), (3, 3, 6)])
def test_sample_without_replacement_is_uniform_over_arrangements(population: int, count: int, outcomes: int) -> None:
    rows = random.sample_without_replacement(COUNT[:240_000], population, count, 9)
    assert rows.shape == (240_000, count)
    assert all((rows[:, i] != rows[:, j]).all() for i in range(count) for j in range(i))
    _, counts = permutation_index(rows, population).unique(return_counts=True)
    assert counts.numel() == outcomes
    assert plausible(chi_squared(counts))


def test_sample_without_replacement_alone_and_in_a_batch() -> None:
    keys, steps = torch.arange(12).view(3, 4), torch.arange(100, 112).view(3, 4)
    together = random.sample_without_replacement(keys, 9, 5, 2, steps)
    assert together.shape == (3, 4, 5)
    assert torch.equal(random.sample_without_replacement(keys[1, 2], 9, 5, 2, steps[1, 2]), together[1, 2])
    assert torch.equal(random.sample_without_replacement(keys, 9, 3, 2, steps), together[..., :3]), "a prefix"


def test_streams_of_other_names_differ() -> None:
    names = ["action", "channel", "gate", "episode", "", "Action", "actions"]
    assert len({random.stream(5, name).item() for name in names}) == len(names)


def test_what_is_no_integer_or_no_float_type_is_refused() -> None:
    with pytest.raises(DtypeError, match="integers"):
        random.uniform(0, torch.tensor(0.5))
    with pytest.raises(DtypeError, match="integers"):
        random.bits(torch.tensor(0.5))
    with pytest.raises(DtypeError, match="bfloat16"):
        random.uniform(0, 1, dtype=torch.bfloat16)
    with pytest.raises(ConfigError, match="positive"):
        random.integers(0, 0)
    with pytest.raises(ConfigError, match="at most 3"):
        random.sample_without_replacement(torch.arange(2), 3, 4)


def test_seeds_of_every_purpose_seed_and_index_differ() -> None:
    """None of 6 purposes and seeds with 100,000 indices each is met twice, and all lie in [0, 2^63)."""
    index = torch.arange(100_000)
    found = torch.cat(
        [random.seeds(purpose, seed, index) for purpose in ("train", "evaluate") for seed in (0, 1, 2**63 - 1)]
    )
    assert len(found.unique()) == 600_000
    assert int(found.min()) >= 0
    assert int(found.max()) > 2**62, "all 63 bits are used"
    assert random.seeds("train", 1, index)[7].equal(random.seeds("train", 1, torch.tensor(7)))


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True, "0", None])
def test_seeds_refuse_what_is_no_seed(seed: Any) -> None:
    with pytest.raises(ConfigError, match="seed: expected an integer"):
        random.seeds("train", seed, torch.arange(2))
