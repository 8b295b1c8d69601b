"""Advantages and the normaliser against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnncomm.learn import ReturnNorm, gae


def column(*values: float) -> Tensor:
    """``[T, 1, 1]``: one agent in one environment."""
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)


def flags(*values: bool) -> Tensor:
    return torch.tensor(values).view(-1, 1)


NO = flags(False, False, False)
ONE = column(1.0, 1.0, 1.0)


def test_three_steps_by_hand() -> None:
    """gamma = lambda = 1/2, so that an advantage counts a quarter one step earlier."""
    reward, value, next_value = column(1, 2, 3), column(4, 8, 12), column(8, 12, 16)
    # delta = 1 + 4 - 4, 2 + 6 - 8, 3 + 8 - 12 = 1, 0, -1
    expected = column(1 + (0 - 1 / 4) / 4, 0 - 1 / 4, -1)
    assert gae(reward, value, next_value, ONE, NO, 0.5, 0.5).equal(expected)


def test_nothing_comes_back_through_a_termination() -> None:
    reward, value, next_value = column(1, 2, 3), column(4, 8, 12), column(8, 100, 16)
    discount, done = column(1, 0, 1), flags(False, True, False)
    # delta = 1, 2 - 8, -1: neither the value 100 of the next episode nor its advantage is seen
    expected = column(1 - 6 / 4, -6, -1)
    assert gae(reward, value, next_value, discount, done, 0.5, 0.5).equal(expected)


def test_a_truncation_is_bootstrapped_and_ends_the_sum() -> None:
    reward, value, next_value = column(1, 2, 3), column(4, 8, 12), column(8, 20, 16)
    done = flags(False, True, False)
    # delta = 1, 2 + 10 - 8, -1: the value 20 of the last observation counts, the advantage of the next episode does not
    expected = column(1 + 4 / 4, 4, -1)
    assert gae(reward, value, next_value, ONE, done, 0.5, 0.5).equal(expected)


def test_the_end_of_one_agent_is_not_the_end_of_the_others() -> None:
    reward = torch.tensor([[1.0, 1.0], [1.0, 1.0]]).view(2, 1, 2)
    value = torch.zeros(2, 1, 2)
    discount = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).view(2, 1, 2)
    got = gae(reward, value, value, discount, flags(False, False), 1.0, 1.0)
    assert got[:, 0].tolist() == [[2.0, 1.0], [1.0, 1.0]]


def test_environments_do_not_mix() -> None:
    reward, value, next_value = torch.randn(3, 5, 4, 3).unbind(0)
    done = torch.rand(5, 4) < 0.3
    discount = (torch.rand(5, 4, 3) < 0.7).float()
    together = gae(reward, value, next_value, discount, done, 0.9, 0.8)
    for b in range(4):
        one = slice(b, b + 1)
        alone = gae(reward[:, one], value[:, one], next_value[:, one], discount[:, one], done[:, one], 0.9, 0.8)
        assert alone.equal(together[:, one])


def test_lambda_one_is_the_discounted_sum_of_rewards() -> None:
    torch.manual_seed(3)
    reward, value = torch.randn(6, 2, 3, dtype=torch.float64), torch.randn(7, 2, 3, dtype=torch.float64)
    gamma = 0.9
    no = torch.zeros(6, 2, dtype=torch.bool)
    got = gae(reward, value[:-1], value[1:], torch.ones_like(reward), no, gamma, 1.0)
    for t in range(6):
        steps = torch.arange(6 - t, dtype=torch.float64).view(-1, 1, 1)
        total = (gamma**steps * reward[t:]).sum(0) + gamma ** (6 - t) * value[-1]
        torch.testing.assert_close(got[t] + value[t], total, rtol=1e-12, atol=1e-12)


def test_lambda_zero_is_the_error_of_one_step() -> None:
    reward, value, next_value = torch.randn(3, 4, 2, 3).unbind(0)
    ones, no = torch.ones(4, 2, 3), torch.zeros(4, 2, dtype=torch.bool)
    assert gae(reward, value, next_value, ones, no, 0.9, 0.0).equal(reward + 0.9 * next_value - value)


def test_first_sample_is_taken_in_whole() -> None:
    """Bias correction: after one update the mean is that of the sample, not a hundredth of it."""
    norm = ReturnNorm(rate=0.01)
    norm.update(torch.tensor([1.0, 3.0]))
    assert norm.normalise(torch.tensor([1.0, 2.0, 3.0])).tolist() == pytest.approx([-1, 0, 1], abs=1e-6)


def test_moments_after_two_samples_by_hand() -> None:
    norm = ReturnNorm(rate=0.5)
    norm.update(torch.tensor([0.0, 0.0]))
    norm.update(torch.tensor([3.0, 3.0]))
    # weights 1/4 and 1/2 of 3/4: mean 2, mean square 6, variance 2
    assert norm.normalise(torch.tensor([2.0, 2 + 2**0.5])).tolist() == pytest.approx([0, 1], abs=1e-6)


def test_restore_undoes_normalise() -> None:
    norm = ReturnNorm()
    value = torch.linspace(-5, 5, 11)
    assert norm.restore(value).equal(value), "without a sample nothing is scaled"
    for _ in range(5):
        norm.update(torch.randn(64) * 7 + 30)
    torch.testing.assert_close(norm.normalise(norm.restore(value)), value, rtol=1e-5, atol=1e-5)
    assert not norm.restore(value).equal(value)


def test_an_empty_sample_changes_nothing() -> None:
    norm = ReturnNorm()
    norm.update(torch.tensor([2.0, 4.0]))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    norm.update(torch.empty(0))
    assert all(value.equal(before[name]) for name, value in norm.state_dict().items())


def test_constant_returns_keep_a_finite_scale() -> None:
    norm = ReturnNorm()
    norm.update(torch.full((8,), 1000.0))
    assert norm.normalise(torch.tensor([1000.0, 1001.0])).isfinite().all()
