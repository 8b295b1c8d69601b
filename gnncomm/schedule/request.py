"""I2C: ask those whose answer would matter."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnncomm.errors import ShapeError
from gnncomm.schedule.base import Decider, Schedule, Scheduler, Situation, require_at_least_one, require_non_negative
from gnncomm.schedule.choice import each_for_itself


class Request(Scheduler):
    r"""The receiver asks an agent by name where its prior network says so, and that agent replies (I2C).

    Ding, Huang and Lu 2020, `Learning Individually Inferred Communication for Multi-Agent Cooperation
    <https://arxiv.org/abs/2006.06455>`_, section 3.1:

    .. math::
        p_{ij} = \sigma(\mathrm{MLP}([h_i, \mathrm{id}_j])), \qquad j \to i \text{ is used iff } p_{ij} > 1/2

    The paper labels :math:`p_{ij}` by the effect that j's action has on i's value, as ``taught`` with the loss ``i2c``
    does. Else it is learned from the policy's own loss: in training an edge is used with probability :math:`p_{ij}`
    (noise from the moment), and learns by ``choice.each_for_itself`` what it brought or would have brought. The one-hot
    :math:`\mathrm{id}_j` names agents, so a policy with this scheduler is for teams of one size and tells its members
    apart.

    Decided by the receiver: its own row and the index of the sender. Control traffic: a request of
    :math:`\lceil \log_2 N \rceil` bits (the name), counted for the receiver, which needs a link back to the sender.

    Args:
        in_channels: F.
        num_agents: N.
        channels: hidden width of the MLP.
        price: of each request, joins the training loss as ``price * p``.
        taught: by a loss that labels it (``losses`` i2c, cacom, dcc): nothing is drawn in training, and the policy's
            own loss does not reach it.

    Raises:
        ConfigError: a number below 1, a negative ``price``. ShapeError: a team of another size.
    """

    aliases = ("prior", "i2c")
    decider = Decider.RECEIVER
    needs = "the receiver: its own row and the sender's index; the sender: the request"

    def __init__(
        self, in_channels: int, num_agents: int, channels: int = 32, price: float = 0.0, taught: bool = False
    ) -> None:
        super().__init__()
        require_at_least_one("Request", in_channels=in_channels, num_agents=num_agents, channels=channels)
        require_non_negative("Request", price=price)
        self.in_channels, self.num_agents = in_channels, num_agents
        self.channels, self.price, self.taught = channels, price, taught
        self.lin_receiver = nn.Linear(in_channels, channels)
        self.id_embedding = nn.Embedding(num_agents, channels)
        self.lin_score = nn.Linear(channels, 1)

    @property
    def learns_edges(self) -> bool:
        return not self.taught and super().learns_edges

    def pair_logit(self, h: Tensor) -> Tensor:
        hidden = self.lin_receiver(h).unsqueeze(-3) + self.id_embedding.weight.unsqueeze(-2)
        logit: Tensor = self.lin_score(hidden.relu()).squeeze(-1)
        return logit

    def forward(self, now: Situation) -> Schedule:
        h, edges = now.h, now.edges
        if h.shape[1] != self.num_agents:
            raise ShapeError(f"Request names {self.num_agents} agents: expected a team of as many, got {h.shape[1]}.")
        hidden = edges.of_receiver(self.lin_receiver(h)) + self.id_embedding(edges.sender)
        logit = self.lin_score(hidden.relu()).squeeze(-1).expand(edges.shape)
        chosen, weight = each_for_itself(edges, logit, "request", self.training and not self.taught)
        cost = self.price * edges.sum_to_receiver(logit.sigmoid()) if self.price else None
        name_bits = (self.num_agents - 1).bit_length()
        with torch.no_grad():
            bits = name_bits * edges.sum_to_receiver(chosen.to(h.dtype))
        candidates = edges.weighed(weight) if self.learns_edges else None
        return Schedule(edges.keep(chosen), now.msg, now.state, cost=cost, bits=bits, candidates=candidates)
