"""What a scheduler is: who does talk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from gnncomm.graph import CommGraph
from gnncomm.moment import Moment
from gnncomm.types import Batch


@dataclass(frozen=True)
class Schedule(Batch):
    """Who talks in one round; what is None does not occur."""

    graph: CommGraph  # the edges that are used, with a differentiable ``weight`` where the choice is learned
    msg: Tensor  # [B, N, M] what is sent over them
    state: Tensor  # [B, N, Z] what each sender carries to the same round of the next step
    choice: Tensor | None = None  # [B, N, C] int64: sampled decisions, recorded with the action
    log_prob: Tensor | None = None  # [B, N] of ``choice``; joins the log-probability of the action
    entropy: Tensor | None = None  # [B, N] of the distribution of ``choice``
    cost: Tensor | None = None  # [B, N] term of the training loss


class Scheduler(nn.Module, ABC):
    """Who does talk, of those who could. A module, because gates and learned edges have weights.

    A gate of agent j may look at row j only, so that a deployed agent can decide alone; a scheduler that needs more
    says what in its docstring.
    """

    aliases: ClassVar[tuple[str, ...]] = ()
    num_choices: ClassVar[int] = 0
    """C, sampled decisions of each agent in a round."""

    def state_dim(self, msg_channels: int) -> int:
        """Z, numbers that each agent carries from step to step; zeros at the beginning of an episode."""
        return 0

    @abstractmethod
    def forward(
        self,
        h: Tensor,
        msg: Tensor,
        graph: CommGraph,
        state: Tensor,
        moment: Moment,
        key: int | Tensor | None,
        choice: Tensor | None,
    ) -> Schedule:
        """Decide one round.

        Args:
            h: ``[B, N, F]``, rows before the round.
            msg: ``[B, N, M]``, messages as the receivers would read them.
            graph: who could hear whom.
            state: ``[B, N, Z]``.
            moment: episode, step and round: with ``key`` the only source of randomness.
            key: names the draws of decisions that are part of the policy; None takes the most likely ones.
            choice: ``[B, N, C]`` recorded decisions to evaluate instead of deciding anew.
        """
