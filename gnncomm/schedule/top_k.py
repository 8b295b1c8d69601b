"""SchedNet: the k agents that matter most share the medium."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnncomm.gradients import straight_through
from gnncomm.graph import talkers
from gnncomm.random import gumbel, stream
from gnncomm.schedule.base import Decider, Schedule, Scheduler, Situation, Trades, require_at_least_one
from gnncomm.schedule.choice import largest
from gnncomm.types import Moment

WEIGHT_BITS = 16
"""How finely a weight is announced. So agents whose rows are equal have equal weights, whatever the rounding."""


class TopK(Scheduler):
    r"""The k agents with the largest learned weights talk (SchedNet).

    Kim et al. 2019, `Learning to Schedule Communication in Multi-agent Reinforcement Learning
    <https://arxiv.org/abs/1902.01554>`_, section 3.2:

    .. math::
        w_j = \sigma(\mathrm{MLP}(h_j)), \qquad j \text{ talks iff } w_j \text{ is one of the } k \text{ largest}

    of those agents whom somebody could hear; ties go to the smaller index. In training the k are drawn without
    replacement with probabilities in proportion to :math:`w` (Gumbel top-k; the paper's Softmax(k) likewise samples),
    with noise from the moment. The weights learn by ``choice.largest``: what it would have brought, had j traded places
    with the last that talked or the first that did not; with ``taught`` as in the paper, by a critic of their own (the
    loss ``schednet``).

    Decided by everyone's announced weight, not by an edge's two ends. The paper realises it in a distributed way by
    contention (a back-off that shrinks with the weight); here each agent announces its weight: 16 bits of control
    traffic per agent and round, heard by everyone.

    Args:
        in_channels: F.
        k: how many talk.
        channels: hidden width of the MLP.
        taught: by a loss that knows what weights are worth: the policy's own does not reach them.

    Raises:
        ConfigError: a number below 1.
    """

    aliases = ("top_k", "schednet")
    trades = True
    decider = Decider.ANNOUNCED
    needs = "every agent: the announced weights of all others (or a medium with contention)"

    def __init__(self, in_channels: int, k: int = 1, channels: int = 32, taught: bool = False) -> None:
        super().__init__()
        require_at_least_one("TopK", in_channels=in_channels, k=k, channels=channels)
        self.in_channels, self.k, self.channels, self.taught = in_channels, k, channels, taught
        self.net = nn.Sequential(nn.Linear(in_channels, channels), nn.ReLU(), nn.Linear(channels, 1))

    @property
    def learns_edges(self) -> bool:
        return not self.taught and super().learns_edges

    def announce(self, h: Tensor) -> Tensor:
        weight: Tensor = self.net(h).sigmoid()
        steps = 2**WEIGHT_BITS
        # Never 0, so that there is a logarithm.
        return straight_through((weight * steps).floor().add(0.5) / steps, weight)

    def forward(self, now: Situation) -> Schedule:
        weight_BN = (self.announce(now.h) if now.announced is None else now.announced).squeeze(-1)
        competes_BN = talkers(now.graph).expand_as(weight_BN)
        noise = self._noise(weight_BN, now.moment) if self.training else None
        talks_BN, learned_BN, ends = largest(torch.where(competes_BN, weight_BN.log(), -torch.inf), noise, self.k)
        used = now.graph.keep_where(sender=talks_BN)
        bits_BN = torch.where(competes_BN, float(WEIGHT_BITS), weight_BN.new_zeros(()))
        if not self.learns_edges:
            return Schedule(used, now.msg, now.state, bits=bits_BN)
        last_BN, first_BN = (end.unsqueeze(-1).expand_as(talks_BN) for end in (ends.last, ends.first))
        candidates = now.edges.weighed(now.edges.of_sender(learned_BN))
        trades = Trades(last_BN, first_BN, learned_BN)
        return Schedule(used, now.msg, now.state, bits=bits_BN, candidates=candidates, trades=trades)

    def _noise(self, weight_BN: Tensor, moment: Moment) -> Tensor:
        agent_N = torch.arange(weight_BN.shape[1], device=weight_BN.device)
        key_B1 = stream(moment.key, "top_k").unsqueeze(-1)
        return gumbel(key_B1, moment.step.unsqueeze(-1), moment.round, agent_N, dtype=weight_BN.dtype)
