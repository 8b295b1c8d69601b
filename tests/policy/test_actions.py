"""Actions that are numbers within bounds: probabilities, draws and entropies against values that come another way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import AffineTransform, Normal, TanhTransform, TransformedDistribution

from gnncomm.errors import ActionMaskError, ConfigError, DtypeError, ShapeError
from gnncomm.layers import MeanComm
from gnncomm.policy import CommPolicy, TanhGaussian, actions_of
from gnncomm.types import Box, Group, TeamSpec

LOW, HIGH = -2.0, 4.0
ONE = TanhGaussian(Box(((LOW,),), ((HIGH,),))).double()
RAW = {0.5: 0.0, 1.0: math.log(math.expm1(0.999)) - math.log(math.expm1(0.499))}
"""Standard deviation -> the number that the actor gives for it."""


def logits(mean: float, std: float) -> Tensor:
    return torch.tensor([mean, RAW[std]], dtype=torch.float64)


def cdf(action: Any, mean: float, std: float) -> Any:
    """Probability of at most ``action``."""
    u = np.arctanh((np.asarray(action) - LOW) / (HIGH - LOW) * 2 - 1)
    return stats.norm.cdf((u - mean) / std)


def test_a_probability_by_hand() -> None:
    """a = 1.6: tanh u = 0.2, so u = 0.2027; N(u; 0.3, 0.5) = 0.7828; / (1 - 0.04) / 3 = 0.2718."""
    got = ONE.log_prob(logits(0.3, 0.5), torch.tensor([1.6], dtype=torch.float64))
    density = math.exp(-0.5 * ((math.atanh(0.2) - 0.3) / 0.5) ** 2) / (0.5 * math.sqrt(2 * math.pi))
    assert math.isclose(float(got.exp()), density / 0.96 / 3, rel_tol=1e-9)
    assert math.isclose(float(got.exp()), 0.2718, abs_tol=1e-4)


@pytest.mark.parametrize("std", [0.5, 1.0])
@pytest.mark.parametrize("mean", [0.0, 0.7, -1.5])
def test_the_density_is_that_of_torch_and_integrates_to_one(mean: float, std: float) -> None:
    action = torch.linspace(LOW, HIGH, 20_003, dtype=torch.float64)[1:-1]
    got = ONE.log_prob(logits(mean, std), action.unsqueeze(-1))
    chain = [TanhTransform(), AffineTransform((LOW + HIGH) / 2, (HIGH - LOW) / 2)]
    want = TransformedDistribution(Normal(torch.tensor(mean).double(), std), chain).log_prob(action)
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)
    assert math.isclose(float(got.exp().sum()) * (HIGH - LOW) / 20_002, 1.0, abs_tol=1e-3)


@pytest.mark.parametrize("std", [0.5, 1.0])
@pytest.mark.parametrize("mean", [0.0, 1.0, -2.0])
def test_the_entropy_is_the_integral(mean: float, std: float) -> None:
    u = torch.linspace(mean - 9 * std, mean + 9 * std, 40_001, dtype=torch.float64)
    density = Normal(torch.tensor(mean).double(), std).log_prob(u).exp()
    inside = ONE.low + ONE.reach * (u.tanh() + 1)
    kept = (u.tanh().abs() < 1 - 1e-6).double()
    of_action = ONE.log_prob(logits(mean, std), inside.unsqueeze(-1))
    want = -(density * kept * torch.where(kept > 0, of_action, 0.0)).sum() * (u[1] - u[0])
    got = ONE.entropy(logits(mean, std))
    assert abs(float(got - want)) < 1e-3


def test_the_gradient_of_the_entropy_widens_a_narrow_distribution() -> None:
    numbers = logits(0.0, 0.5).requires_grad_()
    ONE.entropy(numbers).backward()
    assert numbers.grad is not None
    assert float(numbers.grad[1]) > 0
    assert abs(float(numbers.grad[0])) < 1e-12, "symmetric"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_have_the_distribution_and_stay_within_bounds(dtype: torch.dtype) -> None:
    count, mean, std = 20_000, 0.4, 1.0
    head = TanhGaussian(Box(((LOW,),), ((HIGH,),))).to(dtype)
    place = torch.arange(count)
    draws = head.choose(logits(mean, std).to(dtype).expand(count, 2), 3, place, torch.tensor(2), torch.tensor(1))
    assert draws.dtype == dtype
    assert float(draws.min()) >= LOW
    assert float(draws.max()) <= HIGH
    result = stats.kstest(draws.double().clamp(LOW + 1e-6, HIGH - 1e-6).squeeze(-1).numpy(), cdf, args=(mean, std))
    assert result.pvalue > 1e-3


def test_agents_numbers_and_steps_draw_independently_and_alone() -> None:
    head = TanhGaussian(Box(((-1.0, -1.0),), ((1.0, 1.0),)))
    numbers = torch.zeros(50, 40, 4)
    episode, agent = torch.arange(50).unsqueeze(-1), torch.arange(40)
    draws = head.choose(numbers, 3, episode, torch.tensor(2), agent)
    alone = head.choose(numbers[7, 3], 3, torch.tensor(7), torch.tensor(2), torch.tensor(3))
    assert alone.equal(draws[7, 3])
    later = head.choose(numbers, 3, episode, torch.tensor(3), agent)
    for other in (draws.roll(1, 0), draws.roll(1, 1), draws.flip(-1), later):
        assert stats.pearsonr(draws.flatten().numpy(), other.flatten().numpy()).pvalue > 1e-3


def test_without_a_key_it_is_the_middle_of_the_gaussian() -> None:
    none = torch.tensor(0)
    got = ONE.choose(logits(0.7, 1.0), None, none, none, none)
    assert math.isclose(float(got), LOW + 3 * (math.tanh(0.7) + 1), rel_tol=1e-9)


def test_a_drawn_action_has_the_probability_that_is_read_from_it_even_at_a_bound() -> None:
    head = TanhGaussian(Box(((LOW,),), ((HIGH,),)))
    extreme = torch.tensor([30.0, 0.0])
    action = head.choose(extreme, 1, torch.tensor(0), torch.tensor(0), torch.tensor(0))
    assert float(action) == HIGH
    assert bool(head.log_prob(extreme, action).isfinite())
    assert bool(head.entropy(extreme).isfinite())


def test_numbers_whose_bounds_are_equal_are_constants() -> None:
    box = Box(((LOW, 0.0), (LOW, -1.0)), ((HIGH, 0.0), (HIGH, 1.0)))
    head = TanhGaussian(box).double()
    numbers = torch.tensor([[0.3, 9.0, 0.0, 3.0], [0.3, 0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    none = torch.zeros(2, dtype=torch.int64)
    action = head.choose(numbers, 1, none, none, torch.arange(2)).detach()
    assert float(action[0, 1]) == 0.0
    first = head.log_prob(numbers, action)[0]
    assert math.isclose(float(first.detach()), float(ONE.log_prob(logits(0.3, 0.5), action[0, :1])), rel_tol=1e-9)
    (slope,) = torch.autograd.grad(first + head.entropy(numbers)[0], numbers)
    assert slope[0, [1, 3]].tolist() == [0.0, 0.0]
    alone = head.of_agent(1)
    assert alone.log_prob(numbers[1], action[1]).equal(head.log_prob(numbers, action)[1])


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (((0.0,),), ((math.inf,),)),
        (((-3e38,),), ((3e38,),)),
        (((1.0,),), ((0.0,),)),
        (((0.0, 0.0), (0.0,)), ((1.0, 1.0), (1.0,))),
        (0.0, 1.0),
        ((("a",),), ((1.0,),)),
    ],
)
def test_other_bounds_are_refused(low: Any, high: Any) -> None:
    with pytest.raises(ConfigError, match=r"expected (low <= high within|low and high \[N, A\])"):
        Box(low, high)


def test_a_box_of_other_sizes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected bounds \[N=3, A=2\], got \[1, 1\]"):
        TeamSpec(4, 2, 3, Box(((0.0,),), ((1.0,),)))
    for names, members in (("aa", ((0,), (1, 2))), ("ab", ((0, 1, 2), ()))):
        groups = tuple(Group(name, rows, 4, 2) for name, rows in zip(names, members, strict=True))
        with pytest.raises(ConfigError, match="groups: expected a name of its own for each, and somebody in it"):
            TeamSpec(4, 2, 3, groups=groups)


def test_actions_of_another_form_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"action \[T, B, N, A\] = \[2, 3, 1, 1\], got \[2, 3, 1\]"):
        ONE.check(torch.zeros(2, 3, 1), (2, 3, 1))
    with pytest.raises(DtypeError, match="floating-point"):
        ONE.check(torch.zeros(2, 3, 1, 1, dtype=torch.int64), (2, 3, 1))
    with pytest.raises(ActionMaskError, match="leave action_mask None"):
        ONE.masked(torch.zeros(1, 2), torch.ones(1, 1, dtype=torch.bool), torch.ones(1, dtype=torch.bool))


def test_an_actor_of_another_width_is_refused() -> None:
    spec = TeamSpec(3, 2, 2, Box(((0.0, 0.0),) * 2, ((1.0, 1.0),) * 2))
    policy = CommPolicy(3, 2, MeanComm(8, 8), actions=actions_of(spec), actor=torch.nn.Linear(8, 2))
    with pytest.raises(ShapeError, match=r"what the actor gives .* = \[4\] .* got \[2\]"):
        policy.logits(torch.zeros(8), torch.ones((), dtype=torch.bool), None)
