"""What a policy takes and gives: states, decisions, evaluations."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor

from gnncomm.policy.rounds import Talk, WireState
from gnncomm.types import Batch


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
    """What a team carries from step to step; ``CommPolicy.initial_state`` makes the first."""

    memory: Tensor  # [B, N, S]
    wire: WireState  # what is in flight between them


@dataclass(frozen=True)
class Decision(Batch):
    """What a team decided at one step, and by what each decision is to be judged.

    The action of a step comes after the K rounds, the choices of round k come before it. So each has a probability and
    a baseline of its own: ``value`` may know all choices of the step, ``baseline[..., k]`` knows those of rounds < k
    only. Values are as the critic says them (normalised where the learner normalises returns).
    """

    action: Tensor  # [B, N] int64, or [B, N, A] numbers
    choice: Tensor  # [B, N, K * C] int64: decisions of the scheduler
    log_prob: Tensor  # [B, N] of the action
    choice_log_prob: Tensor  # [B, N, K] of the choices in each round; K = 0 where the scheduler samples nothing
    value: Tensor  # [B, N] baseline of the action: the critic on the features that the action is drawn from
    baseline: Tensor  # [B, N, K] baseline of the choices in each round, from rows before it
    logits: Tensor  # [B, N, P] that tell the distribution of the action; -inf where one of A is masked
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
    rows: Tensor  # [T, B, N, H] that entered the first round of communication
    logits: Tensor  # [T, B, N, P] that tell the distribution of the action; -inf where one of A is masked
    heard: Tensor  # [T, B, N, N] bool: who heard whom in some round; [T, B, N, 0] where no mixer looks at it
