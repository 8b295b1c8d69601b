"""IC3Net: each agent decides whether to talk."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnncomm.random import gumbel, stream
from gnncomm.schedule.base import Decider, Schedule, Scheduler, Situation, require_at_least_one, require_non_negative
from gnncomm.types import Moment


class Gate(Scheduler):
    r"""Each agent samples from its own row whether it talks in this round (IC3Net).

    Singh, Jain and Sukhbaatar 2019, `Learning when to Communicate at Scale in Multiagent Cooperative and Competitive
    Tasks <https://arxiv.org/abs/1812.09755>`_, section 3.2:

    .. math::
        g_j \sim \mathrm{softmax}(W h_j + b), \qquad j \to i \text{ is used iff } g_j = 1

    The gate is an action of the policy: its log-probability and entropy join those of the action, drawn with the same
    key; greedy play takes the likelier one. A gate that cannot have an effect (the first step with ``first_silent``)
    has log-probability 0. In the reference the gate sampled at one step is used at the next, on the memory of the step
    between: with ``Integration.PREVIOUS`` rows are that memory already, so ``delayed`` stays False there and True gives
    the same delay with the other integrations. What the divisor of a mean counts is the layer's business
    (the reference: all living others; ``MeanComm``: those who talk).

    Decided by the sender (``two_way``: and the receiver, for itself). No control traffic.

    Args:
        in_channels: F.
        delayed: use at each step what was decided at the step before (the first step: ``first_silent`` decides).
        first_silent: nobody talks at the first step of an episode, as in the reference.
        two_way: an agent that is silent hears nothing either, as in the reference's code.
        price: of talking, joins the training loss as ``price * P(talk)``.
        taught: by a loss that labels it (``losses`` atoc, cacom): the likelier one is taken, in training, too, and is
            no action of the policy.

    Raises:
        ConfigError: ``in_channels`` < 1 or a negative ``price``.
    """

    aliases = ("ic3net",)
    num_choices: int = 1
    decider = Decider.SENDER
    needs = "the sender: its own row; with two_way the receiver, too: its own row"

    def __init__(
        self,
        in_channels: int,
        delayed: bool = False,
        first_silent: bool = False,
        two_way: bool = False,
        price: float = 0.0,
        taught: bool = False,
    ) -> None:
        super().__init__()
        require_at_least_one("Gate", in_channels=in_channels)
        require_non_negative("Gate", price=price)
        self.in_channels = in_channels
        self.delayed, self.first_silent, self.two_way, self.price = delayed, first_silent, two_way, price
        self.taught = taught
        if taught:
            self.num_choices = 0
        self.lin = nn.Linear(in_channels, 2)

    def pair_logit(self, h: Tensor) -> Tensor:
        r"""The same for all who hear j: :math:`\ell_{j1} - \ell_{j0}`."""
        logit_BN2: Tensor = self.lin(h)
        return (logit_BN2[..., 1:] - logit_BN2[..., :1]).expand(*h.shape[:-1], h.shape[-2])

    def carried_dim(self, msg_channels: int) -> int:
        return int(self.delayed)

    def forward(self, now: Situation) -> Schedule:
        log_p_BN2 = self.lin(now.h).log_softmax(-1)
        key = None if self.taught else now.key
        choice = self._choose(log_p_BN2, key, now.moment) if now.choice is None or self.taught else now.choice
        talks_BN, state, matters_B1 = self._in_effect(choice.squeeze(-1) == 1, now.state, now.moment)
        used, deaf = now.graph.keep_where(sender=talks_BN), ~talks_BN if self.two_way else None
        if self.taught:
            return Schedule(used, now.msg, state, deaf=deaf)
        p_BN2 = log_p_BN2.exp()
        return Schedule(
            used,
            now.msg,
            state,
            choice,
            torch.where(matters_B1, log_p_BN2.gather(-1, choice).squeeze(-1), 0.0),
            torch.where(matters_B1, -(p_BN2 * log_p_BN2).sum(-1), 0.0),
            torch.where(matters_B1, self.price * p_BN2[..., 1], 0.0) if self.price else None,
            deaf=deaf,
        )

    def _choose(self, log_p_BN2: Tensor, key: int | Tensor | None, moment: Moment) -> Tensor:
        if key is None:
            return log_p_BN2.argmax(-1, keepdim=True)
        agent_N1 = torch.arange(log_p_BN2.shape[1], device=log_p_BN2.device).unsqueeze(-1)
        option_2 = torch.arange(2, device=log_p_BN2.device)
        episode, step = moment.key.view(-1, 1, 1), moment.step.view(-1, 1, 1)
        noise = gumbel(stream(key, "gate"), episode, step, moment.round, agent_N1, option_2, dtype=torch.float64)
        return (log_p_BN2 + noise).argmax(-1, keepdim=True)

    def _in_effect(self, decided_BN: Tensor, state: Tensor, moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
        """Who talks now, what is carried on, and where ``[B, 1]`` the decision of this step can have an effect."""
        first_B1 = (moment.step == 0).unsqueeze(-1)
        if not self.delayed:
            silenced_B1 = first_B1 & self.first_silent
            return decided_BN & ~silenced_B1, state, ~silenced_B1
        before_BN = torch.where(first_B1, not self.first_silent, state.squeeze(-1) == 1)
        return before_BN, decided_BN.unsqueeze(-1).to(state.dtype), torch.ones_like(first_B1)
