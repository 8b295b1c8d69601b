"""What the team's reward counts, and what becomes of it after a death: numbers by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gnncomm import envs, evaluate, record
from gnncomm.learn import PPO, Rollout, begin, collect
from gnncomm.learn.returns import Stream, after_death, gae, paid, team_mean, team_share
from gnncomm.types import TimeStep

Setup = Callable[..., Any]
NAN = float("nan")


def tensor(rows: Any) -> Tensor:
    """``[T, N]`` numbers as ``[T, B=1, N]``."""
    return torch.tensor(rows).unsqueeze(1)


def test_the_team_mean_divides_by_all_rows() -> None:
    """Nobody gains by a death: with 3 rows, 1.5 earned is 0.5 each, whether two live or three."""
    reward = torch.tensor([[1.0, 0.5, 0.0], [1.0, 0.5, NAN]])
    counts = torch.tensor([[True, True, True], [True, True, False]])
    assert team_mean(reward, counts).tolist() == [0.5, 0.5]


def test_who_acted_is_paid_and_who_came() -> None:
    def alive(*flags: bool) -> TimeStep:
        none = torch.zeros(1, dtype=torch.bool)
        row = torch.zeros(1, 4)
        return TimeStep(row, row, row, torch.tensor([flags]), none, none, none, none, none.long(), none.long())

    before, after = alive(True, True, False, False), alive(True, False, True, False)
    assert paid(before, after).tolist() == [[True, True, True, False]]


class Junk:
    """An environment whose rows that nobody is in hold NaN as reward and observation."""

    def __init__(self, env: Any) -> None:
        self.env, self.before = env, None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def _spoilt(self, now: TimeStep) -> TimeStep:
        nobody = ~now.alive if self.before is None else ~(self.before | now.alive)
        obs = now.obs
        assert isinstance(obs, Tensor)
        self.before = now.alive
        return replace(
            now,
            reward=torch.where(nobody, NAN, now.reward),
            obs=torch.where(now.alive.unsqueeze(-1), obs, NAN),
        )

    def reset(self, seed: Any = None, where: Any = None) -> TimeStep:
        now = self.env.reset(seed=seed, where=where)
        self.before = None
        return self._spoilt(now)

    def step(self, action: Tensor) -> TimeStep:
        return self._spoilt(self.env.step(action))


def test_rows_of_nobody_may_hold_anything_everywhere(setup: Setup) -> None:
    """Collecting, learning, tallying, evaluating, recording: the same numbers as with zeros there."""
    settings = {"level": "easy", "max_steps": 6, "add_rate": 0.4}
    found = []
    for wrap in (lambda env: env, Junk):
        made = setup("traffic_junction", env_settings=settings, observation="flat")
        policy, learner = made.learner.policy, made.learner
        env = wrap(envs.make("traffic_junction", num_envs=6, observation="flat", **settings))
        carry, tally = begin(env, policy, 3)
        rollout, _ = collect(env, policy, carry, 8, 0, tally)
        assert (~rollout.timestep.alive).any()
        metrics = learner.update(rollout)
        weights = torch.cat([p.detach().flatten() for p in policy.parameters()])
        report = evaluate(policy, env, episodes=6)
        episode = record(policy, env, seed=1)
        found.append((weights, metrics, tally.flush(), report.to_dict(), episode.rewards.tolist()))
    zeros, junk = found
    assert zeros[0].equal(junk[0])
    assert zeros[1:] == junk[1:]


# ---- after a death ----


def stream(**changes: Any) -> tuple[Stream, Tensor]:
    """Two agents, three steps; agent 1 dies with step 0; the team earns 1 at the end, all of it by agent 0."""
    alive = tensor([[True, True], [True, False], [True, False]])
    share = changes.pop("share", 1.0)
    own = tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    given = {
        "reward": (1 - share) * own + share * team_mean(own, alive).unsqueeze(-1),
        "value": torch.zeros(3, 1, 2),
        "next_value": torch.zeros(3, 1, 2),
        "discount": tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]),
        "done": torch.tensor([[False], [False], [True]]),
    }
    return Stream(**given | changes), alive


def test_without_the_setting_the_dead_earn_nothing_of_what_comes_later() -> None:
    plain, _ = stream()
    assert gae(*plain, 0.9, 1.0)[0, 0].tolist() == pytest.approx([0.81 * 0.5, 0.0])


def test_with_it_the_steps_of_the_dead_are_worth_what_those_of_the_survivor_are() -> None:
    plain, alive = stream()
    advantage = gae(*after_death(plain, alive, None, 1.0), 0.9, 1.0)
    assert advantage[0, 0].tolist() == pytest.approx([0.405, 0.405])


def test_of_a_part_that_is_shared_the_dead_get_their_part() -> None:
    plain, alive = stream(share=0.5)
    advantage = gae(*after_death(plain, alive, None, 0.5), 0.9, 1.0)
    assert advantage[0, 0].tolist() == pytest.approx([0.81 * 0.75, 0.81 * 0.25])


@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
def test_right_values_leave_no_advantage_to_the_dead(share: float, lam: float) -> None:
    """The value of the dead follows from those of the living: with right ones, every error along the way is zero.

    Values by hand, gamma = 1: the survivor still gets (1 - s) * 1 + s * 1/2, the dead s * 1/2.
    """
    survivor = (1 - share) + share / 2
    value = tensor([[survivor, share / 2], [survivor, NAN], [survivor, NAN]])
    plain, alive = stream(share=share, value=value, next_value=tensor([[survivor, NAN], [survivor, NAN], [NAN, NAN]]))
    clean = plain._replace(
        value=torch.where(alive, value, 0.0), next_value=torch.where(plain.discount != 0, plain.next_value, 0.0)
    )
    advantage = gae(*after_death(clean, alive, None, share), 1.0, lam)
    torch.testing.assert_close(advantage, torch.zeros_like(advantage), rtol=0, atol=1e-6)


def test_a_truncated_episode_goes_on_for_the_dead_too() -> None:
    """What the living expect of the rest, 3 each at share 1, the dead expects as well."""
    plain, alive = stream(
        discount=tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), next_value=tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 0.0]])
    )
    advantage = gae(*after_death(plain, alive, None, 1.0), 1.0, 1.0)
    assert advantage[0, 0].tolist() == pytest.approx([3.5, 3.5])


def test_a_row_that_passed_to_another_ends_what_the_dead_gets() -> None:
    """Agent 1 dies with step 0, its row is another's from step 2 on: that one's reward is not its own."""
    alive = tensor([[True, True], [True, False], [True, True]])
    entered = tensor([[False, False], [False, False], [False, True]])
    plain, _ = stream(discount=tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]), value=torch.zeros(3, 1, 2))
    advantage = gae(*after_death(plain, alive, entered, 1.0), 1.0, 1.0)
    assert advantage[:, 0].tolist() == [[0.5, 0.0], [0.5, 0.0], [0.5, 0.5]]


def test_who_was_cut_is_bootstrapped_and_gets_no_share_afterwards() -> None:
    plain, alive = stream(
        discount=tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]), next_value=tensor([[0.0, 2.0], [0.0, 0.0], [0.0, 0.0]])
    )
    assert gae(*after_death(plain, alive, None, 1.0), 1.0, 1.0)[0, 0].tolist() == [0.5, 2.0]


def test_the_setting_reaches_the_learner(setup: Setup) -> None:
    """A common reward of the last step reaches the steps of who died before, with the setting only."""
    for setting in (False, True):
        ppo = {"shared_reward": 1.0, "gamma": 1.0, "lam": 1.0, "normalise_returns": False}
        ppo |= {"normalise_advantages": False, "team_reward_after_death": setting}
        made = setup(ppo=ppo)
        blank = torch.zeros_like(made.rollout.reward)
        alive, discount, reward = blank == 0, blank + 1, blank.clone()
        alive[2:, :, 1], discount[1:, :, 1], reward[-1, :, 0] = False, 0.0, 3.0
        discount[-1] = 0
        done = torch.zeros_like(made.rollout.done)
        done[-1] = True
        rollout: Rollout = replace(
            made.rollout, reward=reward, value=blank, next_value=blank, discount=discount, done=done, paid=alive,
            timestep=replace(made.rollout.timestep, alive=alive),
        )  # fmt: skip
        learner: PPO = made.learner
        advantage = learner._targets(rollout).advantage
        assert advantage[:2, :, 0].eq(1.0).all()
        assert advantage[:2, :, 1].eq(1.0 if setting else 0.0).all()


def test_a_newcomer_counts_in_the_step_that_brought_it(setup: Setup) -> None:
    """Who drives into a car that has just entered costs the team both their penalties, as the reported return says."""
    ppo = {"shared_reward": 1.0, "gamma": 0.0, "normalise_returns": False, "normalise_advantages": False}
    made = setup(
        "traffic_junction", length=12, env_settings={"level": "easy", "max_steps": 12, "add_rate": 0.9}, ppo=ppo
    )
    rollout = made.rollout
    came = rollout.paid & ~rollout.timestep.alive
    assert (rollout.reward[came] != 0).any()
    own = made.learner._targets(rollout).value
    everything = torch.where(rollout.paid, rollout.reward, 0.0).sum(-1, keepdim=True) / rollout.reward.shape[-1]
    alive = rollout.timestep.alive
    torch.testing.assert_close(own[alive], everything.expand_as(own)[alive])
    done = rollout.done[-1]
    totals = everything.squeeze(-1).sum(0)
    assert float(made.tally.sums[1]) == pytest.approx(float(totals[done].sum()), rel=1e-5), "the tally says the same"


def test_rewards_are_shared_within_a_team() -> None:
    """Teams {0, 1, 3} and {2}: (1 + 2 + 0) / 3 = 1, where agent 3 is not paid, and 9."""
    reward = torch.tensor([[1.0, 2.0, 9.0, torch.nan]])
    counts = torch.tensor([[True, True, True, False]])
    got = team_share(reward, counts, torch.tensor([0, 0, 1, 0]))
    assert got.tolist() == [[1.0, 1.0, 9.0, 1.0]]
    assert team_share(reward, counts, None).tolist() == [[3.0] * 4]
