"""One agent of a team: it believes, talks, and acts."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from gnncomm.deploy import Inbox, LocalAgent
from gnncomm.errors import StateError
from gnncomm.learn.build import assemble
from gnncomm.multiagent.course import episode_key, floats, mask
from gnncomm.multiagent.settings import Settings, asked
from gnncomm.policy import CommPolicy
from gnncomm.types import TeamSpec


class Agent:
    """One agent of a team. Its beliefs are the memory of its policy.

    Args:
        state_dim: D, width of an observation.
        action_dim: A, number of actions.
        index: which agent of the team this is.
        seed: of the weights and of the draws of actions.
        settings: ``policy``, the weights that are shared with the team; or those of an own policy, whose weights are
            drawn from ``seed``, as ``MultiAgentLearner`` takes them.
    """

    def __init__(
        self,
        state_dim: int,
        action_dim: int,
        *,
        index: int = 0,
        seed: int = 0,
        **settings: Unpack[Settings],
    ) -> None:
        policy = settings.get("policy")
        if len(settings) > 1 or not isinstance(policy, CommPolicy):
            config, objects = asked(TeamSpec(state_dim, action_dim, index + 1), 1, 1, None, seed, settings)
            policy = assemble(config.training(), config.team, objects)
        self.state_dim, self.action_dim, self.seed = state_dim, action_dim, seed
        self.local = LocalAgent(policy, index)
        self.episode, self.time = 0, 0
        self._looked = False

    @property
    def index(self) -> int:
        return self.local.index

    @property
    def beliefs(self) -> Tensor:
        """``[S]``: what the agent remembers."""
        return self.local.memory

    @property
    def moment(self) -> tuple[int, int]:
        """Identity of the episode and step in it, for draws."""
        return episode_key(self.seed, self.episode), self.time

    def reset(self) -> None:
        """Forget everything and begin the next episode."""
        self.place(None, self.episode + 1, 0)

    def place(self, beliefs: Tensor | None, episode: int, time: int) -> None:
        """Continue from these beliefs at this moment."""
        self.episode, self.time, self._looked = episode, time, False
        self.local.reset(beliefs)

    @torch.no_grad()
    def observe(self, obs: Any, position: Any = None) -> None:
        """Look at the own observation ``[D]`` and place ``[P]`` before messages are exchanged.

        Where messages are made of what was seen in the same step (``Integration.BEFORE`` and ``AFTER``).
        """
        device = self.beliefs.device
        seen = floats("an observation", obs, (self.state_dim,), f"[D={self.state_dim}]").to(device, self.beliefs.dtype)
        place = None if position is None else floats("a position", position, (None,), "[P]").to(device)
        self.local.observe(seen, place)
        self._looked = True

    @torch.no_grad()
    def message(self) -> Tensor:
        """``[M]``: what the agent tells the others now."""
        return self.local.say(*self.moment)

    @torch.no_grad()
    def update_beliefs(self, msg: Inbox | Tensor) -> None:
        """Take in what arrived: one message ``[M]``, several ``[S, M]``, or an ``Inbox``. Ends a round."""
        self.local.hear(msg.unsqueeze(0) if isinstance(msg, Tensor) and msg.dim() == 1 else msg)

    @torch.no_grad()
    def select_action(
        self, obs: Any = None, greedy: bool = False, position: Any = None, action_mask: Any = None
    ) -> int | Tensor:
        """Look at the own observation ``[D]``, join it with what was heard, and act.

        Args:
            obs: left out after ``observe``.
            greedy: take the most likely action instead of drawing one.
            position: ``[P]``, with ``obs``.
            action_mask: ``[A]`` bool, what is allowed; None: everything.

        Returns:
            One of A actions; or ``[A]`` numbers, where actions are numbers.

        Raises:
            StateError: no observation, or two. ShapeError: not ``[D]``. ActionMaskError: nothing is allowed.
        """
        if obs is not None:
            self.observe(obs, position)
        elif not self._looked:
            raise StateError(f"Agent {self.index} expected an observation, got none: call select_action(obs).")
        while self.local.round < self.local.num_rounds:  # nobody talked to this agent
            layer = self.local.policy.comm.rounds[self.local.round]
            self.local.hear(self.local.policy.like.new_zeros(0, layer.msg_channels))
        allowed = None
        if action_mask is not None:
            allowed = mask("action_mask", action_mask, (self.action_dim,), f"[A={self.action_dim}]")
        decision = self.local.decide(None if greedy else self.seed, *self.moment, allowed)
        self.time, self._looked = self.time + 1, False
        return decision.action

    def __repr__(self) -> str:
        return f"Agent({self.state_dim}, {self.action_dim}, index={self.index})"
