"""Critics with trunks of their own: what they look at, by hand and through the command line."""

from __future__ import annotations

import copy
import inspect
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import envs
from gnncomm import evaluate, load
from gnncomm.cli import main
from gnncomm.errors import ShapeError
from gnncomm.layers import CommStack, MeanComm
from gnncomm.learn import TrainConfig
from gnncomm.learn.build import assemble
from gnncomm.policy import CentralCritic, CommPolicy, Critic, LocalCritic, TrunkCritic, WithState, with_state
from gnncomm.run import Trained
from gnncomm.topology import Ring
from gnncomm.types import TeamSpec, TimeStep

H, N, D = 3, 4, 3


class Sum(Critic):
    """The sum of a row."""

    hidden = H

    def another(self, in_channels: int) -> Sum:
        return Sum()

    def forward(self, features: torch.Tensor, alive: torch.Tensor, timestep: TimeStep | None = None) -> torch.Tensor:
        return features.sum(-1)


def moment(state: torch.Tensor | None = None) -> TimeStep:
    no, count = torch.zeros(1, dtype=torch.bool), torch.zeros(1, dtype=torch.int64)
    obs = torch.arange(N * D).float().view(1, N, D)
    rows = torch.zeros(1, N)
    return TimeStep(obs, rows, rows, torch.ones(1, N, dtype=torch.bool), no, no, no, no, count, count, state=state)


def test_of_the_observation_alone() -> None:
    critic = TrunkCritic(nn.Identity(), Sum())
    assert critic(torch.full((1, N, H), torch.nan), moment().alive, moment()).tolist() == [[3.0, 12.0, 21.0, 30.0]]


def test_the_dead_enter_as_zeros() -> None:
    alive = torch.tensor([[True, True, False, True]])
    now = replace(moment(), obs=torch.where(alive.unsqueeze(-1), moment().obs, torch.nan), alive=alive)  # type: ignore[arg-type]
    assert TrunkCritic(nn.Identity(), Sum())(torch.zeros(1, N, H), alive, now).tolist() == [[3.0, 12.0, 0.0, 30.0]]
    central = TrunkCritic(nn.Identity(), CentralCritic(H, N))
    assert bool(central(torch.zeros(1, N, H), alive, now).isfinite().all())


def test_with_the_state() -> None:
    """relu(x + W s) with W = [[1], [-100], [0]] and s = 2: 0 + 2 + (1 - 200 -> 0) + 2 = 4."""
    critic = TrunkCritic(nn.Identity(), Sum(), state_dim=1)
    assert critic.state is not None
    with torch.no_grad():
        critic.state.weight.copy_(torch.tensor([[1.0], [-100.0], [0.0]]))
    now = moment(torch.tensor([[2.0]]))
    assert critic(torch.zeros(1, N, H), now.alive, now).tolist() == [[4.0, 10.0, 16.0, 22.0]]
    with pytest.raises(ShapeError, match=r"expected timestep.state \[..., S=1\], got none.*WithState"):
        critic(torch.zeros(1, N, H), now.alive, moment())


def test_over_the_graph() -> None:
    """On a ring each row becomes the mean of its two neighbours' rows."""
    layer = MeanComm(H, H)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.lin_inbox.weight.copy_(torch.eye(H))
    critic = TrunkCritic(nn.Identity(), Sum(), CommStack([layer], residual=False), Ring())
    now = moment()
    assert critic(torch.zeros(1, N, H), now.alive, now).tolist() == [[21.0, 12.0, 21.0, 12.0]]
    twice = now.map(lambda value: torch.stack([value, value]))
    assert critic(torch.zeros(2, 1, N, H), twice.alive, twice).tolist() == [[[21.0, 12.0, 21.0, 12.0]]] * 2


def test_the_state_is_in_every_time_step_and_only_there() -> None:
    env = with_state(envs.make("relay", num_envs=3, steps=2))
    plain = envs.make("relay", num_envs=3, steps=2)
    one, two = env.reset(seed=4), plain.reset(seed=4)
    for _ in range(2):
        assert one.state is not None
        assert one.state.equal(plain.state())
        assert one.obs.equal(two.obs)  # type: ignore[union-attr, arg-type]
        action = plain.floor_action(two.key)
        one, two = env.step(action), plain.step(action)
    again = env.load_state_dict(env.state_dict())
    assert again.state is not None
    assert one.state is not None
    assert again.state.equal(one.state)
    assert with_state(env) is env
    for name in ("num_envs", "reset", "held", "hold", "ceiling_kind", "config"):
        inspect.getattr_static(env, name)  # what isinstance of a protocol sees from Python 3.12 on
    assert copy.deepcopy(env).num_envs == 3
    assert TeamSpec.of(env).state_dim == one.state.shape[1]
    with pytest.raises(ShapeError, match=r"tells no state\(\)"):
        with_state(object.__new__(type("Bare", (), {"id": "bare"})))


def test_no_actor_reads_the_state() -> None:
    env = with_state(envs.make("relay", num_envs=3, steps=2))
    policy = assemble(TrainConfig.of(critic="state", hidden=8), TeamSpec.of(env))
    now, state = env.reset(seed=0), policy.initial_state(3, env.num_agents)
    assert now.state is not None
    other = policy.act(replace(now, state=now.state + 1.0), state)
    mine = policy.act(now, state)
    assert mine.logits.equal(other.logits)
    assert not mine.value.allclose(other.value)


@pytest.mark.parametrize("critic", ["observation", "state", "graph"])
def test_a_training_with_it_is_kept_and_evaluated(critic: str, tmp_path: Path) -> None:
    trained = relay(critic, tmp_path / "run", 640)
    assert isinstance(trained.policy.critic, TrunkCritic)
    env = trained.make_env(8)
    assert isinstance(env, WithState) is (critic == "state")
    assert evaluate(trained.policy, env, episodes=8).episodes == 8


@pytest.mark.slow
@pytest.mark.parametrize("critic", ["observation", "state", "graph"])
def test_a_training_with_it_learns(critic: str, tmp_path: Path) -> None:
    trained = relay(critic, tmp_path / "run", 60_000)
    report = evaluate(trained.policy, trained.make_env(64), episodes=64)
    assert report.trained.success.mean > 2 * report.muted.success.mean


def relay(critic: str, run: Path, steps: int) -> Trained:
    options = f"--critic {critic} --algo mappo --hidden 32 --num-envs 128 --rollout 5 --learner.lr 3e-3 --episodes 0"
    settings = ["--env-settings", "steps", "2", "num_agents", "2"]
    assert main(["train", "relay", *settings, *options.split(), "--steps", str(steps), "--out", str(run)]) == 0
    return load(run)


def test_a_critic_of_a_user_needs_two_methods() -> None:
    env = envs.make("relay", num_envs=3, steps=2)
    policy = CommPolicy(env.obs_dim, env.num_actions, MeanComm(H, H), critic=Sum())
    decision = policy.act(env.reset(seed=0), policy.initial_state(3, env.num_agents))
    assert decision.value.shape == (3, env.num_agents)
    assert isinstance(LocalCritic(H).another(5), LocalCritic)
