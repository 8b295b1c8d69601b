"""One agent: the policy's weights, its own row, its inbox."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gnncomm.codec import Packet
from gnncomm.codec.base import coded
from gnncomm.deploy.mailbox import Inbox
from gnncomm.errors import ActionMaskError, ConfigError, DtypeError, NonFiniteError, ShapeError, StateError
from gnncomm.graph import CommGraph, Layout, given
from gnncomm.layers import CommLayer
from gnncomm.policy import CommPolicy, Integration, checks
from gnncomm.schedule import Decider, Schedule, Situation
from gnncomm.schedule.base import scheduled
from gnncomm.types import Moment, Observation, SparseObs


@dataclass(frozen=True)
class LocalDecision:
    """What one agent decided."""

    action: int | Tensor  # one of the actions, or [A] numbers within bounds
    log_prob: Tensor  # [] of the action and of the scheduler's decisions together
    logits: Tensor  # [P] that tell the distribution of the action, -inf where one of A is masked


class LocalAgent:
    """One agent of a team that shares ``policy``. It never sees another agent's row, only messages.

    A step is ``observe``, then for each round ``say`` and ``hear``, then ``decide``::

        agent.observe(obs)                                       # [D]
        for _ in range(agent.num_rounds):
            mailbox.post(agent.index, agent.say(episode, step))  # [M] leaves
            agent.hear(mailbox.collect(agent.index))             # [S, M] arrives (all agents post before any collects)
        action = agent.decide(key, episode, step).action

    With ``Integration.PREVIOUS`` messages depend on the memory only, so the rounds may come before ``observe``.
    The agent runs the same functions of the same modules as the joint policy, on its own row: the split-brain law
    (``gnncomm.testing.check_policy``) shows that a team of such agents chooses what the joint policy chooses.

    Args:
        policy: the weights, shared and not copied; those of this agent, where agents have their own.
        index: which agent of the team this is, at least 0; names its draws.

    Raises:
        ConfigError: a negative ``index``. StateError: verbs out of order.
    """

    def __init__(self, policy: CommPolicy, index: int = 0) -> None:
        _require_number("LocalAgent.index", index)
        self.policy, self.index = policy.for_agent(index), index
        self.reset()

    @property
    def num_rounds(self) -> int:
        """Rounds of communication in a step."""
        return len(self.policy.comm.rounds)

    @property
    def round(self) -> int:
        """Rounds that are over in this step."""
        return self._round

    @property
    def memory(self) -> Tensor:
        """``[S]``: all that is carried from step to step; ``reset(memory)`` continues from it."""
        return self._memory

    def reset(self, memory: Tensor | None = None) -> None:
        """Begin an episode, or continue with ``memory [S]``."""
        fresh = self.policy.initial_state(1, 1).memory[0, 0]
        if memory is not None and memory.shape != fresh.shape:
            raise ShapeError(f"Expected a memory [S={len(fresh)}], got {list(memory.shape)}: use agent.memory.")
        self._begin_step(fresh if memory is None else memory)
        self._scheduled: dict[int, Tensor] = {}

    def forget(self) -> None:
        """Remember nothing, but leave on the wire what was said: the row passed to another agent."""
        self._begin_step(self.policy.initial_state(1, 1).memory[0, 0])

    def _begin_step(self, memory: Tensor) -> None:
        self._memory, self._round = memory, 0
        self._schedule: Schedule | None = None
        self._wire_log_prob = memory.new_zeros(())
        self._x: Tensor | None = None
        self._pos: Tensor | None = None
        self._row: Tensor | None = None
        if self.policy.integration is Integration.PREVIOUS:
            self._row, _ = self.policy.before_rounds(memory.new_zeros(self.policy.hidden), memory)

    def observe(self, obs: Observation, pos: Tensor | None = None) -> None:
        """Take in the own observation of this step: flat ``[D]``, or ``SparseObs`` with ``[K]``.

        ``pos [P]`` is the own position, for a codec or scheduler that reads it; those of others are NaN to them. What
        the medium does with distances, the real one does here (``Mailbox`` simulates it).

        Raises:
            NonFiniteError: NaN or infinity. ShapeError, DtypeError: not what the policy's encoder takes.
        """
        if self._x is not None:
            raise StateError(f"Agent {self.index} has observed already: call decide() before the next step.")
        values = obs.value if isinstance(obs, SparseObs) else obs
        given.require_kind(f"Agent {self.index}", "an observation", values, Tensor)
        if values.dim() != 1:
            raise ShapeError(f"Expected one agent's observation [D] or [K], got {list(values.shape)}.")
        if not bool(values.isfinite().all()):
            raise NonFiniteError(
                f"Agent {self.index} expected a finite observation, got NaN or infinity: mend the sensor."
            )
        self._x, self._pos = self.policy.encode(obs), pos
        if self._row is None:
            self._row, self._memory = self.policy.before_rounds(self._x, self._memory)

    def announce(self) -> Tensor:
        """``[S]`` that this agent broadcasts before the round so that others can decide; often S = 0."""
        return self.policy.wire.scheduler.announce(self._open_row("announce"))

    def gate(
        self,
        reachable: CommGraph,
        episode: int = 0,
        step: int = 0,
        key: int | None = None,
        announced: Tensor | None = None,
    ) -> CommGraph:
        """The edges of ``reachable`` (one graph) that are used, as far as this agent decides: its incoming ones where
        receivers do, else its outgoing ones.

        The scheduler gets NaN in place of the rows, messages and states of others. What it decides holds for the
        ``say`` and ``hear`` of this round.

        Args:
            reachable: who could hear whom.
            episode, step: the moment.
            key: names the draws of sampled decisions, as in ``decide``; None takes the most likely ones.
            announced: ``[N, S]`` that everyone announced; may be left out where S = 0.

        Raises:
            ConfigError: the scheduler needs the rows of the whole team. ShapeError: announcements that do not fit.
        """
        row, scheduler, layer = self._open_row("gate"), self.policy.wire.scheduler, self._layer("gate")
        heard = self._announcements(announced, reachable.num_agents)

        def alone(own: Tensor) -> Tensor:
            others = own.new_full((1, reachable.num_agents, len(own)), torch.nan)
            others[0, self.index] = own
            return others

        state = self._scheduled.get(self._round, row.new_zeros(scheduler.carried_dim(layer.msg_channels)))
        moment, edges = self._moment(episode, step, reachable.num_agents), reachable.to_layout(Layout.SPARSE)
        msg = self._read(coded(self.policy.wire.codec, self._rows("gate", moment), moment).msg)
        now = Situation(alone(row), alone(msg), edges, alone(state), moment, key, announced=heard)
        schedule = scheduled(scheduler, now)
        self._schedule, self._scheduled[self._round] = schedule, schedule.state[0, self.index]
        if schedule.log_prob is not None:
            self._wire_log_prob = self._wire_log_prob + schedule.log_prob[0, self.index]
        # What came out for edges of others is made of NaN.
        used = schedule.graph.to_layout(Layout.SPARSE)
        return used.keep(used.edge_index[int(scheduler.decider is Decider.RECEIVER)] == self.index)

    def _announcements(self, announced: Tensor | None, num_agents: int) -> Tensor:
        """``[1, N, S]``, or why there are none for one agent alone."""
        row, scheduler = self._open_row("gate"), self.policy.wire.scheduler
        if scheduler.decider is Decider.TEAM:
            raise ConfigError(
                f"{type(scheduler).__name__} cannot be run by one agent, it needs {scheduler.needs}: expected a "
                "scheduler that its sender or receiver can decide."
            )
        announced = row.new_zeros(num_agents, 0) if announced is None else announced
        width = scheduler.announce(row).shape[-1]
        if announced.shape != (num_agents, width):
            raise ShapeError(
                f"Expected the announcements [N={num_agents}, S={width}] of all agents, got {list(announced.shape)}: "
                "use agent.announce()."
            )
        return announced.unsqueeze(0)

    def say(self, episode: int = 0, step: int = 0) -> Tensor:
        """The message ``[M]`` of this round, as it is read; where ``gate`` was called, the one its scheduler sends.

        ``episode`` and ``step`` name the draws of the codec.

        Raises:
            NonFiniteError: the agent would say NaN or infinity. What is broken in it is not shared: it says nothing.
        """
        if self._schedule is not None:
            return self._schedule.msg[0, self.index]
        moment = self._moment(episode, step, self.index + 1)
        return self._read(coded(self.policy.wire.codec, self._rows("say", moment), moment).msg)

    def say_bytes(self, episode: int = 0, step: int = 0) -> bytes | None:
        """The message of this round as it goes over a real wire, ceil(bits / 8) bytes; ``read`` is the inverse.

        None where no new message goes out, because the scheduler has an old one read again: who hears this agent keeps
        the last one that it read.

        Raises:
            StateError: the policy is training, where some codecs send what no wire could carry. NonFiniteError: as in
                ``say``.
        """
        if self.policy.training:
            raise StateError("Bytes are what a trained policy says: expected policy.eval(), got one that trains.")
        moment, said = self._moment(episode, step, self.index + 1), self.say(episode, step)
        packet = self.policy.wire.codec.encode(self._rows("say", moment), moment)
        if self._schedule is not None and not torch.equal(self._decoded(packet, self.index, moment), said):
            return None
        return packet.of(0, self.index).to_bytes()

    def read(self, data: bytes, sender: int, episode: int = 0, step: int = 0) -> Tensor:
        """What ``sender`` said in this round ``[M]``, from its bytes; to ``hear`` it, put it into an ``Inbox``.

        Raises:
            ShapeError: not the bytes of a message of this round. DtypeError: no bytes. ConfigError: ``sender`` is no
                number of an agent.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise DtypeError(f"Agent {self.index}: expected bytes to read, got {type(data).__name__}.")
        _require_number("LocalAgent.read: sender", sender)  # who sends may say what it likes, and rows take memory
        codec, width = self.policy.wire.codec, self._layer("read").msg_channels
        packet = codec.from_bytes(data, width, self._memory.dtype, self._memory.device)
        return self._decoded(packet, sender, replace(self._moment(episode, step, 0), pos=None, alive=None))

    def _decoded(self, packet: Packet, sender: int, moment: Moment) -> Tensor:
        """The codec knows a sender by its row."""
        symbols = packet.symbols.new_zeros(1, sender + 1, packet.symbols.shape[-1])
        symbols[0, sender] = packet.symbols[0, -1]
        decoded: Tensor = self.policy.wire.codec.decode(replace(packet, symbols=symbols), moment)[0, sender]
        return decoded

    def _moment(self, episode: int, step: int, num_agents: int) -> Moment:
        """What this agent knows of the moment: where it is itself, and that it is alive."""
        device = self._memory.device
        when = torch.tensor([episode], device=device), torch.tensor([step], device=device)
        alive = torch.arange(num_agents, device=device).unsqueeze(0) == self.index
        pos = None if self._pos is None else torch.where(alive.unsqueeze(-1), self._pos, torch.nan)
        return Moment(*when, self._round, pos, alive)

    def _rows(self, verb: str, moment: Moment) -> Tensor:
        """``[1, N, M]`` for the codec, which knows a sender by its row and gets NaN in place of the other rows."""
        sent = self._layer(verb).sent(self._open_row(verb))
        assert moment.alive is not None
        rows_1NM = sent.new_full((*moment.alive.shape, len(sent)), torch.nan)
        rows_1NM[0, self.index] = sent
        return rows_1NM

    def _read(self, msg: Tensor) -> Tensor:
        """The own row of what the codec made."""
        said = msg[0, self.index]
        if not bool(said.isfinite().all()):
            raise NonFiniteError(self._why_not_finite("a finite message to say"))
        return said

    def hear(self, inbox: Inbox | Tensor) -> None:
        """End this round with what arrived: an ``Inbox``, or the messages ``[S, M]`` alone (``[0, M]`` for none).

        Raises:
            ShapeError: messages of another width, or not one sender, weight and so on for each.
            NonFiniteError: a message of NaN or infinity; names the sender.
        """
        layer, row = self._layer("hear"), self._open_row("hear")
        inbox = Inbox.of(inbox) if isinstance(inbox, Tensor) else inbox
        self._check_inbox(inbox, layer.msg_channels)
        if self._schedule is not None and self._schedule.deaf is not None and self._schedule.deaf[0, self.index]:
            inbox = inbox.only_from(self.index)
        received = layer.hear(row, inbox.msg, inbox.edge_attr, inbox.edge_weight)
        self._row = self.policy.comm.merge(row, received)
        self._round += 1
        self._schedule = None

    def _check_inbox(self, inbox: Inbox, width: int) -> None:
        who = f"Agent {self.index}"
        given.require_kind(who, "what arrived", inbox, Inbox)
        given.require_made(who, "messages", "[S, M]", inbox.msg, (None, width), self._memory.dtype)
        count = len(inbox.msg)
        checks.require_shape("senders", inbox.senders, (count,), f"[S={count}]")
        if inbox.edge_weight is not None:
            checks.require_shape("edge_weight", inbox.edge_weight, (count,), f"[S={count}]")
        if inbox.edge_attr is not None and inbox.edge_attr.shape[:1] != (count,):
            raise ShapeError(f"Expected edge_attr [S={count}, D], got {list(inbox.edge_attr.shape)}.")
        if not bool(inbox.msg.isfinite().all()):
            sender = int(inbox.senders[(~inbox.msg.isfinite()).any(-1)][0])
            raise NonFiniteError(
                f"Agent {self.index} expected finite messages, but heard from agent {sender} NaN or infinity: leave "
                "out what it says, and mend that agent."
            )

    def decide(
        self, key: int | None = None, episode: int = 0, step: int = 0, action_mask: Tensor | None = None
    ) -> LocalDecision:
        """End the step with an action: sampled with the draws of ``CommPolicy.act``, or the best one if no ``key``.

        Raises:
            ActionMaskError: ``action_mask`` is not bool ``[A]`` or allows nothing.
            NonFiniteError: NaN or infinity in what the agent remembers, or in a weight; names it.
        """
        if self._x is None or self._row is None or self._round < self.num_rounds:
            raise StateError(
                f"Agent {self.index} cannot decide yet: expected an observation and {self.num_rounds} rounds, got "
                f"{'one' if self._x is not None else 'none'} and {self._round}. Call observe(), and say() and hear() "
                "for each round; hear an empty inbox if nobody talks."
            )
        features, memory = self.policy.after_rounds(self._x, self._row, self._memory)
        logits = self._logits(features, action_mask)
        place = (torch.tensor(number, device=logits.device) for number in (episode, step, self.index))
        action = self.policy.actions.choose(logits, key, *place)
        log_prob = self.policy.actions.log_prob(logits, action) + self._wire_log_prob
        if not math.isfinite(log_prob.item()):
            raise NonFiniteError(self._why_not_finite("finite logits"))
        self._begin_step(memory)
        return LocalDecision(action if action.dim() else int(action), log_prob, logits)

    def _why_not_finite(self, what: str) -> str:
        expected = f"Agent {self.index} expected {what}, got NaN or infinity"
        for name, value in self.policy.state_dict().items():
            if value.is_floating_point() and not bool(value.isfinite().all()):
                return f"{expected}: the weight {name!r} holds some. Load the policy again."
        if not bool(self._memory.isfinite().all()):
            return f"{expected}: it remembers some. Call reset()."
        return (
            f"{expected}, though its weights and what it remembers are finite: what it observed or heard is too large."
        )

    def _logits(self, features: Tensor, action_mask: Tensor | None) -> Tensor:
        if action_mask is not None and action_mask.dtype == torch.bool and not bool(action_mask.any()):
            raise ActionMaskError(
                f"Agent {self.index} has no allowed action: allow at least one (for instance 'stay')."
            )
        return self.policy.logits(features, torch.ones((), dtype=torch.bool, device=features.device), action_mask)

    def _layer(self, verb: str) -> CommLayer:
        if self._round == self.num_rounds:
            raise StateError(
                f"Agent {self.index} cannot {verb}: all {self.num_rounds} rounds of this step are over. Call decide()."
            )
        return self.policy.comm.rounds[self._round]

    def _open_row(self, verb: str) -> Tensor:
        if self._row is None:
            raise StateError(f"Agent {self.index} cannot {verb} yet: expected an observation first. Call observe(obs).")
        return self._row

    def __repr__(self) -> str:
        return f"LocalAgent(index={self.index}, rounds={self.num_rounds}, memory={len(self._memory)} numbers)"


_MOST = 2**20
"""Agents that there may be in a team."""


def _require_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MOST:
        raise ConfigError(f"{name} numbers the agents: expected 0 <= index < {_MOST:,}, got {value!r}.")
