"""CommPolicy: encoder, memory, rounds of communication, heads."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from gnncomm.errors import ConfigError, ShapeError
from gnncomm.graph import CommGraph, given
from gnncomm.layers import CommLayer, CommStack
from gnncomm.policy import checks
from gnncomm.policy.actions import Actions, Categorical, EpsilonGreedy
from gnncomm.policy.critic import Critic, LocalCritic
from gnncomm.policy.encoder import Encoder, encoded, living_obs, require_floats
from gnncomm.policy.groups import PerAgent
from gnncomm.policy.memory import GRU, Memory
from gnncomm.policy.mixers import Mixer, NoMixer
from gnncomm.policy.rounds import Talk, WireState, talk
from gnncomm.policy.teams import Teams
from gnncomm.policy.values import Decision, Evaluation, Integration, PolicyState
from gnncomm.types import Batch, Moment, Observation, SparseObs, TimeStep, stack
from gnncomm.wire import Wire


@dataclass(frozen=True)
class _Heard(Batch):
    """Features of a rollout, and what its rounds left behind; names as in ``Evaluation``."""

    features: Tensor  # [T, B, N, H]
    rows: Tensor  # [T, B, N, H]
    choice_log_prob: Tensor
    entropy: Tensor
    cost: Tensor
    baseline: Tensor
    heard: Tensor


class CommPolicy(nn.Module):
    """A composition of parts: ``act`` for a step, ``unroll`` for a rollout, tied by the law of ratio one.

    Every part but ``comm`` and ``critic`` sees one row at a time, and gives each row what it would give it alone: a
    ``LocalAgent`` calls the same parts. A part that is a ``PerAgent`` may treat agents unlike by their places.

    Args:
        obs_dim: D, width of a flat observation.
        num_actions: A.
        comm: the rounds of communication; every width is H.
        memory: ``Memory`` (none), ``GRU`` or ``LSTM`` of width H.
        integration: where communication stands, see ``Integration``.
        wire: topology, scheduler and channel.
        critic: a ``Critic``, ``LocalCritic`` of width H if None. Where the scheduler samples, there is one more
            of its kind for each round (``baselines``): the baseline of the choices that are made there. Where
            ``actions`` is ``EpsilonGreedy``, a ``Mixer`` of their values, ``NoMixer`` if None.
        encoder: any module that turns an ``Observation`` of width D into rows of width H, for any leading axes and for
            none; ``Encoder`` if None.
        actor: any module from rows of width H to the ``actions.width`` numbers that tell the distribution of actions.
        actions: that distribution; ``Categorical(num_actions)`` if None.
        teams: the team of each agent, by name: no message goes from one to another. None: all are one team.
    """

    def __init__(
        self,
        obs_dim: int,
        num_actions: int,
        comm: CommStack | CommLayer,
        memory: Memory | None = None,
        integration: Integration | str = Integration.AFTER,
        wire: Wire | None = None,
        critic: Critic | Mixer | None = None,
        *,
        encoder: nn.Module | None = None,
        actor: nn.Module | None = None,
        actions: Actions | None = None,
        teams: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        comm = CommStack([comm]) if isinstance(comm, CommLayer) else comm
        hidden = comm.in_channels
        self.memory = GRU(hidden) if memory is None else memory
        given.require_width(self.memory, "state_dim", self.memory.state_dim)
        if not hidden == comm.out_channels == self.memory.hidden:
            raise ConfigError(
                f"CommPolicy needs one width for all its parts, got comm {comm.in_channels} -> {comm.out_channels} "
                f"and memory {self.memory.hidden}."
            )
        self.obs_dim, self.num_actions, self.hidden = obs_dim, num_actions, hidden
        self.encoder = Encoder(obs_dim, hidden) if encoder is None else encoder
        self.comm = comm
        self.integration = Integration(integration)
        if self.integration is Integration.PREVIOUS and self.memory.state_dim == 0:
            raise ConfigError(
                "Integration.PREVIOUS sends what an agent remembers, but this policy has no memory, so nothing would "
                "be said: expected GRU or LSTM, got Memory. Give one, or use Integration.BEFORE."
            )
        self._connect(Wire() if wire is None else wire)
        self.actions: Actions = Categorical(num_actions) if actions is None else actions
        self.actor = new_actor(hidden, self.actions.width) if actor is None else actor
        self.critic = self._judge() if critic is None else critic
        if isinstance(self.critic, Mixer) != isinstance(self.actions, EpsilonGreedy):
            raise ConfigError(
                f"CommPolicy: expected a Mixer as critic of actions by their values, and of no others, got "
                f"{type(self.critic).__name__} with {type(self.actions).__name__}."
            )
        self.teams = Teams(teams) if teams is not None and len(set(teams)) > 1 else None
        self.baselines = nn.ModuleList(self._new_baselines())

    @property
    def like(self) -> Tensor:
        """A weight: what this policy computes is of its type and on its device."""
        return next(self.parameters())

    def _judge(self) -> Critic | Mixer:
        return NoMixer() if isinstance(self.actions, EpsilonGreedy) else LocalCritic(self.hidden)

    def with_wire(self, wire: Wire) -> Self:
        """The same weights (shared, not copied) on another wire."""
        twin = self._twin()
        twin._connect(wire)
        if not len(self.baselines):
            twin.baselines = nn.ModuleList(twin._new_baselines())
        return twin

    def for_agent(self, index: int) -> Self:
        """The same weights as agent ``index`` alone uses them: every part reads one row, whose place it knows."""
        parts = {name: part.of_agent(index) for name, part in self.named_children() if isinstance(part, PerAgent)}
        return self._twin(**parts) if parts else self

    def _twin(self, **parts: Any) -> Self:
        """A policy of the same class, whatever its constructor takes, with the same parts but for ``parts``."""
        twin = copy.copy(self)
        twin._modules = dict(self._modules) | parts
        return twin

    def _connect(self, wire: Wire) -> None:
        if wire.scheduler.in_channels not in (None, self.hidden):
            raise ConfigError(
                f"{type(wire.scheduler).__name__} reads rows of width {wire.scheduler.in_channels}, but those of this "
                f"policy have {self.hidden}: expected in_channels={self.hidden}."
            )
        given.require_width(wire.scheduler, "num_choices", wire.scheduler.num_choices)
        self.wire = wire
        self.scheduler, self.codec = wire.scheduler, wire.codec  # as submodules: they may have weights

    def _new_baselines(self) -> list[nn.Module]:
        """One for each round in which the scheduler samples."""
        if not self.wire.scheduler.num_choices:
            return []
        aside = 0 if self.integration is Integration.AFTER else self.hidden
        widths = [layer.in_channels + aside for layer in self.comm.rounds]
        return [self.critic.another(width).to(self.like) for width in widths]

    def initial_state(self, num_envs: int, num_agents: int) -> PolicyState:
        memory = self.like.new_zeros(num_envs, num_agents, self.memory.state_dim)
        return PolicyState(memory, WireState.fresh(self.wire, self.comm, self.like, num_envs, num_agents))

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
        out, state = self._memorised(self.memory.step(rows, memory.reshape(rows.shape[0], memory.shape[-1])), rows)
        return out.view(x.shape), state.view(memory.shape)

    def _memorised(self, found: tuple[Tensor, Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        """``found``, if it is what the memory makes of the rows ``x [..., R, H]``."""
        given.require_kind(self.memory, "what the memory gives, (out, state),", found, tuple)
        if len(found) != 2:
            raise ShapeError(f"{type(self.memory).__name__}: expected (out, state), got {len(found)} things.")
        given.require_made(self.memory, "what the memory gives, out", "[..., R, H]", found[0], x.shape, x.dtype)
        shape = x.shape[-2], self.memory.state_dim
        given.require_made(self.memory, "what the memory gives, state", "[R, S] (state_dim)", found[1], shape, x.dtype)
        return found

    def logits(self, features: Tensor, alive: Tensor, action_mask: Tensor | None) -> Tensor:
        """``[..., P]``: what tells the distribution of the action, from the features."""
        logits: Tensor = self.actor(features)
        shape = *features.shape[:-1], self.actions.width
        given.require_made(self.actor, "what the actor gives", "[..., P]", logits, shape, features.dtype)
        return logits if action_mask is None else self.actions.masked(logits, action_mask, alive)

    def encode(self, obs: Observation) -> Tensor:
        """``[..., H]``: x = encoder(o), for observations as fine as the weights at most."""
        mine = self.like.dtype
        values = obs.value if isinstance(obs, SparseObs) else obs
        require_floats(values, mine)
        if values.dtype != mine:
            obs = replace(obs, value=values.to(mine)) if isinstance(obs, SparseObs) else values.to(mine)
        x = encoded(self.encoder, obs)
        given.require_made(
            self.encoder, "what the encoder gives", "[..., H]", x, (*values.shape[:-1], self.hidden), mine
        )
        return x

    # The part that crosses rows, over the wire.

    def reachable(self, timestep: TimeStep) -> CommGraph:
        """Who could hear whom now: what the topology says, within each team."""
        graph = self.wire.topology(timestep.alive, timestep.pos, timestep.step, timestep.key)
        given.require_graph(self.wire.topology, "a graph", graph, *timestep.alive.shape)
        return graph if self.teams is None else self.teams.within(graph)

    def communicate(
        self,
        h: Tensor,
        timestep: TimeStep,
        state: WireState,
        draw: int | Tensor | None = None,
        choice: Tensor | None = None,
    ) -> Talk:
        """All rounds of one step, see ``talk``: ``h [B, N, H]`` and a ``[B, ...]`` time step."""
        now = Moment(timestep.key, timestep.step, pos=timestep.pos, alive=timestep.alive)
        return talk(self.comm, self.wire, h, self.reachable(timestep), state, now, draw, choice)

    def act(self, timestep: TimeStep, state: PolicyState, key: int | Tensor | None = None) -> Decision:
        """Decide one step.

        ``key`` names the stream of action draws, which are a pure function of (key, episode, step, agent); None takes
        the most likely action.

        Raises:
            ShapeError, DtypeError: a tensor of ``timestep``, or ``state``, is of another batch; nothing is broadcast.
            NonFiniteError: a living agent observes, remembers or decides with NaN or infinity; names it, and the weight
                that is not finite.
            ActionMaskError: a living agent has no allowed action.
        """
        alive, state = timestep.alive, self._entered(timestep, state, key)
        x = self.encode(living_obs(timestep.obs, alive))
        features, after, talked = self._step(x, timestep, state, key)
        logits = self.logits(features, alive, timestep.action_mask)
        agent = torch.arange(alive.shape[1], device=alive.device)
        action = self.actions.choose(logits, key, timestep.key.unsqueeze(-1), timestep.step.unsqueeze(-1), agent)
        log_prob = self.actions.log_prob(logits, action)
        value = self._value(features, logits, timestep, self._links(talked, alive))
        baseline = self._baseline(talked.rows, self._aside(x, state.memory), timestep)
        checks.require_finite(alive, log_prob + talked.log_prob.sum(-1), value, lambda: self._suspects(state))
        return Decision(action, talked.choice, log_prob, talked.log_prob, value, baseline, logits, after, talked)

    def value(self, timestep: TimeStep, state: PolicyState, key: int | Tensor | None = None) -> Tensor:
        """``[B, N]``: the ``value`` of ``act`` with the same arguments, its sampled choices included."""
        state = self._entered(timestep, state, key)
        alive = timestep.alive
        features, _, talked = self._step(self.encode(living_obs(timestep.obs, alive)), timestep, state, key)
        logits = self.logits(features, alive, timestep.action_mask) if isinstance(self.critic, Mixer) else features
        return self._value(features, logits, timestep, self._links(talked, alive))

    def _value(self, features: Tensor, logits: Tensor, timestep: TimeStep, heard: Tensor) -> Tensor:
        """``[..., N]``: what the critic expects: of features, or of everyone's best action.

        Values are mixed in training only, so a team that is measured may be of another size.
        """
        if not isinstance(self.critic, Mixer):
            value: Tensor = self.critic(features, timestep.alive, timestep)
            shape = timestep.alive.shape
            given.require_made(self.critic, "what the critic gives", "[..., N]", value, shape, features.dtype)
            return value
        best, action = logits.max(-1)
        return self.critic(best, best, action, timestep, heard) if self.critic.training else best

    def _links(self, talked: Talk, alive: Tensor) -> Tensor:
        """``[B, N, N]``: who heard whom in some round; ``[B, N, 0]`` where nobody looks at it."""
        if not (isinstance(self.critic, Mixer) and self.critic.hears and self.critic.training):
            return alive.new_zeros(*alive.shape, 0)
        every = [graph.dense.expand(*alive.shape, -1) for graph in talked.graphs]
        return torch.stack(every).any(0)

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

    def _baseline(self, rows: tuple[Tensor, ...], aside: Tensor | None, timestep: TimeStep) -> Tensor:
        """``[..., N, K]``: what is expected before the choices of each round, from ``[..., N, F]`` rows before it."""
        if not self.wire.scheduler.num_choices:
            return rows[0].new_zeros(*timestep.alive.shape, 0)
        seen = [row if aside is None else torch.cat([row, aside], -1) for row in rows]
        each = zip(self.baselines, seen, strict=True)
        return torch.stack([critic(x.detach(), timestep.alive, timestep) for critic, x in each], -1)

    def unroll(
        self, timestep: TimeStep, action: Tensor, state: PolicyState, choice: Tensor | None = None
    ) -> Evaluation:
        """What ``act`` would have said of recorded decisions.

        Args:
            timestep: ``[T, B, ...]``.
            action: ``[T, B, N]``, or ``[T, B, N, A]`` numbers.
            state: before the first step.
            choice: ``[T, B, N, K * C]``; may be left out where the scheduler samples nothing.
        """
        checks.require_timestep(timestep, axes=2)
        alive = timestep.alive
        self.actions.check(action, alive.shape)
        checks.require_shape("state.memory", state.memory, (*alive.shape[1:], self.memory.state_dim), "[B, N, S]")
        self._require_state(state)
        if choice is None:
            choice = timestep.step.new_zeros(*alive.shape, 0)
        heard = self._heard(self.encode(living_obs(timestep.obs, alive)), timestep, choice, state)
        logits = self.logits(heard.features, alive, timestep.action_mask)
        log_prob = self.actions.log_prob(logits, action)
        entropy = self.actions.entropy(logits) + heard.entropy
        value = self._value(heard.features, logits, timestep, heard.heard)
        judged = (log_prob, heard.choice_log_prob, entropy, value, heard.baseline, heard.cost)
        return Evaluation(*judged, heard.features, heard.rows, logits, heard.heard)

    def _require_state(self, state: PolicyState) -> None:
        checks.require_like("state.memory", state.memory, self.like)
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
        baseline = self._baseline(talked.rows, aside, folded)
        left = (talked.log_prob, talked.entropy, talked.cost, baseline, self._links(talked, folded.alive))
        return _Heard(features_TBNH, rows_TBNH, *(value.unflatten(0, lead) for value in left))

    def _memory_sequence(self, x_TBNH: Tensor, timestep: TimeStep, state: PolicyState) -> Tensor:
        first_TR = _forgetting(timestep).flatten(1)
        rows_TRH = x_TBNH.flatten(1, 2)
        out, _ = self._memorised(self.memory.unroll(rows_TRH, state.memory.flatten(0, 1), first_TR), rows_TRH)
        return out.view(x_TBNH.shape)

    def _remembered(self, out_TBNH: Tensor, timestep: TimeStep, state: PolicyState) -> Tensor:
        """What the memory gave out at the step before each step; zeros where there is none, as ``output`` says."""
        if not self.memory.state_dim:
            return torch.zeros_like(out_TBNH)
        before_TBNH = torch.cat([self.memory.output(state.memory).unsqueeze(0), out_TBNH[:-1]])
        return torch.where(_forgetting(timestep).unsqueeze(-1), 0.0, before_TBNH)

    def _step_by_step(self, x_TBNH: Tensor, timestep: TimeStep, choice: Tensor, state: PolicyState) -> _Heard:
        steps = []
        for t, x in enumerate(x_TBNH):
            now = timestep.map(lambda value, t=t: value[t])  # type: ignore[misc]  # mypy: lambda default
            state = _fresh(now, state)
            aside = self._aside(x, state.memory)
            features, state, talked = self._step(x, now, state, choice=choice[t])
            baseline = self._baseline(talked.rows, aside, now)
            left = (talked.log_prob, talked.entropy, talked.cost, baseline, self._links(talked, now.alive))
            steps.append(_Heard(features, talked.rows[0], *left))
        return stack(steps)


def new_actor(hidden: int, width: int) -> nn.Linear:
    """``W z + b`` with small weights, so that at first no action is preferred."""
    actor = nn.Linear(hidden, width)
    nn.init.orthogonal_(actor.weight, gain=0.01)
    nn.init.zeros_(actor.bias)
    return actor


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
