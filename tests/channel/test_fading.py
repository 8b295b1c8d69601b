"""Path loss, shadowing and fading, against closed forms worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from gnncomm import envs
from gnncomm.channel import PathLoss
from gnncomm.errors import GraphError, ShapeError
from gnncomm.graph import CommGraph
from gnncomm.layers import MeanComm
from gnncomm.policy import CommPolicy, Memory
from gnncomm.testing import check_policy
from gnncomm.topology import Full
from gnncomm.types import Moment
from gnncomm.wire import Wire

PLACES = torch.tensor([[0.0, 0.0], [6.0, 8.0], [0.3, 0.4]])  # 10 apart, and 0.5


def at(count: int, step: int = 0, pos: Tensor = PLACES) -> Moment:
    alive = torch.ones(count, len(pos), dtype=torch.bool)
    return Moment(torch.arange(count), torch.full((count,), step), pos=pos.expand(count, -1, -1), alive=alive)


def full(num_agents: int = 3) -> CommGraph:
    return Full()(torch.ones(1, num_agents, dtype=torch.bool))


def lost(medium: PathLoss, now: Moment) -> Tensor:
    """``[B, N, N]`` bool."""
    assert now.pos is not None
    return ~medium.deliver(full(now.pos.shape[1]), now).dense


def near(share: Tensor, p: float) -> bool:
    """Within four standard errors."""
    return abs(float(share.float().mean()) - p) < 4 * math.sqrt(p * (1 - p) / share.numel())


def test_the_outage_of_a_rayleigh_link_is_the_closed_form() -> None:
    """20 dB at distance 1 and n = 2 are 0 dB at distance 10: P(lost) = 1 - exp(-10^(threshold / 10))."""
    now = at(40_000)
    for threshold_db, p in ((0.0, 1 - math.exp(-1)), (-10.0, 1 - math.exp(-0.1)), (3.0103, 1 - math.exp(-2))):
        medium = PathLoss(20.0, 2.0, threshold_db)
        assert near(lost(medium, now)[:, 0, 1], p)
        assert near(lost(medium, now)[:, 1, 0], p)
    near_by = lost(PathLoss(20.0, 2.0, 10.0), now)[:, 0, 2]  # not above the 20 dB of the reference: 1 - exp(-1/10)
    assert near(near_by, 1 - math.exp(-0.1))


def test_links_fade_apart_and_anew_at_each_step() -> None:
    """Both directions, two steps: independent, so all four are lost with the fourth power."""
    medium, p = PathLoss(20.0, 2.0), 1 - math.exp(-1)
    first, then = lost(medium, at(40_000)), lost(medium, at(40_000, step=1))
    together = first[:, 0, 1] & first[:, 1, 0] & then[:, 0, 1] & then[:, 1, 0]
    assert near(together, p**4)


def test_without_fading_there_is_a_range() -> None:
    """20 - 20 log10(d) >= 0 up to d = 10; with n = 4 up to the root of 10; a threshold of 6 dB halves it."""
    line = torch.tensor([[0.0], [4.9], [9.9], [10.1]])
    now = at(1, pos=line)
    assert (~lost(PathLoss(20.0, 2.0, rayleigh=False), now))[0, 0].tolist() == [False, True, True, False]
    assert (~lost(PathLoss(20.0, 2.0, 6.0, rayleigh=False), now))[0, 0].tolist() == [False, True, False, False]
    assert (~lost(PathLoss(20.0, 4.0, rayleigh=False), now))[0, 0].tolist() == [False] * 4
    assert (~lost(PathLoss(20.0, 2.0, reference=5.0, rayleigh=False), now))[0, 0].tolist() == [False, True, True, True]


def test_shadowing_is_a_pairs_own_for_an_episode() -> None:
    """A margin of 4 dB under a sigma of 4 dB is lost with Phi(-1), for a whole episode and both ways."""
    medium = PathLoss(24.0, 2.0, shadowing_db=4.0, rayleigh=False)
    first, later = lost(medium, at(40_000)), lost(medium, at(40_000, step=9))
    assert near(first[:, 0, 1], 0.158655)
    assert torch.equal(first, later)
    assert torch.equal(first[:, 0, 1], first[:, 1, 0])
    once_more = lost(medium, Moment(torch.arange(40_000) + 10**6, *(at(40_000).step,), pos=at(40_000).pos))
    assert near((first & once_more)[:, 0, 1], 0.158655**2)


def test_what_is_lost_near_is_lost_further_away() -> None:
    medium = PathLoss(12.0, 3.0, shadowing_db=6.0)
    gone = [lost(medium, at(500, pos=scale * PLACES)) for scale in (0.5, 1.0, 2.0, 4.0)]
    for nearer, further in pairwise(gone):
        assert not bool((nearer & ~further).any())
        assert nearer.sum() < further.sum()


def test_nothing_is_heard_where_an_end_is_nowhere() -> None:
    now = at(1, pos=torch.tensor([[0.0], [torch.nan], [1.0]]))
    assert (~lost(PathLoss(60.0), now))[0].tolist() == [
        [False, False, True],
        [False, False, False],
        [True, False, False],
    ]


def test_a_world_without_places_is_refused() -> None:
    moment = Moment(torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(GraphError, match=r"PathLoss needs positions: expected moment\.pos \[B, N, P\], got None"):
        PathLoss().deliver(full(), moment)
    with pytest.raises(ShapeError, match=r"expected pos \[1, 4, P\], got \[1, 3, 2\]"):
        PathLoss().deliver(full(4), at(1))
    env = envs.make("relay", num_envs=2)
    policy = CommPolicy(env.obs_dim, env.num_actions, MeanComm(8, 8), Memory(8), wire=Wire(channel=PathLoss()))
    with pytest.raises(GraphError, match="Use an env with pos"):
        policy.act(replace(env.reset(seed=0), pos=None), policy.initial_state(2, env.num_agents))


def test_a_team_is_out_of_touch_when_it_is_far_apart() -> None:
    """Positions reach the channel through ``act``: bits are paid, and nothing arrives."""
    env = envs.make("predator_prey", num_envs=3, num_agents=4)
    now = env.reset(seed=0)
    for snr_db, edges in ((200.0, 3 * 4 * 3), (-200.0, 0)):
        wire = Wire(channel=PathLoss(snr_db))
        policy = CommPolicy(env.obs_dim, env.num_actions, MeanComm(8, 8), Memory(8), wire=wire)
        talk = policy.act(now, policy.initial_state(3, 4)).talk
        assert talk.graphs[0].num_edges == edges
        assert talk.bits.tolist() == [[256.0] * 4] * 3


def test_the_laws_hold_with_shadowing_fading_and_delay() -> None:
    env = envs.make("predator_prey", num_envs=3, num_agents=4, max_steps=5)
    wire = Wire(channel=PathLoss(12.0, 2.0, shadowing_db=3.0) + PathLoss(20.0).apart(1).per_round())
    assert check_policy(CommPolicy(env.obs_dim, env.num_actions, MeanComm(8, 8), wire=wire), env, 7) == ()
