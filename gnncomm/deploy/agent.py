"""One agent: the policy's weights, its own row, its inbox."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.deploy.mailbox import Inbox
from gnncomm.errors import ActionMaskError, ConfigError, NonFiniteError, ShapeError, StateError
from gnncomm.graph import CommGraph, Layout
from gnncomm.layers import CommLayer
from gnncomm.moment import Moment
from gnncomm.policy import CommPolicy, Integration
from gnncomm.policy.policy import choose_action, mask_logits
from gnncomm.schedule import Schedule
from gnncomm.types import Observation, SparseObs


@dataclass(frozen=True)
class LocalDecision:
    """What one agent decided."""

    action: int
    log_prob: Tensor  # []
    logits: Tensor  # [A], -inf where masked


class LocalAgent:
    """One agent of a team that shares ``policy``. It never sees another agent's row, only messages.

    A step is ``observe``, then for each round ``say`` and ``hear``, then ``decide``::

        agent.observe(obs)                                   # [D]
        for _ in range(agent.num_rounds):
            mailbox.post(agent.index, agent.say())           # [M] leaves
            agent.hear(mailbox.collect(agent.index))         # [S, M] arrives (all agents post before any collects)
        action = agent.decide(key, episode, step).action

    With ``Integration.PREVIOUS`` messages depend on the memory only, so the rounds may come before ``observe``.
    The agent runs the same functions of the same modules as the joint policy, on its own row: the split-brain law
    (``gnncomm.testing.check_policy``) shows that a team of such agents chooses what the joint policy chooses.

    Args:
        policy: the weights, shared and not copied.
        index: which agent of the team this is, at least 0; names its draws.

    Raises:
        ConfigError: a negative ``index``. StateError: verbs out of order.
    """

    def __init__(self, policy: CommPolicy, index: int = 0) -> None:
        if index < 0:
            raise ConfigError(f"LocalAgent.index numbers the agents: expected index >= 0, got {index}.")
        self.policy, self.index = policy, index
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

    def _begin_step(self, memory: Tensor) -> None:
        self._memory, self._round = memory, 0
        self._x: Tensor | None = None
        self._row: Tensor | None = None
        if self.policy.integration is Integration.PREVIOUS:
            self._row, _ = self.policy.before_rounds(memory.new_zeros(self.policy.hidden), memory)

    def observe(self, obs: Observation) -> None:
        """Take in the own observation of this step: flat ``[D]``, or ``SparseObs`` with ``[K]``.

        Raises:
            NonFiniteError: NaN or infinity. ShapeError, DtypeError: not what the policy's encoder takes.
        """
        if self._x is not None:
            raise StateError(f"Agent {self.index} has observed already: call decide() before the next step.")
        values = obs.value if isinstance(obs, SparseObs) else obs
        if values.dim() != 1:
            raise ShapeError(f"Expected one agent's observation [D] or [K], got {list(values.shape)}.")
        if not bool(values.isfinite().all()):
            raise NonFiniteError(
                f"Agent {self.index} expected a finite observation, got NaN or infinity: mend the sensor."
            )
        self._x = self.policy.encoder(obs)
        if self._row is None:
            self._row, self._memory = self.policy.before_rounds(self._x, self._memory)

    def gate(self, reachable: CommGraph, episode: int = 0, step: int = 0) -> CommGraph:
        """The edges of ``reachable`` (one graph) that this agent's scheduler uses: its own outgoing ones.

        The scheduler gets NaN in place of the rows of others: a gate may look at the sender's row only.
        """
        row = self._open_row("gate")
        outgoing = reachable.to_layout(Layout.SPARSE)
        outgoing = outgoing.keep(outgoing.edge_index[0] == self.index)
        h_1NF = row.new_full((1, reachable.num_agents, len(row)), torch.nan)
        h_1NF[0, self.index] = row
        layer = self._layer("gate")
        msg_1NM = row.new_full((1, reachable.num_agents, layer.msg_channels), torch.nan)
        msg_1NM[0, self.index] = layer.send(row)
        when, now = (torch.tensor([number], device=row.device) for number in (episode, step))
        scheduler = self.policy.wire.scheduler
        state = row.new_zeros(1, reachable.num_agents, scheduler.state_dim(layer.msg_channels))
        schedule: Schedule = scheduler(h_1NF, msg_1NM, outgoing, state, Moment(when, now, self._round), None, None)
        return schedule.graph

    def say(self) -> Tensor:
        """The message ``[M]`` of this round."""
        return self._layer("say").send(self._open_row("say"))

    def hear(self, inbox: Inbox | Tensor) -> None:
        """End this round with what arrived: an ``Inbox``, or the messages ``[S, M]`` alone (``[0, M]`` for none).

        Raises:
            ShapeError: messages of another width.
        """
        layer, row = self._layer("hear"), self._open_row("hear")
        inbox = Inbox.of(inbox) if isinstance(inbox, Tensor) else inbox
        if inbox.msg.dim() != 2 or inbox.msg.shape[1] != layer.msg_channels:
            raise ShapeError(f"Expected messages [S, M={layer.msg_channels}], got {list(inbox.msg.shape)}.")
        received = layer.hear(row, inbox.msg, inbox.edge_attr, inbox.edge_weight)
        self._row = self.policy.comm.merge(row, received)
        self._round += 1

    def decide(
        self, key: int | None = None, episode: int = 0, step: int = 0, action_mask: Tensor | None = None
    ) -> LocalDecision:
        """End the step with an action: sampled with the draws of ``CommPolicy.act``, or the best one if no ``key``.

        Raises:
            ActionMaskError: ``action_mask`` is not bool ``[A]`` or allows nothing.
        """
        if self._x is None or self._row is None or self._round < self.num_rounds:
            raise StateError(
                f"Agent {self.index} cannot decide yet: expected an observation and {self.num_rounds} rounds, got "
                f"{'one' if self._x is not None else 'none'} and {self._round}. Call observe(), and say() and hear() "
                "for each round; hear an empty inbox if nobody talks."
            )
        features, memory = self.policy.after_rounds(self._x, self._row, self._memory)
        logits = self.policy.actor(features)
        if action_mask is not None:
            logits = self._masked(logits, action_mask)
        place = (torch.tensor(number, device=logits.device) for number in (episode, step, self.index))
        action = choose_action(logits, key, *place)
        log_prob = logits.log_softmax(-1)[action]
        self._begin_step(memory)
        return LocalDecision(int(action), log_prob, logits)

    def _masked(self, logits: Tensor, action_mask: Tensor) -> Tensor:
        if action_mask.dtype == torch.bool and action_mask.shape == logits.shape and not bool(action_mask.any()):
            raise ActionMaskError(
                f"Agent {self.index} has no allowed action: allow at least one (for instance 'stay')."
            )
        return mask_logits(logits, action_mask, torch.ones((), dtype=torch.bool, device=logits.device))

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
