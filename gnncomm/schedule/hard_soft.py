"""GA-Comm, G2ANet: hard attention chooses edges, soft attention weighs them."""

from __future__ import annotations

import torch
from torch import Tensor

from gnncomm.graph import talkers
from gnncomm.schedule.base import Decider, Schedule, Scheduler, Situation, require_at_least_one, require_non_negative
from gnncomm.schedule.choice import each_for_itself
from gnncomm.schedule.pair_score import PairScore


class HardSoft(Scheduler):
    r"""The receiver chooses whom to hear, by hard attention over announced signatures (GA-Comm, G2ANet).

    Liu et al. 2020, `Multi-Agent Game Abstraction via Graph Attention Neural Network
    <https://arxiv.org/abs/1911.10715>`_, section 3.2, eq. 3-4, in a form that does not depend on the order of agents:

    .. math::
        \ell_{ji} = \mathrm{MLP}([h_i, s_j]), \quad s_j = W h_j, \qquad
        w_{ji} = \mathrm{GumbelSoftmax}_{\mathrm{hard}}(\ell_{ji})

    The paper runs a bidirectional recurrent network over the sequence of pairs :math:`[h_i, h_j]` instead of the MLP.
    Its soft attention is the layer: with ``AttentionComm`` the softmax runs over the chosen edges only (in the
    released codes, removed edges keep a share of the denominator). Noise in training comes from the moment, there is
    none in execution; edges learn, chosen or not, by ``choice.each_for_itself``.

    Decided by the receiver: its own row and the signatures of those it could hear. Control traffic: a signature of
    ``channels`` numbers per agent and round, and the answer to each chosen sender (1 bit).

    Args:
        in_channels: F.
        channels: C, numbers in a signature.
        price: of each edge, joins the training loss as ``price * P(edge)``.

    Raises:
        ConfigError: a width below 1, or a negative ``price``.
    """

    aliases = ("ga_comm", "g2anet")
    decider = Decider.RECEIVER
    needs = "the receiver: its own row and the announced signatures of the senders; the sender: who asked"

    def __init__(self, in_channels: int, channels: int = 16, price: float = 0.0) -> None:
        super().__init__()
        require_at_least_one("HardSoft", in_channels=in_channels, channels=channels)
        require_non_negative("HardSoft", price=price)
        self.in_channels, self.channels, self.price = in_channels, channels, price
        self.score = PairScore(in_channels, channels)

    def announce(self, h: Tensor) -> Tensor:
        return self.score.signature(h)

    def forward(self, now: Situation) -> Schedule:
        h, edges = now.h, now.edges
        signature = self.announce(h) if now.announced is None else now.announced
        logit = self.score(edges, h, signature)
        chosen, weight = each_for_itself(edges, logit, "hard_soft", self.training)
        cost = self.price * edges.sum_to_sender(logit.sigmoid()) if self.price else None
        signature_bits = signature.shape[-1] * torch.finfo(signature.dtype).bits
        bits = torch.where(talkers(now.graph).expand(h.shape[:-1]), float(signature_bits), h.new_zeros(()))
        asked = edges.sum_to_receiver(chosen.to(h.dtype))
        candidates = edges.weighed(weight) if self.learns_edges else None
        return Schedule(edges.keep(chosen), now.msg, now.state, cost=cost, bits=bits + asked, candidates=candidates)
