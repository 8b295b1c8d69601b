"""Playing without learning, and what a team can be made of."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn

import gnncomm
from gnncomm import MultiAgentLearner, envs, methods
from gnncomm.envs import MultiAgentEnv
from gnncomm.errors import ConfigError
from gnncomm.layers import CommStack, MeanComm
from gnncomm.learn import PPO, PPOConfig
from gnncomm.policy import CommPolicy, Integration
from gnncomm.topology import Ring

from .worlds import observation, play


def learner(**changes: Any) -> MultiAgentLearner:
    settings = {"num_agents": 4, "state_dim": 3, "action_dim": 5, "hidden": 8, "horizon": 12, "segment": 4}
    return MultiAgentLearner(**settings | changes)


def test_acting_disturbs_nothing() -> None:
    """A loop in which the team also plays on its own ends with the same bits as one in which it does not."""
    plain, busy = learner(scheduler="gate"), learner(scheduler="gate")
    wanted = play(plain, 0, 30)
    chosen = []
    for start in range(0, 30, 5):
        chosen += play(busy, start, 5)
        for step in range(3):
            busy.act(observation(50, step), first=step == 0, greedy=step != 2)
    assert chosen == wanted
    assert all(a.equal(b) for a, b in zip(plain.policy.parameters(), busy.policy.parameters(), strict=True))
    assert busy.policy.training


def test_acting_is_greedy_and_remembers_its_own_episode() -> None:
    team = learner()
    nn.init.normal_(team.policy.actor.weight, generator=torch.Generator().manual_seed(0))
    seen = [observation(0, step) for step in range(6)]
    first = [team.act(obs).tolist() for obs in seen]
    again = [team.act(obs, first=step == 0).tolist() for step, obs in enumerate(seen)]
    assert first == again
    goes_on = [team.act(obs).tolist() for obs in seen]
    assert goes_on != first, "without first the beliefs of the episode before are still there"
    alone = team.agents
    for agent, inbox in zip(alone, team.graph.exchange(alone), strict=True):
        agent.update_beliefs(inbox)
    assert [agent.select_action(obs, greedy=True) for agent, obs in zip(alone, seen[0], strict=True)] == first[0]
    drawn = {tuple(team.act(seen[0], first=True, greedy=False).tolist()) for _ in range(30)}
    assert len(drawn) > 3


def _shown(obs: Any) -> Any:
    from gnncomm.multiagent.course import Shown

    return Shown(obs)


def test_evaluate_is_evaluate() -> None:
    env = MultiAgentEnv(num_agents=3, grid_size=5, scenario="predator_prey", seed=4)
    team = MultiAgentLearner(3, env.state_dim, env.action_dim, hidden=8)
    obs = env.reset()
    report = team.evaluate(env, episodes=30, seed=2)
    vector = envs.make("predator_prey", num_envs=10, num_agents=3, dim=5)
    assert report == gnncomm.evaluate(team.policy, vector, episodes=30, seed=2)
    assert report == team.evaluate(vector, episodes=30, seed=2)
    assert report == gnncomm.evaluate(team.policy, env, episodes=30, seed=2)
    assert env.timestep.obs[0].equal(obs), "the environment goes on where it is"
    assert team.steps == 0
    with pytest.raises(ConfigError, match="obs_dim"):
        learner().evaluate(env)
    with pytest.raises(ConfigError, match=r"expected a CommPolicy.*got MultiAgentLearner"):
        gnncomm.evaluate(team, env)  # type: ignore[arg-type]  # what somebody may try
    with pytest.raises(ConfigError, match="and str"):
        team.evaluate("predator_prey")  # type: ignore[arg-type]  # as above


def test_a_method_stands_for_its_parts() -> None:
    team = learner(comm="ic3net", hidden=16, seed=3, codec="int8")
    alike = methods.ic3net(3, 5, 4, hidden=16, seed=3, codec="int8")
    assert repr(team.policy) == repr(alike)
    assert team.policy.wire == alike.wire or repr(team.policy.wire) == repr(alike.wire)
    assert all(a.equal(b) for a, b in zip(team.policy.parameters(), alike.parameters(), strict=True))
    play(team, 0, 14)
    with pytest.raises(ConfigError, match="Did you mean 'tarmac"):
        learner(comm="tarmac9")


def test_parts_as_objects() -> None:
    encoder, comm = nn.Sequential(nn.Linear(3, 8), nn.Tanh()), CommStack([MeanComm(8, 8)])
    ppo = functools.partial(PPO, config=PPOConfig(lr=0.1, lr_schedule="constant"))
    team = learner(encoder=encoder, comm=comm, topology=Ring(), integration=Integration.BEFORE, learner=ppo)
    assert team.policy.encoder is encoder
    assert team.policy.comm is comm
    assert team.policy.wire.topology == Ring()
    assert team.policy.integration is Integration.BEFORE
    before = encoder[0].weight.detach().clone()
    play(team, 0, 14)
    assert not encoder[0].weight.equal(before), "the object is trained in place"
    assert set(team.config.given) == {"comm", "encoder", "learner"}, "all by name but a ring"
    whole = CommPolicy(3, 5, MeanComm(16, 16))
    own = MultiAgentLearner(4, 3, 5, policy=whole, horizon=12, segment=4)
    assert own.policy is whole
    play(own, 0, 14)
    named = learner(learner=PPOConfig(lr=0.5, lr_schedule="constant"))
    assert named.learner.config.lr == 0.5  # type: ignore[attr-defined]  # a PPO


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"topolgy": "ring"}, "Did you mean 'topology'"),
        ({"env": "relay"}, "got 'env'"),
        ({"codec": "int5x"}, "codec"),
        ({"channel": "loss:q=0.1"}, "loss"),
        ({"scheduler": 3}, "scheduler: expected a Scheduler"),
        ({"comm": nn.Linear(8, 8)}, "comm"),
        ({"policy": CommPolicy(3, 5, MeanComm(8, 8))}, "policy and hidden"),
        ({"integration": "later"}, "later"),
        ({"rounds": 0}, "rounds"),
        ({"ppo": PPOConfig(lr_schedule="constant"), "learner": PPOConfig(lr_schedule="constant")}, "got both"),
        ({"learner": lambda policy, **told: PPO(policy, length=7)}, "segment=4"),
        ({"learner": PPO}, "constant"),
        ({"seed": -1}, "seed"),
        ({"memory": "none"}, "memory"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        learner(**changes)
