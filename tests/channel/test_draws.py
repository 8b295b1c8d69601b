"""Draws of one's own: independent from round to round, and of channels in series."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gnncomm import channel, envs
from gnncomm.channel import Burst, Channel, Jitter, Loss, Noise, Silent
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.layers import CommStack, MeanComm
from gnncomm.policy import GRU, CommPolicy
from gnncomm.testing import check_policy
from gnncomm.testing.policy import check_ratio_one, check_split_brain
from gnncomm.topology import Full
from gnncomm.types import Moment
from gnncomm.wire import Wire

B, N = 4000, 3
EDGES = B * N * (N - 1)


def full() -> CommGraph:
    return Full()(torch.ones(B, N, dtype=torch.bool)).to_layout("dense")


def moment(number: int = 0, step: int = 3) -> Moment:
    return Moment(torch.arange(B), torch.full((B,), step), number)


def arrives(medium: Channel, now: Moment) -> Tensor:
    """``[B, N, N]`` of a channel that holds nothing back."""
    msg = torch.ones(B, N, 1)
    return medium.carry(msg, full(), torch.zeros(B, N, 0), now).arrivals[0].graph.expand(B).dense


def near(share: float, p: float, count: int = EDGES) -> bool:
    """Within four standard errors."""
    return abs(share - p) < 4 * math.sqrt(p * (1 - p) / count)


def share(passed: Tensor) -> float:
    return float(passed.sum()) / EDGES


@pytest.mark.parametrize("medium", [Loss(0.3), Burst(0.3, length=4)])
def test_two_rounds_have_a_fate_each(medium: Channel) -> None:
    """Both rounds pass with 0.7 where they share draws, with 0.49 where they do not, and either alone with 0.7."""
    together = arrives(medium, moment(0)) & arrives(medium, moment(1))
    assert near(share(together), 0.7)
    own = medium.per_round()
    first, second = arrives(own, moment(0)), arrives(own, moment(1))
    assert near(share(first), 0.7)
    assert near(share(second), 0.7)
    assert near(share(first & second), 0.49)


@pytest.mark.parametrize("medium", [Loss(0.3), Burst(0.3, length=4)])
def test_two_losses_in_series_lose_twice(medium: Channel) -> None:
    assert near(share(arrives(medium + medium, moment())), 0.7)
    assert near(share(arrives(medium + medium.apart(1), moment())), 0.49)
    assert near(share(arrives(medium + medium.apart(1) + medium.apart(2), moment())), 0.343)
    assert near(share(arrives(medium.apart(5) + medium.apart(5), moment())), 0.7), "one number, one draw"


def test_a_burst_of_its_own_lasts_as_long() -> None:
    """Bad at one step, it is bad at the next with probability 1 - 1 / length, in each round."""
    own = Burst(0.3, length=4).apart(1).per_round()
    for number in (0, 1):
        bad, still = (~arrives(own, moment(number, step)) & full().dense for step in (6, 7))
        assert near(float((bad & still).sum() / bad.sum()), 0.75, int(bad.sum()))


def test_noises_in_series_add_their_variances() -> None:
    msg = torch.zeros(B, N, 4, dtype=torch.float64)
    unit = Noise(1.0, std=(1.0,))

    def variance(medium: Channel) -> float:
        delivery = medium.carry(msg, full(), torch.zeros(B, N, 0), moment())
        return float(delivery.arrivals[0].msg.square().mean())

    error = 4 * math.sqrt(2 / msg.numel())
    assert variance(unit + unit) == pytest.approx(4.0, rel=error), "the same noise twice"
    assert variance(unit + unit.apart(1)) == pytest.approx(2.0, rel=error)


def test_other_agents_fail_and_another_time_is_taken() -> None:
    """Two of three agents silent: the same two, or each with the chance 1/3 * 1/3 that is left to both."""
    silent = Silent(agents=2)
    assert near(share(arrives(silent + silent, moment())), 1 / 3, B * N)
    assert near(share(arrives(silent + silent.apart(1), moment())), 1 / 9, B * N)
    assert near(share(arrives(silent.per_round(), moment(0)) & arrives(silent.per_round(), moment(1))), 1 / 9, B * N)

    def at_once(medium: Channel, number: int) -> Tensor:
        state = torch.zeros(B, N, medium.carried_dim(1, N))
        return medium.carry(torch.ones(B, N, 1), full(), state, moment(number)).arrivals[0].graph.dense

    for medium, both in ((Jitter(1), 0.5), (Jitter(1).per_round(), 0.25)):
        assert near(share(at_once(medium, 0) & at_once(medium, 1)), both)


def test_a_round_of_its_own_is_drawn_as_any_episode_is() -> None:
    """The channel within sees another key and nothing else, so that all that it promises holds."""
    own = Loss(0.4).per_round()
    now = moment(2)
    assert torch.equal(arrives(own, now), arrives(Loss(0.4), replace(now, key=own.key(now))))


@pytest.mark.parametrize(
    "text", ["loss:p=0.4.per_round()", "jitter:max=2.per_round() + loss:p=0.3.apart(1)", "noise:sigma=0.5.apart(2)"]
)
def test_learners_and_lone_agents_meet_the_same_wire(text: str) -> None:
    env = envs.make("predator_prey", num_envs=2, num_agents=4, max_steps=5)
    torch.manual_seed(0)
    comm = CommStack([MeanComm(8, 8), MeanComm(8, 8)])
    policy = CommPolicy(env.obs_dim, env.num_actions, comm, GRU(8), "after", Wire(channel=channel.resolve(text)))
    check_policy(policy, env)
    check_split_brain(policy.double(), env)
    check_ratio_one(policy, env)


def test_by_name() -> None:
    assert channel.resolve("loss:p=0.2.per_round()") == Loss(0.2).per_round()
    assert channel.resolve("(loss:p=0.2 + jitter:max=1).apart(3)") == (Loss(0.2) + Jitter(1)).apart(3)
    assert channel.spec_of(Loss(0.2).apart(3).per_round()) == "loss:p=0.2.apart(3).per_round()"
    with pytest.raises(ConfigError, match="apart"):
        channel.resolve("loss:p=0.2.apart(0)")
