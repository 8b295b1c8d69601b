"""A team that learns while it acts, in a loop of yours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, Unpack

import torch
from torch import Tensor

from gnncomm.errors import StateError
from gnncomm.evaluation import DEFAULT_SEED, Report, evaluate
from gnncomm.evaluation.play import evaluating
from gnncomm.learn import Parts, PPOConfig, Step
from gnncomm.multiagent import saving
from gnncomm.multiagent.agents import Agent
from gnncomm.multiagent.course import Course, Shown, one_thread, rewards_of
from gnncomm.multiagent.graph import CommunicationGraph
from gnncomm.multiagent.past import Past, Seen
from gnncomm.multiagent.settings import Settings, TeamConfig, asked
from gnncomm.policy import PolicyState
from gnncomm.random import stream
from gnncomm.saved import require_policy
from gnncomm.store import Checkpoint
from gnncomm.types import Box, Group, Single, TeamSpec, VectorEnv


class MultiAgentLearner:
    """A team that learns while it acts: PPO over the last ``horizon`` steps, cut into segments of ``segment``.

    Without ``done`` the learner sees one endless episode, whose return is discounted across the resets; with it, the
    return ends and the beliefs are cleared where the episode ends. Both learn, the second better.

    Args:
        num_agents: N.
        state_dim: D, width of an observation.
        action_dim: A, number of actions, or of the numbers that an action is.
        horizon: steps between updates of the weights.
        segment: length of the sequences through which gradients flow; divides ``horizon``.
        ppo: settings of the learner; the learning rate must be constant, as there is no last update, and the entropy
            bonus is ``entropy`` in the first update and ``entropy_end`` in all others.
        seed: of weights and of all draws.
        box: bounds of actions that are numbers; None: actions are one of A choices.
        groups: agents that are not all alike, see ``Group``; their rows are padded to D.
        settings: of the policy and its wire, by name or as objects: ``topology="ring"``, ``comm=GatedSum``,
            ``channel="loss:p=0.2"``, ``hidden=32``; see ``Settings``. ``comm`` may be a method, too (``"tarmac2"``).

    Raises:
        ConfigError: an unknown setting or name, a value out of range, or parts that do not fit together.
    """

    def __init__(
        self,
        num_agents: int,
        state_dim: int,
        action_dim: int,
        *,
        horizon: int = 400,
        segment: int = 20,
        ppo: PPOConfig | None = None,
        seed: int = 0,
        box: Box | None = None,
        groups: Sequence[Group] = (),
        **settings: Unpack[Settings],
    ) -> None:
        team = TeamSpec(state_dim, action_dim, num_agents, box, tuple(groups))
        self._set_up(*asked(team, horizon, segment, ppo, seed, settings))

    def _set_up(self, config: TeamConfig, objects: Parts) -> None:
        self.policy, self.learner, self.config = config.build(objects)
        team, self.seed = config.team, int(config.settings["seed"])
        self.num_agents, self.horizon, self.segment = team.num_agents, config.horizon, config.segment
        self.graph = CommunicationGraph(self.num_agents, self.policy.wire.topology, self.policy.wire.channel)
        self._agents = [
            Agent(team.obs_dim, team.num_actions, index=index, policy=self.policy, seed=self.seed)
            for index in range(self.num_agents)
        ]
        self._placed = True
        self.steps = 0
        """Of the loop, so far."""
        self.metrics: dict[str, float] = {}
        """Of the last update."""
        self._course = Course(self.policy, self.num_agents, self.seed)
        self._past = Past(self.segment)
        self._open: tuple[Step, PolicyState] | None = None
        self._watched = Course(self.policy, self.num_agents, int(stream(self.seed, "act")))

    @property
    def agents(self) -> list[Agent]:
        """The agents, with the beliefs that the last ``step`` left them; driven by hand they go their own way."""
        if not self._placed:
            for agent, beliefs in zip(self._agents, self._course.state.memory[0], strict=True):
                agent.place(beliefs, self._course.episode, self._course.time)
            self._placed = True
        return self._agents

    @torch.no_grad()
    @one_thread()
    def step(
        self, observations: Any, positions: Any = None, action_mask: Any = None, alive: Any = None, entered: Any = None
    ) -> Tensor:
        """Actions for observations ``[N, D]``, after the agents have talked; the step is learned from later.

        Args:
            observations: ``[N, D]``; rows of the dead may hold anything.
            positions: ``[N, P]``, for geometric topologies; in all steps or in none.
            action_mask: ``[N, A]`` bool, what is allowed. None: everything.
            alive: ``[N]`` bool, who takes part in this decision. None: everybody. Whoever is no longer alive has had
                its return; whoever comes alive within an episode believes nothing yet.
            entered: ``[N]`` bool, whose row passed to another agent with this step.

        Returns:
            ``[N]`` int64, or ``[N, A]`` where actions are numbers; rows of the dead mean nothing.

        Raises:
            ShapeError, DtypeError: not these shapes. NonFiniteError: an agent observes NaN or infinity.
            ActionMaskError: an agent may do nothing. StateError: the rewards of the step before are missing.
        """
        if self._open is not None:
            raise StateError("step was called twice without update(rewards) in between.")
        timestep = self._course.timestep(Shown(observations, positions, action_mask, alive, entered))
        state = self._course.state
        self._past.settle(timestep)
        if len(self._past) == self.horizon:
            value = self.policy.value(timestep, state, self.seed)
            with torch.enable_grad():
                self.metrics = self.learner.update(self._past.rollout(value))
        decision = self.policy.act(timestep, state, self.seed)
        self._open = Step.of(timestep, decision, self._course.blank), state
        self._course.advance(timestep, decision.state)
        self._placed = False
        return decision.action[0]

    @torch.no_grad()
    @one_thread()
    def update(
        self,
        rewards: Any,
        done: bool = False,
        truncated: bool = False,
        observations: Any = None,
        positions: Any = None,
    ) -> None:
        """Tell the team its rewards, and whether the episode ended with them.

        Args:
            rewards: ``[N]``, or one number that everybody gets.
            done: the episode is over, and with it the return.
            truncated: the episode is over because time was up, ``done`` or not: its return goes on unobserved.
            observations: with ``truncated``, ``[N, D]`` after the step, from which the rest of the return is expected.
                None: as much is expected as before the step.
            positions: ``[N, P]`` then.

        Raises:
            StateError: no step to reward. ShapeError: not these shapes. NonFiniteError: NaN or infinity.
        """
        if self._open is None:
            raise StateError("update was called without a step before: call step(observations) first.")
        step, state = self._open
        reward = rewards_of(rewards, step.timestep.alive)
        over = torch.full_like(step.done, bool(done) or bool(truncated))
        discount = torch.full_like(step.discount, float(truncated or not done))
        rest = step.value
        if truncated and observations is not None:
            shown = Shown(observations, positions, None, step.timestep.alive[0])
            rest = self.policy.value(self._course.timestep(shown), self._course.state, self.seed)
        paid = step.timestep.alive
        step = replace(step, reward=reward, discount=discount, done=over, paid=paid)
        self._past.add(Seen(step, torch.full_like(over, bool(truncated)), rest), state)
        self._open = None
        self.steps += 1
        if done or truncated:
            self._course.end()
            self._placed = False

    @torch.no_grad()
    @one_thread()
    def act(
        self,
        observations: Any,
        positions: Any = None,
        action_mask: Any = None,
        alive: Any = None,
        entered: Any = None,
        *,
        first: bool = False,
        greedy: bool = True,
    ) -> Tensor:
        """Actions of the team as it is now, from which nothing is learned; arguments and errors as those of ``step``.

        The team plays an episode of its own, with beliefs of its own: ``step`` and ``update`` do not notice. It goes on
        from call to call, until ``first``.

        Args:
            first: an episode begins with these observations. The first call of all begins one anyway.
            greedy: take the most likely actions, instead of drawing them.
        """
        if first and self._watched.time:
            self._watched.end()
        timestep = self._watched.timestep(Shown(observations, positions, action_mask, alive, entered))
        with evaluating(self.policy):
            decision = self.policy.act(timestep, self._watched.state, None if greedy else self._watched.seed)
        self._watched.advance(timestep, decision.state)
        return decision.action[0]

    def evaluate(
        self, env: VectorEnv | Single, episodes: int = 200, seed: int = DEFAULT_SEED, greedy: bool = True
    ) -> Report:
        """``gnncomm.evaluate`` of the team as it is now: nothing is learned, and the loop does not notice.

        Args:
            env: a ``MultiAgentEnv``, which goes on where it is, or a ``VectorEnv``, whose episodes are given up.
            episodes, seed, greedy: see ``gnncomm.evaluate``.
        """
        return evaluate(self.policy, env, episodes, seed, greedy)

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Keep the team in the directory ``path``: weights, learner, beliefs, and what was seen since the last update.

        Nothing is pickled: ``config.json`` says what the team is, each call adds ``checkpoints/step_<steps>`` (the
        three newest stay), as in the runs of ``gnncomm.train``. The environment is yours to keep.

        Args:
            overwrite: replace what is there.

        Returns:
            The new checkpoint.

        Raises:
            StateError: between ``step`` and ``update``. RunExistsError: something else is there, or a later state.
            NonFiniteError: a weight is NaN or infinite.
        """
        if self._open is not None:
            raise StateError("save was called between step and update: call update(rewards) first.")
        groups, counters = self.learner.state()
        own = {"model": dict(self.policy.state_dict()), "beliefs": self._course.state.tensors(), **self._past.tensors()}
        position = saving.Position.of(self._course, self.metrics)
        return saving.write(path, self.config, self.steps, own | groups, counters, position, overwrite)

    @classmethod
    def load(cls, path: str | Path, *, device: str | None = None, **parts: Unpack[Parts]) -> Self:
        """The team that ``save`` kept, as it was: the loop goes on to the same bits as if it had never stopped.

        Args:
            path: the directory.
            device: where to, if not where it was.
            parts: objects that the team was made with and that no name stands for.

        Raises:
            ConfigError: such an object is missing, or is not the one that the team was made with; says in what. Also a
                run of ``gnncomm.train``, which ``gnncomm.load`` loads.
            CheckpointError: nothing there, or no good checkpoint. A damaged one is passed over, with a warning.
        """
        config, objects, run = saving.read(path, device, parts)
        made: list[Self] = []

        def accept(checkpoint: Checkpoint) -> None:
            require_policy(config.training(), config.team, checkpoint, objects)
            learner = cls.__new__(cls)
            learner._set_up(config, objects)
            saving.require_same(config, learner.config)
            learner._restore(checkpoint)
            made.append(learner)

        saving.newest(run, accept)
        return made[-1]

    def _restore(self, checkpoint: Checkpoint) -> None:
        course, source = self._course, str(checkpoint.path)
        groups, counters = self.learner.state()
        mine = {"model": dict(self.policy.state_dict()), "beliefs": course.state.tensors(), **groups}
        position = saving.position_of(checkpoint, mine, counters)
        to = self.policy.like.device
        found = {name: {key: x.to(to) for key, x in group.items()} for name, group in checkpoint.tensors.items()}
        if past := found.get("past"):
            self._past.restore(past, found.get("starts", {}), self._like(past), course.state, source)
        self.policy.load_state_dict(found["model"])
        self.learner.restore(found, checkpoint.state)
        course.state = course.state.with_tensors(found["beliefs"])
        course.episode, course.time, self.steps = position.episode, position.time, checkpoint.step
        course.last = self._past.seen[-1].step.timestep if len(self._past) else None
        self.metrics, self._placed = position.numbers, False

    @torch.no_grad()
    def _like(self, past: Mapping[str, Tensor]) -> Seen:
        """What any step leaves that is shown what was shown in the ``past``."""
        where = past.get("step.timestep.pos")
        blank = torch.zeros(self.num_agents, self.policy.obs_dim)
        now = self._course.timestep(Shown(blank, None if where is None else torch.zeros(where.shape[2:])))
        step = Step.of(now, self.policy.act(now, self._course.state, self.seed), self._course.blank)
        return Seen(step, step.done, step.value)

    def __repr__(self) -> str:
        team = self.config.team
        return f"MultiAgentLearner({team.num_agents}, {team.obs_dim}, {team.num_actions}, steps={self.steps})"
