"""The sampled gate: its distribution, its variants, its price."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.schedule import Gate, Schedule, Situation
from gnncomm.topology import Full
from gnncomm.types import Moment

F, N, M = 3, 4, 2
P_TALK = 0.7


def gate(**settings: bool | float) -> Gate:
    """Talks with probability 0.7, whatever the row."""
    module = Gate(F, **settings)  # type: ignore[arg-type]
    with torch.no_grad():
        module.lin.weight.zero_()
        module.lin.bias.copy_(torch.tensor([0.0, math.log(P_TALK / (1 - P_TALK))]))
    return module


def everyone(num_envs: int) -> CommGraph:
    return Full()(torch.ones(num_envs, N, dtype=torch.bool))


def decide(
    module: Gate,
    num_envs: int = 2,
    step: int = 0,
    key: int | None = 0,
    choice: Tensor | None = None,
    state: Tensor | None = None,
    number: int = 0,
) -> Schedule:
    moment = Moment(10 + torch.arange(num_envs), torch.full((num_envs,), step), number)
    state = torch.zeros(num_envs, N, module.carried_dim(M)) if state is None else state
    result: Schedule = module(
        Situation(
            torch.randn(num_envs, N, F), torch.ones(num_envs, N, M), everyone(num_envs), state, moment, key, choice
        )
    )
    return result


def talks(result: Schedule) -> Tensor:
    return result.graph.dense.any(2)


def test_a_gate_is_drawn_from_its_softmax_and_its_probability_is_recorded() -> None:
    result = decide(gate(), num_envs=5000)
    assert result.choice is not None
    assert result.log_prob is not None
    assert result.entropy is not None
    chosen = result.choice.squeeze(-1)
    share = float(chosen.double().mean())
    assert abs(share - P_TALK) < 4 * math.sqrt(P_TALK * (1 - P_TALK) / chosen.numel())
    wanted = torch.where(chosen == 1, math.log(P_TALK), math.log(1 - P_TALK))
    torch.testing.assert_close(result.log_prob, wanted)
    entropy = -P_TALK * math.log(P_TALK) - (1 - P_TALK) * math.log(1 - P_TALK)
    torch.testing.assert_close(result.entropy, torch.full_like(result.entropy, entropy))
    assert torch.equal(talks(result), chosen == 1), "who talks reaches the others, who is silent nobody"
    assert (result.graph.dense.sum(2)[chosen == 1] == N - 1).all()


def test_draws_depend_on_key_episode_step_round_and_agent_only() -> None:
    many, few = decide(gate(), 50), decide(gate(), 7)
    assert many.choice is not None
    assert few.choice is not None
    assert torch.equal(many.choice[:7], few.choice)
    for other in (decide(gate(), 50, key=1), decide(gate(), 50, step=1), decide(gate(), 50, number=1)):
        assert other.choice is not None
        assert not torch.equal(many.choice, other.choice)


def test_greedy_gates_take_the_likelier_choice_and_recorded_ones_are_kept() -> None:
    assert talks(decide(gate(), key=None)).all()
    choice = torch.tensor([[0, 1, 0, 1], [1, 1, 0, 0]]).unsqueeze(-1)
    result = decide(gate(), key=None, choice=choice)
    assert torch.equal(talks(result), choice.squeeze(-1) == 1)
    assert result.log_prob is not None
    torch.testing.assert_close(result.log_prob[0, :2], torch.tensor([1 - P_TALK, P_TALK]).log())


def test_a_delayed_gate_does_at_each_step_what_was_decided_at_the_step_before() -> None:
    for first_silent in (False, True):
        module, state = gate(delayed=True, first_silent=first_silent), None
        decided = torch.full((2, N), not first_silent)
        for step in range(5):
            result = decide(module, step=step, state=state)
            assert torch.equal(talks(result), decided), step
            assert result.choice is not None
            decided, state = result.choice.squeeze(-1) == 1, result.state


def test_the_first_step_is_silent_and_its_decision_counts_for_nothing() -> None:
    module = gate(first_silent=True, price=0.5)
    first, second = decide(module, step=0), decide(module, step=1)
    assert not first.graph.num_edges
    for zero in (first.log_prob, first.entropy, first.cost):
        assert zero is not None
        assert not zero.any()
    assert second.graph.num_edges
    assert second.log_prob is not None
    assert (second.log_prob != 0).all()


def test_who_is_silent_is_deaf_where_gates_work_both_ways() -> None:
    choice = torch.tensor([[0, 1, 0, 1], [1, 1, 0, 0]]).unsqueeze(-1)
    assert decide(gate(), choice=choice).deaf is None
    deaf = decide(gate(two_way=True), choice=choice).deaf
    assert deaf is not None
    assert torch.equal(deaf, choice.squeeze(-1) == 0)


def test_the_price_is_what_talking_costs_on_average() -> None:
    cost = decide(gate(price=0.5)).cost
    assert cost is not None
    torch.testing.assert_close(cost, torch.full((2, N), 0.5 * P_TALK))
    assert decide(gate()).cost is None


def test_an_agent_always_hears_itself_where_its_graph_says_so() -> None:
    loops = everyone(1).with_self_loops()
    silent = torch.zeros(1, N, 1, dtype=torch.int64)
    moment = Moment(torch.tensor([1]), torch.tensor([3]))
    result = gate()(
        Situation(torch.zeros(1, N, F), torch.zeros(1, N, M), loops, torch.zeros(1, N, 0), moment, None, silent)
    )
    assert torch.equal(result.graph.dense[0], torch.eye(N, dtype=torch.bool))


@pytest.mark.parametrize("settings", [{"price": -1.0}, {"price": float("nan")}])
def test_bad_prices_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="price"):
        gate(**settings)
    with pytest.raises(ConfigError, match="in_channels"):
        Gate(0)
