"""The control that shows whether messages matter: every message replaced by one from another episode."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from gnncomm.channel import Channel, Ideal
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.shapes import Float, Int


@dataclass(frozen=True)
class Shuffled(Channel):
    """Environment b hears, from each agent and in each round, what that agent says in environment b - 1.

    Messages keep their size, their sender, their edges and their distribution, and lose what they say about the episode
    at hand. What ``inner`` does to edges and messages it still does. Environment 0 hears the last one, so with at
    least two environments nobody hears its own episode; an agent's message to itself is replaced, too.

    This is a control of an evaluation, not a medium: it breaks the rule that environments do not see each other.
    """

    inner: Channel = field(default_factory=Ideal)

    def deliver(self, graph: CommGraph, key: Int[Tensor, " B"], step: Int[Tensor, " B"]) -> CommGraph:
        return self.inner.deliver(graph, key, step)

    def transmit(
        self,
        msg: Float[Tensor, "B N M"],
        key: Int[Tensor, " B"],
        step: Int[Tensor, " B"],
        round: int,
    ) -> Float[Tensor, "B N M"]:
        """The messages of the environment before.

        Raises:
            ConfigError: there is only one environment.
        """
        if len(msg) < 2:
            raise ConfigError(
                f"Shuffled messages come from another episode: expected at least 2 environments, got {len(msg)}. "
                "Make the environment with num_envs=2 or more."
            )
        return self.inner.transmit(msg, key, step, round).roll(1, dims=0)
