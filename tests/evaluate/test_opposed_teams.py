"""Of teams that play against each other the mean of all says nothing: returns and gains are told for each."""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch
from gnncomm.envs.frame.base import Sizes
from torch import Tensor

from gnncomm import CommPolicy, evaluate, train
from gnncomm.envs import Flags, GridEnv
from gnncomm.evaluation import Interval
from gnncomm.layers import MeanComm
from gnncomm.learn import TrainConfig
from gnncomm.policy import teams_of
from gnncomm.types import Batch, Group, Scene


@dataclass(frozen=True)
class Clock(Batch):
    step: Tensor  # [B]


class Duel(GridEnv[Clock, Clock]):
    """Two steps; one wolf gets 1, two deer -1 and -3."""

    id = "duel"
    groups = (Group("wolf", (0,), 2, 2, team="wolf"), Group("deer", (1, 2), 2, 2, team="deer"))

    def sizes(self) -> Sizes:
        return Sizes(num_agents=3, num_actions=2, obs_dim=2, max_steps=2)

    def draws(self, key: Tensor, t: int | Tensor) -> Clock:
        return Clock(torch.zeros_like(key))

    def initial(self, draws: Clock) -> Clock:
        return draws

    def transition(self, state: Clock, action: Tensor, draws: Clock) -> tuple[Clock, Tensor, Flags]:
        reward = torch.tensor([1.0, -1.0, -3.0]).expand(len(state.step), 3)
        over = state.step == 1
        return Clock(state.step + 1), reward, Flags(terminated=over, success=over)

    def observe(self, state: Clock, form: str) -> Tensor:
        return state.step.view(-1, 1, 1).expand(-1, 3, 2).float()

    def positions(self, state: Clock) -> Tensor:
        return torch.arange(3.0).view(1, 3, 1).expand(len(state.step), 3, 1)

    def describe(self, state: Clock) -> Scene:
        place = self.positions(state).expand(-1, 3, 2)
        return Scene((3, 3), place, place[..., 0] < 0, {}, {})

    def solve(self, state: Clock) -> Tensor:
        return torch.zeros(len(state.step), 3, dtype=torch.int64)


def test_each_team_has_its_returns_and_its_gain() -> None:
    env = Duel(num_envs=4)
    policy = CommPolicy(2, 2, MeanComm(4, 4), teams=teams_of(env.groups))
    report = evaluate(policy, env, episodes=6)
    for arm in report.arms.values():
        assert arm.teams == {"wolf": Interval(2.0, 2.0, 2.0), "deer": Interval(-4.0, -4.0, -4.0)}
        assert arm.returns.mean == -2.0
    said = json.loads(report.to_json())
    assert said["trained"]["return_deer"] == {"mean": -4.0, "low": -4.0, "high": -4.0}
    assert (said["communication_gain_wolf"], said["communication_gain_deer"]) == (0.0, 0.0)
    assert said["channel_used"] is False
    assert [column.header for column in report.table().columns][-2:] == ["return wolf", "return deer"]
    assert [line.partition(";")[0] for line in report.remarks()[:2]] == [
        f"CHANNEL UNUSED: communication of {team} gains +0.000 return per episode over shuffled messages"
        for team in ("wolf", "deer")
    ]


def test_a_single_team_is_told_as_ever() -> None:
    training = train(TrainConfig.of(env="relay", num_envs=4, rollout=2, steps=8, hidden=8))
    report = evaluate(training.policy, training.env, episodes=4)
    assert not report.gains
    assert sorted(report.to_dict()["trained"]) == ["length", "return", "success"]
    assert report.table().columns[-1].header == "return"
