"""Games whose values are known, and policies that hold one number for each agent, state and action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gnncomm import random
from gnncomm.layers import CommLayer, CommStack
from gnncomm.learn import Training
from gnncomm.policy import Actions, CommPolicy, Critic, EpsilonGreedy, Memory
from gnncomm.topology import Empty
from gnncomm.types import Scene, TimeStep
from gnncomm.wire import Wire


class Game:
    """N agents, S states, A actions: ``reward [S, A, ..., A]`` and ``leads_to [S, A, ..., A]`` (-1: it terminates).

    An agent observes its number and the state, one of N * S. ``limit`` cuts an episode after so many steps.
    """

    id = "game"

    def __init__(self, reward: Tensor, leads_to: Tensor, num_envs: int = 8, limit: int = 100) -> None:
        self.table, self.leads_to, self.num_envs, self.max_steps = reward.float(), leads_to, num_envs, limit
        self.num_agents, self.num_states, self.num_actions = reward.dim() - 1, *reward.shape[:2]
        self.obs_dim = self.num_agents * self.num_states
        self.device = torch.device("cpu")

    def reset(self, seed: int | Tensor | None = None, where: Tensor | None = None) -> TimeStep:
        if where is None:
            seed = 0 if seed is None else seed
            self.seed = seed if isinstance(seed, Tensor) else torch.arange(self.num_envs) + seed
            self.episode, self.state, self.t = (torch.zeros(self.num_envs, dtype=torch.int64) for _ in range(3))
            where = torch.zeros(self.num_envs, dtype=torch.bool)
        self.episode = self.episode + where
        self.state, self.t = (torch.where(where, 0, value) for value in (self.state, self.t))
        return self.shown(torch.zeros(self.num_envs), torch.zeros(self.num_envs, dtype=torch.bool))

    def step(self, action: Tensor) -> TimeStep:
        at = (self.state, *action.unbind(-1))
        reward, after = self.table[at], self.leads_to[at]
        over = after < 0
        self.state, self.t = torch.where(over, self.state, after), self.t + 1
        return self.shown(reward, over)

    def shown(self, reward: Tensor, terminated: Tensor) -> TimeStep:
        rows = (self.num_envs, self.num_agents)
        place = torch.arange(self.num_agents) * self.num_states + self.state.unsqueeze(-1)
        return TimeStep(
            obs=nn.functional.one_hot(place, self.obs_dim).float(),
            reward=reward.unsqueeze(-1).expand(rows),
            discount=(~terminated).float().unsqueeze(-1).expand(rows),
            alive=torch.ones(rows, dtype=torch.bool),
            terminated=terminated,
            truncated=~terminated & (self.t >= self.max_steps),
            success=terminated,
            first=self.t == 0,
            key=random.bits(self.seed, self.episode),
            step=self.t.clone(),
        )

    def floor_action(self, key: Tensor) -> Tensor:
        return torch.zeros(self.num_envs, self.num_agents, dtype=torch.int64)

    def ceiling_action(self) -> Tensor:
        raise NotImplementedError

    def scene(self) -> Scene:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Tensor]:
        return {name: getattr(self, name).clone() for name in ("seed", "episode", "state", "t")}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> TimeStep:
        for name, value in state.items():
            setattr(self, name, value.clone())
        return self.shown(torch.zeros(self.num_envs), torch.zeros(self.num_envs, dtype=torch.bool))


def one_shot(payoff: list[list[float]], **settings: Any) -> Game:
    """Two agents, one state, one step."""
    reward = torch.tensor(payoff).unsqueeze(0)
    return Game(reward, torch.full_like(reward, -1, dtype=torch.int64), **settings)


def two_step(**settings: Any) -> Game:
    """Of Rashid et al. 2018, section 6.1: the first action of agent 0 chooses the game that is played then."""
    reward = torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[7.0, 7.0], [7.0, 7.0]], [[0.0, 1.0], [1.0, 8.0]]])
    over = [[-1, -1], [-1, -1]]
    return Game(reward, torch.tensor([[[1, 1], [2, 2]], over, over]), **settings)


def chain(length: int, **settings: Any) -> Game:
    """One agent, two actions: action 1 leads on and is rewarded with 1 at the end, action 0 ends it for nothing."""
    reward = torch.zeros(length, 2)
    reward[-1, 1] = 1.0
    leads_to = torch.stack([torch.full((length,), -1), torch.arange(1, length + 1)], -1)
    leads_to[-1] = -1
    return Game(reward, leads_to, **settings)


class _Quiet(CommLayer):
    """Says its row, hears nothing."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, width)

    def send(self, h: Tensor) -> Tensor:
        return h

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        return h


class _AsItIs(nn.Module):
    def forward(self, obs: Tensor) -> Tensor:
        return obs


def tabular(
    game: Game, critic: Critic | None = None, values: Tensor | None = None, family: type[Actions] = EpsilonGreedy
) -> CommPolicy:
    """``values [N * S, A]``, zeros if None: values, or logits of a ``Categorical`` family."""
    width, actions = game.obs_dim, game.num_actions
    actor = nn.Linear(width, actions, bias=False)
    with torch.no_grad():
        actor.weight.copy_(torch.zeros(actions, width) if values is None else values.T)
    return CommPolicy(
        width,
        actions,
        CommStack([_Quiet(width)], residual=False),
        Memory(width),
        wire=Wire(Empty()),
        critic=critic,
        encoder=_AsItIs(),
        actor=actor,
        actions=family(actions),  # type: ignore[call-arg]
    )


def values_of(policy: CommPolicy, game: Game) -> Tensor:
    """``[N, S, A]`` of a tabular policy."""
    weight: Tensor = policy.actor.weight  # type: ignore[assignment]
    return weight.detach().T.view(game.num_agents, game.num_states, game.num_actions)


def greedy_return(training: Training, game: Game) -> float:
    """Of an episode in which everyone does what it holds for best."""
    now, state, total = game.reset(seed=5), training.policy.initial_state(game.num_envs, game.num_agents), 0.0
    for _ in range(game.max_steps):
        decision = training.policy.act(now, state)
        now, state = game.step(decision.action), decision.state
        total += float(now.reward[0, 0])
        if bool(now.done[0]):
            break
    return total
