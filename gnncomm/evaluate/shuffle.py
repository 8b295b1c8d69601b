"""The control that shows whether messages matter: every message replaced by one from another episode."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from gnncomm.channel import Channel, Delivery, Ideal
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.moment import Moment
from gnncomm.shapes import Float


@dataclass(frozen=True)
class Shuffled(Channel):
    """Environment b hears, from each agent and in each round, what that agent says in environment b - 1.

    Messages keep their size, their sender, their edges and their distribution, and lose what they say about the episode
    at hand. What ``inner`` does to edges and messages it still does. Environment 0 hears the last one, so with at
    least two environments nobody hears its own episode; an agent's message to itself is replaced, too.

    This is a control of an evaluation, not a medium: it breaks the rule that environments do not see each other.
    """

    inner: Channel = field(default_factory=Ideal)

    def state_dim(self, msg_channels: int, num_agents: int) -> int:
        return self.inner.state_dim(msg_channels, num_agents)

    def carry(self, msg: Float[Tensor, "B N M"], graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        """What ``inner`` delivers, with the messages of the environment before.

        Raises:
            ConfigError: there is only one environment.
        """
        if len(msg) < 2:
            raise ConfigError(
                f"Shuffled messages come from another episode: expected at least 2 environments, got {len(msg)}. "
                "Make the environment with num_envs=2 or more."
            )
        delivery = self.inner.carry(msg, graph, state, moment)
        swapped = tuple(replace(arrival, msg=arrival.msg.roll(1, dims=0)) for arrival in delivery.arrivals)
        return replace(delivery, arrivals=swapped)
