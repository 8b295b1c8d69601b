"""Teams in plain shapes, for loops written by hand: ``MultiAgentLearner``, ``Agent``, ``CommunicationGraph``.

    learner = MultiAgentLearner(num_agents=5, state_dim=env.state_dim, action_dim=env.action_dim)
    actions = learner.step(observations)        # [N, D] -> [N]
    learner.update(rewards, done)               # [N]; done may be left out

``learner.step`` is the joint form of the loop that a team of agents runs on its own::

    for agent, message in zip(learner.agents, graph.exchange(learner.agents)):
        agent.update_beliefs(message)
    actions = [agent.select_action(obs) for agent, obs in zip(learner.agents, observations)]

Messages depend on what an agent remembers from the steps before (``Integration.PREVIOUS``), so that they can be
exchanged before anybody has seen anything of the present step.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gnncomm import random
from gnncomm import topology as topologies
from gnncomm.deploy import Inbox, LocalAgent, Mailbox
from gnncomm.errors import ConfigError, NonFiniteError, ShapeError, StateError
from gnncomm.layers import CommStack, make_layer
from gnncomm.learn import PPO, PPOConfig, Rollout, Step
from gnncomm.policy import GRU, CommPolicy, Integration, PolicyState
from gnncomm.topology import Topology
from gnncomm.types import TimeStep, stack
from gnncomm.wire import Wire

DEFAULT_PPO = PPOConfig(lr=2e-3, lr_schedule="constant", gamma=0.97, entropy=0.001, entropy_end=0.001)
"""Settings with which a team learns from a single environment."""


def _new_policy(state_dim: int, action_dim: int, hidden: int, comm: str, wire: Wire, seed: int) -> CommPolicy:
    for name, value in (("state_dim", state_dim), ("action_dim", action_dim), ("hidden", hidden)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = make_layer(comm, hidden)
        return CommPolicy(state_dim, action_dim, CommStack([layer], nn.Tanh()), GRU(hidden), Integration.PREVIOUS, wire)


def _floats(name: str, values: Any, shape: str) -> Tensor:
    """``values`` as float32; refuses what is no rectangular array of numbers."""
    try:
        return torch.as_tensor(values, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(
            f"Expected {name} {shape} as a tensor, an array or lists of equal length ({error})."
        ) from error


@contextmanager
def _one_thread() -> Iterator[None]:
    """A row for each agent is too little work to share: threads would wait for each other, longer on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Agent:
    """One agent of a team: it believes, talks, and acts. Its beliefs are the memory of its policy.

    Args:
        state_dim: D, width of an observation.
        action_dim: A, number of actions.
        index: which agent of the team this is.
        policy: the weights, shared with the team; None makes an own set from ``seed``.
        seed: of the weights and of the draws of actions.
        hidden, comm: width and communication layer of an own policy.
    """

    def __init__(
        self,
        state_dim: int,
        action_dim: int,
        *,
        index: int = 0,
        policy: CommPolicy | None = None,
        seed: int = 0,
        hidden: int = 64,
        comm: str = "attention",
    ) -> None:
        if policy is None:
            policy = _new_policy(state_dim, action_dim, hidden, comm, Wire(), seed)
        self.state_dim, self.action_dim, self.seed = state_dim, action_dim, seed
        self.local = LocalAgent(policy, index)
        self.episode, self.time = 0, 0

    @property
    def index(self) -> int:
        return self.local.index

    @property
    def beliefs(self) -> Tensor:
        """``[S]``: what the agent remembers."""
        return self.local.memory

    def reset(self) -> None:
        """Forget everything and begin the next episode."""
        self.place(None, self.episode + 1, 0)

    def place(self, beliefs: Tensor | None, episode: int, time: int) -> None:
        """Continue from these beliefs at this moment."""
        self.episode, self.time = episode, time
        self.local.reset(beliefs)

    @torch.no_grad()
    def message(self) -> Tensor:
        """``[M]``: what the agent tells the others now."""
        return self.local.say()

    @torch.no_grad()
    def update_beliefs(self, msg: Inbox | Tensor) -> None:
        """Take in what arrived: one message ``[M]``, several ``[S, M]``, or an ``Inbox``."""
        self.local.hear(msg.unsqueeze(0) if isinstance(msg, Tensor) and msg.dim() == 1 else msg)

    @torch.no_grad()
    def select_action(self, obs: Any, greedy: bool = False) -> int:
        """Look at the own observation ``[D]``, join it with what was heard, and act."""
        if self.local.round < self.local.num_rounds:  # nobody talked to this agent
            self.local.hear(self.local.policy.like.new_zeros(0, self.local.policy.comm.rounds[0].msg_channels))
        self.local.observe(torch.as_tensor(obs, dtype=self.beliefs.dtype, device=self.beliefs.device))
        key = None if greedy else self.seed
        decision = self.local.decide(key, _episode_key(self.seed, self.episode), self.time)
        self.time += 1
        return int(decision.action)

    def __repr__(self) -> str:
        return f"Agent({self.state_dim}, {self.action_dim}, index={self.index})"


@functools.lru_cache(maxsize=64)
def _episode_key(seed: int, episode: int) -> int:
    return int(random.bits(random.stream(seed, "episode"), episode))


class CommunicationGraph:
    """Who hears whom in a team of ``num_agents``; carries one round of messages.

    Args:
        num_agents: N.
        topology: a ``gnncomm.topology`` object, or its name such as ``"ring"`` or ``"knn:k=2"``.
    """

    def __init__(self, num_agents: int, topology: Topology | str = "full") -> None:
        if num_agents < 1:
            raise ConfigError(f"num_agents must be at least 1, got {num_agents}.")
        self.num_agents = num_agents
        self.topology = topologies.resolve(topology)

    def exchange(self, agents: Sequence[Agent], pos: Tensor | None = None) -> list[Inbox]:
        """Everyone sends; returns what arrived at each agent. ``pos [N, P]`` feeds geometric topologies.

        Raises:
            ShapeError: another number of agents.
        """
        if len(agents) != self.num_agents:
            raise ShapeError(f"This graph is for {self.num_agents} agents, got {len(agents)}.")
        alive = torch.ones(1, self.num_agents, dtype=torch.bool)
        moment = torch.tensor([agents[0].time])
        key = torch.tensor([_episode_key(agents[0].seed, agents[0].episode)])
        graph = self.topology(alive, None if pos is None else pos.unsqueeze(0), moment, key)
        mailbox = Mailbox(graph)
        for number, agent in enumerate(agents):
            mailbox.post(number, agent.message())
        return [mailbox.collect(number) for number in range(self.num_agents)]

    def __repr__(self) -> str:
        return f"CommunicationGraph({self.num_agents}, topology={topologies.spec_of(self.topology)!r})"


class MultiAgentLearner:
    """A team that learns while it acts: PPO over the last ``horizon`` steps, cut into segments of ``segment``.

    Without ``done`` the learner sees one endless episode, whose return is discounted across the resets; with it, the
    return ends and the beliefs are cleared where the episode ends. Both learn, the second better.

    Args:
        num_agents: N.
        state_dim: D. action_dim: A.
        topology: who hears whom, an object or a name.
        comm: communication layer by name.
        hidden: width of a row.
        horizon: steps between updates of the weights.
        segment: length of the sequences through which gradients flow; divides ``horizon``.
        ppo: settings of the learner; the learning rate must be constant, as there is no last update, and the entropy
            bonus is ``entropy`` in the first update and ``entropy_end`` in all others.
        seed: of weights and of all draws.
    """

    def __init__(
        self,
        num_agents: int,
        state_dim: int,
        action_dim: int,
        *,
        topology: Topology | str = "full",
        comm: str = "attention",
        hidden: int = 64,
        horizon: int = 400,
        segment: int = 20,
        ppo: PPOConfig | None = None,
        seed: int = 0,
    ) -> None:
        if segment < 1 or horizon < 1 or horizon % segment:
            raise ConfigError(f"segment must divide horizon, both at least 1, got {segment=}, {horizon=}.")
        self.graph = CommunicationGraph(num_agents, topology)
        self.num_agents, self.horizon, self.segment, self.seed = num_agents, horizon, segment, seed
        self.policy = _new_policy(state_dim, action_dim, hidden, comm, Wire(topology=self.graph.topology), seed)
        self._agents = [
            Agent(state_dim, action_dim, index=index, policy=self.policy, seed=seed) for index in range(num_agents)
        ]
        self._placed = True
        if ppo is not None and ppo.lr_schedule != "constant":
            raise ConfigError(
                f"This learner has no last update: expected ppo.lr_schedule='constant', got {ppo.lr_schedule!r}."
            )
        ppo = DEFAULT_PPO if ppo is None else ppo
        self.learner = PPO(self.policy, ppo, total_updates=1, seed=seed)
        self.metrics: dict[str, float] = {}
        """Of the last update."""
        self._state = self.policy.initial_state(1, num_agents)
        self._episode, self._time = 0, 0
        self._past: list[tuple[Step, PolicyState]] = []
        self._open: tuple[Step, PolicyState] | None = None

    @functools.cached_property
    def _blank(self) -> TimeStep:
        """What is the same in every step: nobody dies, nothing ends; rewards come later."""
        no, count = torch.zeros(1, dtype=torch.bool), torch.zeros(1, dtype=torch.int64)
        return TimeStep(
            obs=torch.zeros(1, self.num_agents, self.policy.obs_dim),
            reward=torch.zeros(1, self.num_agents),
            discount=torch.ones(1, self.num_agents),
            alive=torch.ones(1, self.num_agents, dtype=torch.bool),
            terminated=no,
            truncated=no,
            success=no,
            first=no,
            key=count,
            step=count,
        )

    @property
    def agents(self) -> list[Agent]:
        """The agents, with the beliefs that the last ``step`` left them; driven by hand they go their own way."""
        if not self._placed:
            for agent, beliefs in zip(self._agents, self._state.memory[0], strict=True):
                agent.place(beliefs, self._episode, self._time)
            self._placed = True
        return self._agents

    @torch.no_grad()
    @_one_thread()
    def step(self, observations: Any) -> Tensor:
        """Actions ``[N]`` for observations ``[N, D]``, after one exchange of messages.

        Raises:
            ShapeError: not ``[N, D]``. NonFiniteError: an agent observes NaN or infinity.
            StateError: the rewards of the step before are missing.
        """
        if self._open is not None:
            raise StateError("step was called twice without update(rewards) in between.")
        timestep = self._timestep(observations)
        if len(self._past) == self.horizon:
            self._learn(self.policy.value(timestep, self._state, self.seed))
        decision = self.policy.act(timestep, self._state, self.seed)
        self._open = Step.of(timestep, decision, self._blank), self._state
        self._advance(decision.state, self._episode, self._time + 1)
        return decision.action[0]

    def update(self, rewards: Any, done: bool = False) -> None:
        """Tell the team its rewards ``[N]``, and whether the episode ended with them.

        Raises:
            StateError: no step to reward. ShapeError: not ``[N]``. NonFiniteError: NaN or infinity.
        """
        if self._open is None:
            raise StateError("update was called without a step before: call step(observations) first.")
        reward = _floats("rewards", rewards, f"[N={self.num_agents}]")
        if reward.shape != (self.num_agents,):
            raise ShapeError(f"Expected rewards [N={self.num_agents}], got {tuple(reward.shape)}.")
        if not bool(reward.isfinite().all()):
            raise NonFiniteError(f"Expected finite rewards, got {reward.tolist()}.")
        step, state = self._open
        ended = torch.tensor([bool(done)])
        discount = (~ended).float().unsqueeze(-1).expand(-1, self.num_agents)
        self._past.append((replace(step, reward=reward.unsqueeze(0), discount=discount, done=ended), state))
        self._open = None
        if done:
            self._advance(self.policy.initial_state(1, self.num_agents), self._episode + 1, 0)

    def _advance(self, state: PolicyState, episode: int, time: int) -> None:
        self._state, self._episode, self._time = state, episode, time
        self._placed = False

    def _timestep(self, observations: Any) -> TimeStep:
        obs = _floats("observations", observations, f"[N={self.num_agents}, D={self.policy.obs_dim}]")
        if obs.shape != (self.num_agents, self.policy.obs_dim):
            raise ShapeError(
                f"Expected observations [N={self.num_agents}, D={self.policy.obs_dim}], got {tuple(obs.shape)}."
            )
        return replace(
            self._blank,
            obs=obs.unsqueeze(0),
            first=torch.tensor([self._time == 0]),
            key=torch.tensor([_episode_key(self.seed, self._episode)]),
            step=torch.tensor([self._time]),
        )

    def _learn(self, next_value_1N: Tensor) -> None:
        """PPO on the past: time becomes [segment, horizon / segment], each segment with its own first state."""
        past, self._past = self._past, []

        def cut(x: Tensor) -> Tensor:
            segments: Tensor = x.unflatten(0, (-1, self.segment))
            return segments.transpose(0, 1)

        steps = [step.map(lambda x: x[0]) for step, _ in past]
        states = [state.map(lambda x: x[0]) for _, state in past[:: self.segment]]
        next_value = torch.cat([*(step.value for step, _ in past[1:]), next_value_1N])
        rollout = Rollout(**vars(stack(steps).map(cut)), next_value=cut(next_value), state=stack(states))
        with torch.enable_grad():
            self.metrics = self.learner.update(rollout)
