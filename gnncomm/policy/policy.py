"""CommPolicy: encoder, memory, rounds of communication, heads."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

import torch
from torch import Tensor, nn

from gnncomm import random
from gnncomm.errors import ActionMaskError, ConfigError, ShapeError
from gnncomm.layers import CommLayer, CommStack
from gnncomm.moment import Moment
from gnncomm.policy import checks
from gnncomm.policy.critic import Critic, LocalCritic
from gnncomm.policy.encoder import Encoder, living_obs
from gnncomm.policy.memory import GRU, Memory
from gnncomm.policy.rounds import Talk, WireState, talk
from gnncomm.types import Batch, TimeStep, stack
from gnncomm.wire import Wire


class Integration(StrEnum):
    """Where communication stands among the parts of a policy, with x = encoder(o) and memory state s."""

    PREVIOUS = "previous"
    """Rounds run on the memory of the step before; what was received joins x (CommNet, IC3Net, TarMAC)."""
    BEFORE = "before"
    """Rounds run on x; the result enters the memory."""
    AFTER = "after"
    """Rounds run on what the memory gave out; the heads read the result (MAGIC, DICG)."""


@dataclass(frozen=True)
class PolicyState(Batch):
    """What a team carries from step to step."""

    memory: Tensor  # [B, N, S]
    wire: WireState  # what is in flight between them


@dataclass(frozen=True)
class Decision(Batch):
    """What a team decided at one step, and by what each decision is to be judged.

    The action of a step comes after the K rounds, the choices of round k come before it. So each has a probability and
    a baseline of its own: ``value`` may know all choices of the step, ``baseline[..., k]`` knows those of rounds < k
    only. Values are as the critic says them (normalised where the learner normalises returns).
    """

    action: Tensor  # [B, N] int64
    choice: Tensor  # [B, N, K * C] int64: decisions of the scheduler
    log_prob: Tensor  # [B, N] of the action
    choice_log_prob: Tensor  # [B, N, K] of the choices in each round; K = 0 where the scheduler samples nothing
    value: Tensor  # [B, N] baseline of the action: the critic on the features that the action is drawn from
    baseline: Tensor  # [B, N, K] baseline of the choices in each round, from rows before it
    logits: Tensor  # [B, N, A], -inf where masked
    state: PolicyState
    talk: Talk


@dataclass(frozen=True)
class Evaluation(Batch):
    """What the policy now thinks of recorded decisions; names as in ``Decision``."""

    log_prob: Tensor  # [T, B, N]
    choice_log_prob: Tensor  # [T, B, N, K]
    entropy: Tensor  # [T, B, N] of actions and choices together
    value: Tensor  # [T, B, N]
    baseline: Tensor  # [T, B, N, K]
    cost: Tensor  # [T, B, N] terms of the training loss from scheduler and codec
    features: Tensor  # [T, B, N, H] that the heads read, for losses of one's own


@dataclass(frozen=True)
class _Heard(Batch):
    """Features of a rollout, and what its rounds left behind; names as in ``Evaluation``."""

    features: Tensor  # [T, B, N, H]
    choice_log_prob: Tensor
    entropy: Tensor
    cost: Tensor
    baseline: Tensor


class CommPolicy(nn.Module):
    """One set of weights for all agents: ``act`` for a step, ``unroll`` for a rollout, tied by the law of ratio one.

    Args:
        obs_dim: D, width of a flat observation.
        num_actions: A.
        comm: the rounds of communication; every width is H.
        memory: ``Memory`` (none), ``GRU`` or ``LSTM`` of width H.
        integration: where communication stands, see ``Integration``.
        wire: topology, scheduler and channel.
        critic: ``LocalCritic`` or ``CentralCritic`` of width H. Where the scheduler samples, the policy has one more of
            its kind for each round (``baselines``): the baseline of the choices that are made there.
    """

    def __init__(
        self,
        obs_dim: int,
        num_actions: int,
        comm: CommStack | CommLayer,
        memory: Memory | None = None,
        integration: Integration | str = Integration.BEFORE,
        wire: Wire | None = None,
        critic: Critic | None = None,
    ) -> None:
        super().__init__()
        comm = CommStack([comm]) if isinstance(comm, CommLayer) else comm
        hidden = comm.in_channels
        self.memory = GRU(hidden) if memory is None else memory
        if not hidden == comm.out_channels == self.memory.hidden:
            raise ConfigError(
                f"CommPolicy needs one width for all its parts, got comm {comm.in_channels} -> {comm.out_channels} "
                f"and memory {self.memory.hidden}."
            )
        self.obs_dim, self.num_actions, self.hidden = obs_dim, num_actions, hidden
        self.encoder = Encoder(obs_dim, hidden)
        self.comm = comm
        self.integration = Integration(integration)
        if self.integration is Integration.PREVIOUS and self.memory.state_dim == 0:
            raise ConfigError(
                "Integration.PREVIOUS sends what an agent remembers, but this policy has no memory, so nothing would "
                "be said: expected GRU or LSTM, got Memory. Give one, or use Integration.BEFORE."
            )
        self._connect(Wire() if wire is None else wire)
        self.actor = nn.Linear(hidden, num_actions)
        self.critic = LocalCritic(hidden) if critic is None else critic
        nn.init.orthogonal_(self.actor.weight, gain=0.01)
        nn.init.zeros_(self.actor.bias)
        self.baselines = nn.ModuleList(self._new_baselines())

    def with_wire(self, wire: Wire) -> Self:
        """The same weights (shared, not copied) on another wire."""
        twin = copy.copy(self)
        twin._modules = dict(self._modules)
        twin._connect(wire)
        if not len(self.baselines):
            twin.baselines = nn.ModuleList(twin._new_baselines())
        return twin

    def _connect(self, wire: Wire) -> None:
        if wire.scheduler.in_channels not in (None, self.hidden):
            raise ConfigError(
                f"{type(wire.scheduler).__name__} reads rows of width {wire.scheduler.in_channels}, but those of this "
                f"policy have {self.hidden}: expected in_channels={self.hidden}."
            )
        self.wire = wire
        self.scheduler, self.codec = wire.scheduler, wire.codec  # as submodules: they may have weights

    def _new_baselines(self) -> list[nn.Module]:
        """One for each round in which the scheduler samples."""
        if not self.wire.scheduler.num_choices:
            return []
        aside = 0 if self.integration is Integration.AFTER else self.hidden
        widths = [layer.in_channels + aside for layer in self.comm.rounds]
        return [self.critic.another(width).to(self.actor.weight) for width in widths]

    def initial_state(self, num_envs: int, num_agents: int) -> PolicyState:
        like = self.actor.weight
        memory = like.new_zeros(num_envs, num_agents, self.memory.state_dim)
        return PolicyState(memory, WireState.fresh(self.wire, self.comm, like, num_envs, num_agents))

    # The parts that see one row each. A LocalAgent calls the same functions.

    def before_rounds(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The row that enters the first round, and the memory then, from x = encoder(o): ``[..., H], [..., S]``."""
        if self.integration is Integration.PREVIOUS:
            return self.memory.output(memory), memory
        if self.integration is Integration.BEFORE:
            return x, memory
        return self._remember(x, memory)

    def after_rounds(self, x: Tensor, received: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The features that the heads read, and the memory then, from the row after the last round."""
        if self.integration is Integration.PREVIOUS:
            return self._remember(x + received, memory)
        if self.integration is Integration.BEFORE:
            return self._remember(received, memory)
        return received, memory

    def _remember(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        rows = x.reshape(-1, self.hidden)
        out, state = self.memory.step(rows, memory.reshape(rows.shape[0], memory.shape[-1]))
        return out.view(x.shape), state.view(memory.shape)

    # The part that crosses rows, over the wire.

    def communicate(
        self,
        h: Tensor,
        timestep: TimeStep,
        state: WireState,
        draw: int | Tensor | None = None,
        choice: Tensor | None = None,
    ) -> Talk:
        """All rounds of one step, see ``talk``: ``h [B, N, H]`` and a ``[B, ...]`` time step."""
        reachable = self.wire.topology(timestep.alive, timestep.pos, timestep.step, timestep.key)
        now = Moment(timestep.key, timestep.step, pos=timestep.pos, alive=timestep.alive)
        return talk(self.comm, self.wire, h, reachable, state, now, draw, choice)

    def act(self, timestep: TimeStep, state: PolicyState, key: int | Tensor | None = None) -> Decision:
        """Decide one step.

        ``key`` names the stream of action draws, which are a pure function of (key, episode, step, agent); None takes
        the most likely action.

        Raises:
            ShapeError, DtypeError: a tensor of ``timestep``, or ``state``, is of another batch; nothing is broadcast.
            NonFiniteError: a living agent observes, remembers or decides with NaN or infinity; names it, and the weight
            that is not finite. ActionMaskError: a living agent has no allowed action.
        """
        alive, state = timestep.alive, self._entered(timestep, state, key)
        x = self.encoder(living_obs(timestep.obs, alive))
        features, after, talked = self._step(x, timestep, state, key)
        logits = self._logits(features, alive, timestep.action_mask)
        agent = torch.arange(alive.shape[1], device=alive.device)
        action = choose_action(logits, key, timestep.key.unsqueeze(-1), timestep.step.unsqueeze(-1), agent)
        log_prob = logits.log_softmax(-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)
        value, baseline = self.critic(features, alive), self._baseline(talked.rows, self._aside(x, state.memory), alive)
        checks.require_finite(alive, log_prob + talked.log_prob.sum(-1), value, lambda: self._suspects(state))
        return Decision(action, talked.choice, log_prob, talked.log_prob, value, baseline, logits, after, talked)

    def value(self, timestep: TimeStep, state: PolicyState, key: int | Tensor | None = None) -> Tensor:
        """``[B, N]``: the ``value`` of ``act`` with the same arguments, its sampled choices included."""
        state = self._entered(timestep, state, key)
        features, _, _ = self._step(self.encoder(living_obs(timestep.obs, timestep.alive)), timestep, state, key)
        value: Tensor = self.critic(features, timestep.alive)
        return value

    def _entered(self, timestep: TimeStep, state: PolicyState, key: int | Tensor | None) -> PolicyState:
        """The state in which this step begins."""
        checks.require_timestep(timestep, axes=1)
        checks.require_key(key)
        alive = timestep.alive
        if state.memory.shape != (*alive.shape, self.memory.state_dim):
            raise ShapeError(
                f"Expected a policy state [B={alive.shape[0]}, N={alive.shape[1]}, S={self.memory.state_dim}], got "
                f"{tuple(state.memory.shape)}: use initial_state for a new batch of environments."
            )
        self._require_state(state)
        return _fresh(timestep, state)

    def _step(
        self,
        x: Tensor,
        timestep: TimeStep,
        state: PolicyState,
        draw: int | Tensor | None = None,
        choice: Tensor | None = None,
    ) -> tuple[Tensor, PolicyState, Talk]:
        """Features, the state after the step, and what was said, from x = encoder(o) and the state before."""
        h, memory = self.before_rounds(x, state.memory)
        talked = self.communicate(h, timestep, state.wire, draw, choice)
        features, memory = self.after_rounds(x, talked.h, memory)
        return features, PolicyState(memory, talked.state), talked

    # Baselines of what the scheduler samples: they exist in training only, and change nothing but their own weights.

    def _aside(self, x: Tensor, memory: Tensor) -> Tensor | None:
        """``[..., H]``: what an agent knows before the rounds beside the row that enters them."""
        if not len(self.baselines) or self.integration is Integration.AFTER:
            return None
        return x if self.integration is Integration.PREVIOUS else self.memory.output(memory)

    def _baseline(self, rows: tuple[Tensor, ...], aside: Tensor | None, alive: Tensor) -> Tensor:
        """``[..., N, K]``: what is expected before the choices of each round, from ``[..., N, F]`` rows before it."""
        if not self.wire.scheduler.num_choices:
            return rows[0].new_zeros(*alive.shape, 0)
        seen = [row if aside is None else torch.cat([row, aside], -1) for row in rows]
        return torch.stack([critic(x.detach(), alive) for critic, x in zip(self.baselines, seen, strict=True)], -1)

    def unroll(
        self, timestep: TimeStep, action: Tensor, state: PolicyState, choice: Tensor | None = None
    ) -> Evaluation:
        """What ``act`` would have said of recorded decisions.

        Args:
            timestep: ``[T, B, ...]``.
            action: ``[T, B, N]``.
            state: before the first step.
            choice: ``[T, B, N, K * C]``; may be left out where the scheduler samples nothing.
        """
        checks.require_timestep(timestep, axes=2)
        alive = timestep.alive
        checks.require_shape("action", action, alive.shape, "[T, B, N]")
        checks.require_shape("state.memory", state.memory, (*alive.shape[1:], self.memory.state_dim), "[B, N, S]")
        self._require_state(state)
        if choice is None:
            choice = action.new_zeros(*action.shape, 0)
        heard = self._heard(self.encoder(living_obs(timestep.obs, alive)), timestep, choice, state)
        logits = self._logits(heard.features, alive, timestep.action_mask)
        log_probs = logits.log_softmax(-1)
        log_prob = log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        # Chosen before the product: exp(-inf) * -inf has no gradient. A masked action contributes nothing.
        finite_log_probs = torch.where(logits == -torch.inf, 0.0, log_probs)
        entropy = -(log_probs.exp() * finite_log_probs).sum(-1) + heard.entropy
        value = self.critic(heard.features, alive)
        judged = (log_prob, heard.choice_log_prob, entropy, value, heard.baseline, heard.cost)
        return Evaluation(*judged, heard.features)

    def _require_state(self, state: PolicyState) -> None:
        checks.require_like("state.memory", state.memory, self.actor.weight)
        schedule, flight = WireState.shapes(self.wire, self.comm, *state.memory.shape[:2])
        checks.require_shape("state.wire.schedule", state.wire.schedule, schedule, "[B, N, K, Z]")
        checks.require_shape("state.wire.flight", state.wire.flight, flight, "[B, N, K, Q]")

    def _suspects(self, state: PolicyState) -> dict[str, Tensor]:
        """What a decision that is not finite may come from."""
        weights = {name: value for name, value in self.state_dict().items() if value.is_floating_point()}
        return weights | {f"state.{name}": value for name, value in state.tensors().items()}

    def _heard(self, x_TBNH: Tensor, timestep: TimeStep, choice: Tensor, state: PolicyState) -> _Heard:
        if self.integration is Integration.PREVIOUS or not state.wire.empty:
            return self._step_by_step(x_TBNH, timestep, choice, state)
        # A round is instantaneous, so time folds into the batch axis where nothing is carried on the wire.
        before = self.integration is Integration.BEFORE
        rows_TBNH = x_TBNH if before else self._memory_sequence(x_TBNH, timestep, state)
        folded = timestep.map(lambda value: value.flatten(0, 1))
        nothing = state.wire.map(lambda value: value.new_zeros(len(folded.step), *value.shape[1:]))
        talked = self.communicate(rows_TBNH.flatten(0, 1), folded, nothing, choice=choice.flatten(0, 1))
        lead = x_TBNH.shape[:2]
        features_TBNH = talked.h.unflatten(0, lead)
        aside = None
        if before:
            features_TBNH = self._memory_sequence(features_TBNH, timestep, state)
            if len(self.baselines):
                aside = self._remembered(features_TBNH, timestep, state).flatten(0, 1)
        baseline = self._baseline(talked.rows, aside, folded.alive)
        left = (talked.log_prob, talked.entropy, talked.cost, baseline)
        return _Heard(features_TBNH, *(value.unflatten(0, lead) for value in left))

    def _memory_sequence(self, x_TBNH: Tensor, timestep: TimeStep, state: PolicyState) -> Tensor:
        first_TR = _forgetting(timestep).flatten(1)
        out, _ = self.memory.unroll(x_TBNH.flatten(1, 2), state.memory.flatten(0, 1), first_TR)
        return out.view(x_TBNH.shape)

    def _remembered(self, out_TBNH: Tensor, timestep: TimeStep, state: PolicyState) -> Tensor:
        """What the memory gave out at the step before each step."""
        before_TBNH = torch.cat([self.memory.output(state.memory).unsqueeze(0), out_TBNH[:-1]])
        return torch.where(_forgetting(timestep).unsqueeze(-1), 0.0, before_TBNH)

    def _step_by_step(self, x_TBNH: Tensor, timestep: TimeStep, choice: Tensor, state: PolicyState) -> _Heard:
        steps = []
        for t, x in enumerate(x_TBNH):
            now = timestep.map(lambda value, t=t: value[t])  # type: ignore[misc]  # mypy: lambda default
            state = _fresh(now, state)
            aside = self._aside(x, state.memory)
            features, state, talked = self._step(x, now, state, choice=choice[t])
            baseline = self._baseline(talked.rows, aside, now.alive)
            steps.append(_Heard(features, talked.log_prob, talked.entropy, talked.cost, baseline))
        return stack(steps)

    def _logits(self, features: Tensor, alive: Tensor, action_mask: Tensor | None) -> Tensor:
        logits: Tensor = self.actor(features)
        if action_mask is None:
            return logits
        return mask_logits(logits, action_mask, alive)


def _fresh(timestep: TimeStep, state: PolicyState) -> PolicyState:
    """``state``, cleared where an episode begins; where a row passed to another agent, this one remembers nothing.

    What the agent before it said, and what is in flight, stays on the wire.
    """
    first_B = timestep.first
    state = state.map(lambda value: torch.where(first_B.view(-1, *[1] * (value.dim() - 1)), 0.0, value))
    if timestep.entered is None:
        return state
    return replace(state, memory=torch.where(timestep.entered.unsqueeze(-1), 0.0, state.memory))


def _forgetting(timestep: TimeStep) -> Tensor:
    """``[T, B, N]``: where an agent's memory begins anew."""
    first_TBN = timestep.first.unsqueeze(-1).expand_as(timestep.alive)
    return first_TBN if timestep.entered is None else first_TBN | timestep.entered


def choose_action(logits: Tensor, key: int | Tensor | None, episode: Tensor, step: Tensor, agent: Tensor) -> Tensor:
    """One action ``[...]`` for each row of ``logits [..., A]``: sampled by the Gumbel trick, or the best if no ``key``.

    The draw is a pure function of (key, episode, step, agent, action); ``episode``, ``step`` and ``agent`` are integers
    that broadcast to ``[...]``. The joint policy and a ``LocalAgent`` both choose here.
    """
    if key is None:
        return logits.argmax(-1)
    action = torch.arange(logits.shape[-1], device=logits.device)
    counters = (counter.unsqueeze(-1) for counter in (episode, step, agent))
    return (logits + random.gumbel(random.stream(key, "action"), *counters, action)).argmax(-1)


def mask_logits(logits: Tensor, action_mask: Tensor, alive: Tensor) -> Tensor:
    """``-inf`` where an action is not allowed; the dead may do anything (it is ignored)."""
    if action_mask.dtype != torch.bool or action_mask.shape != logits.shape:
        raise ActionMaskError(
            f"Expected a bool action mask {tuple(logits.shape)}, got {action_mask.dtype} {tuple(action_mask.shape)}."
        )
    stuck = ~action_mask.any(-1)
    if bool((stuck & alive).any()):
        *lead, agent = (stuck & alive).nonzero()[0].tolist()
        raise ActionMaskError(
            f"Agent {agent} of environment {lead[-1]} has no allowed action"
            f"{f' at step {lead[0]} of the rollout' if len(lead) > 1 else ''}: "
            "allow at least one (for instance 'stay'), or mark the agent as not alive."
        )
    return torch.where(action_mask | stuck.unsqueeze(-1), logits, -torch.inf)
