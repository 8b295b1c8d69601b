"""Laws 2 to 6 for policies whose parts are exchanged: heads over numbers, encoders, agent numbers, groups and teams."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gnncomm import topology
from gnncomm.learn import PPO, PPOConfig, TrainConfig, begin, collect
from gnncomm.learn.build import assemble
from gnncomm.policy import CommPolicy
from gnncomm.testing import LawError, check_policy
from gnncomm.types import Box, Group, TeamSpec, TimeStep, VectorEnv

H = 8


class Steered:
    """An environment of four actions at most, steered by two numbers of each agent: their signs are the action.

    Agent 0 has a second number that is always 0.
    """

    recipe: Mapping[str, Any] = {}

    def __init__(self, env: VectorEnv) -> None:
        self.env, self.id, self.device = env, f"steered {env.id}", env.device
        self.num_envs, self.num_agents, self.obs_dim = env.num_envs, env.num_agents, env.obs_dim
        self.max_steps, self.num_actions = env.max_steps, 2
        others = self.num_agents - 1
        self.box: Box | None = Box(((-1.0, 0.0), *[(-3.0, 0.0)] * others), ((1.0, 0.0), *[(1.0, 2.0)] * others))

    @staticmethod
    def _without_mask(now: TimeStep) -> TimeStep:
        return replace(now, action_mask=None)

    def reset(self, seed: int | Tensor | None = None, where: Tensor | None = None) -> TimeStep:
        return self._without_mask(self.env.reset(seed, where))

    def step(self, action: Tensor) -> TimeStep:
        chosen = (action[..., 0] > 0).long() + (action[..., 1] > 1).long()
        return self._without_mask(self.env.step(chosen.clamp(max=self.env.num_actions - 1)))

    def floor_action(self, key: Tensor) -> Tensor:
        return torch.stack([self.env.floor_action(key).float() - 0.5, torch.zeros(self.num_envs, self.num_agents)], -1)

    def ceiling_action(self) -> Tensor:
        raise NotImplementedError

    def scene(self) -> Any:
        return self.env.scene()

    def state_dict(self) -> dict[str, Tensor]:
        return self.env.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> TimeStep:
        return self._without_mask(self.env.load_state_dict(state))


@dataclass(frozen=True)
class Choice:
    """One way to build a policy."""

    config: Mapping[str, Any]
    groups: tuple[Group, ...] = ()


def groups(env: VectorEnv, teams: tuple[str, str] = ("", "")) -> tuple[Group, ...]:
    """Agents 1 and 2 see less and can do less than agents 0 and 3."""
    narrow = max(1, env.num_actions - 1)
    return (
        Group("wide", (0, 3), env.obs_dim, env.num_actions, teams[0]),
        Group("narrow", (1, 2), env.obs_dim - 1, narrow, teams[1]),
    )


CHOICES: dict[str, Callable[[VectorEnv], Choice]] = {
    "mlp, mappo": lambda env: Choice({"encoder": "mlp", "algo": "mappo"}),
    "grid": lambda env: Choice({"encoder": f"grid:shape=1x1x{env.obs_dim},channels=3", "integration": "before"}),
    "entities, numbers": lambda env: Choice({"encoder": "entities:count=2,width=1", "agent_id": True}),
    "groups, mappo": lambda env: Choice({"algo": "mappo", "memory": "lstm"}, groups(env)),
    "groups, numbers": lambda env: Choice({"agent_id": True, "integration": "previous"}, groups(env)),
    "teams": lambda env: Choice({"algo": "mappo"}, groups(env, ("red", "blue"))),
    "teams, all weights shared": lambda env: Choice({"algo": "mappo", "share": "all"}, groups(env, ("red", "blue"))),
    "observation critic": lambda env: Choice({"critic": "observation", "algo": "mappo"}),
    "graph critic, teams": lambda env: Choice({"critic": "graph"}, groups(env, ("red", "blue"))),
    "no weight shared": lambda env: Choice({"share": "none", "integration": "before", "algo": "mappo"}),
    "values, graph": lambda env: Choice({"learner": "pqn:mixer=graph,layer_norm=true", "encoder": "mlp"}),
    "values, qmix, groups": lambda env: Choice({"learner": "pqn:mixer=qmix", "integration": "before"}, groups(env)),
}
FORMS = [(name, form) for name in CHOICES for form in ("choices", "numbers") if not (form[0] == "n" and name[0] == "v")]


def build(choice: Choice, env: VectorEnv) -> CommPolicy:
    settings = {"hidden": H, "rounds": 2, "scheduler": "gate", "channel": "loss:p=0.3", **choice.config}
    spec = replace(TeamSpec.of(env), groups=choice.groups)
    return assemble(TrainConfig.of(**settings), spec)


@pytest.mark.every(2)
@pytest.mark.parametrize(("name", "actions"), FORMS)
def test_laws_hold(mortal: Callable[..., VectorEnv], name: str, actions: str) -> None:
    """With deaths, newcomers, masks and time limits; training mode for choices, evaluation mode for numbers."""
    env: VectorEnv = mortal(num_envs=3)
    if actions == "numbers":
        env = Steered(env)
    policy = build(CHOICES[name](env), env)
    check_policy(policy, env, length=8, modes=(actions == "choices",))


def test_a_policy_over_numbers_is_taken_at_its_word(mortal: Callable[..., VectorEnv]) -> None:
    """A head that draws from the global generator breaks the laws, so they do look."""
    env = Steered(mortal(num_envs=3))
    policy = build(CHOICES["mlp, mappo"](env), env)

    class Global(type(policy.actions)):  # type: ignore[misc]  # a class of the moment
        def choose(self, logits: Tensor, *_: Any) -> Tensor:
            return self.low + self.reach * (1 + torch.tanh(torch.randn_like(logits[..., :2])))

    assert env.box is not None
    policy.actions = Global(env.box)
    with pytest.raises(LawError):
        check_policy(policy, env, length=8, modes=(True,))


def test_agents_of_a_group_are_permuted_with_their_rows(mortal: Callable[..., VectorEnv]) -> None:
    """Exchange agents 0 and 3, who are alike: their rows are exchanged, all others stay. Agents 0 and 1 are not."""
    env = mortal(num_envs=3)
    settings = {"channel": "ideal", "scheduler": "always"}
    policy = build(Choice(settings, groups(env)), env).double()
    now = env.reset(seed=0)
    now = replace(now, alive=torch.ones_like(now.alive), action_mask=None)
    state = policy.initial_state(3, 4)
    plain = policy.act(now, state)
    for order, alike in (([3, 1, 2, 0], True), ([1, 0, 2, 3], False)):
        moved = policy.act(replace(now, obs=now.obs[:, order]), state)  # type: ignore[index]
        same = moved.logits.allclose(plain.logits[:, order]) and moved.value.allclose(plain.value[:, order])
        assert same is alike


def test_each_group_has_weights_of_its_own_and_its_own_actions(mortal: Callable[..., VectorEnv]) -> None:
    env = mortal(num_envs=3)
    policy = build(Choice({"channel": "ideal", "scheduler": "always", "topology": "empty"}, groups(env)), env)
    now = env.reset(seed=0)
    now = replace(now, obs=torch.ones_like(now.obs), alive=torch.ones_like(now.alive), action_mask=None)  # type: ignore[arg-type]
    logits = policy.act(now, policy.initial_state(3, 4)).logits
    assert logits[:, 0].equal(logits[:, 3])
    assert logits[:, 1].equal(logits[:, 2])
    assert not logits[:, 0, 0].allclose(logits[:, 1, 0])
    assert (logits == -torch.inf).any(0).tolist() == [
        [False] * 3,
        [False, False, True],
        [False, False, True],
        [False] * 3,
    ]
    spoilt = torch.ones_like(now.obs)  # type: ignore[arg-type]
    spoilt[..., -1] = 50.0  # which the narrow do not see
    changed = policy.act(replace(now, obs=spoilt), policy.initial_state(3, 4)).logits
    assert changed[:, 1].equal(logits[:, 1])
    assert not changed[:, 0].allclose(logits[:, 0])
    apart = build(Choice({"share": "none"}), env)
    assert len(apart.encoder.parts) == 4  # type: ignore[arg-type, union-attr]


def test_teams_do_not_hear_each_other_whatever_the_wire(mortal: Callable[..., VectorEnv]) -> None:
    env = mortal(num_envs=2)
    policy = build(Choice({"scheduler": "always", "channel": "ideal"}, groups(env, ("red", "blue"))), env)
    now = env.reset(seed=0)
    now = replace(now, alive=torch.ones_like(now.alive))
    together = torch.tensor([[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]], dtype=torch.bool)
    nobody = torch.eye(4, dtype=torch.bool)
    for who in (topology.Full(), topology.Ring(), topology.KNearest(2), topology.Star() | topology.Line()):
        graph = policy.with_wire(replace(policy.wire, topology=who)).reachable(now)
        dense = graph.dense.expand(2, 4, 4)
        assert not bool((dense & ~together).any())
        assert dense.equal((who(now.alive, now.pos, now.step, now.key).dense.expand(2, 4, 4)) & together)
    assert bool((policy.reachable(now).dense & ~nobody).any())
    deaf = build(Choice({"scheduler": "always", "channel": "ideal"}, groups(env)), env)
    assert bool((deaf.reachable(now).dense & ~together).any()), "one team hears everybody"


def test_a_central_critic_sees_its_own_team_only(mortal: Callable[..., VectorEnv]) -> None:
    env = mortal(num_envs=2)
    alive = torch.ones(2, 4, dtype=torch.bool)
    features = torch.randn(2, 4, H)
    other = features.clone()
    other[:, [1, 2]] += 1.0  # blue
    for share in ("group", "all", "none"):
        critic = build(Choice({"algo": "mappo", "share": share}, groups(env, ("red", "blue"))), env).critic
        mine, theirs = critic(features, alive), critic(other, alive)
        assert mine[:, [0, 3]].equal(theirs[:, [0, 3]])
        other_red = features.clone()
        other_red[:, 3] += 1.0
        assert not mine[:, 0].allclose(critic(other_red, alive)[:, 0]), "but a team mate's row counts"


def test_laws_hold_after_training(mortal: Callable[..., VectorEnv]) -> None:
    env = Steered(mortal(num_envs=4))
    policy = build(CHOICES["teams"](env), env)
    learner = PPO(policy, PPOConfig(lr=0.01, minibatches=1), total_updates=3)
    carry, tally = begin(env, policy, seed=0)
    before = {name: value.clone() for name, value in policy.named_parameters()}
    for _ in range(3):
        rollout, carry = collect(env, policy, carry, 8, 0, tally)
        metrics = learner.update(rollout)
        assert {"reward_red", "reward_blue"} <= metrics.keys()
    still = [name for name, value in policy.named_parameters() if value.equal(before[name])]
    # Of two in a team each hears one at most: there is nothing to compare by a query.
    assert all("lin_query" in name for name in still), "every group learns"
    check_policy(policy, env, length=8, modes=(True,))
