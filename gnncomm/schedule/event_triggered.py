"""TMC: talk when there is something new."""

from __future__ import annotations

import torch

from gnncomm.errors import ConfigError
from gnncomm.graph import talkers
from gnncomm.schedule.base import Decider, Schedule, Scheduler, Situation, require_at_least_one


class EventTriggered(Scheduler):
    r"""An agent talks when its message has changed or was sent long ago; receivers reuse the last one (TMC).

    Zhang, Zhang and Lin 2020, `Succinct and Robust Multi-Agent Communication With Temporal Message Control
    <https://arxiv.org/abs/2010.14391>`_, section 3.2:

    .. math::
        j \text{ sends at } t \iff \lVert m_j^t - m_j^{\mathrm{sent}} \rVert^2 > \delta
        \ \text{ or } \ t - t_j^{\mathrm{sent}} \ge \mathrm{timeout}
        \ \text{ or it has not sent in this episode}

    A receiver reads the last message sent while it is at most ``fresh_limit`` steps old; then the edge is missing until
    the next one comes. A reused message costs no bits. Nobody sends while nobody could hear it. The buffer is kept
    with the sender's state: whoever can hear j now reads what j sent last, also where it was out of reach then, and a
    lossy medium loses the *reading* of each step anew (in the paper a lost message leaves the older one in the
    receiver's buffer). Gradients flow back to the step at which the message was sent. The paper's regularisers (smooth
    and robust messages) are not here.

    Decided by the sender: its message and what it sent last. No control traffic.

    Args:
        delta: :math:`\delta`, squared Euclidean distance; positive, since 0 would compare rounding errors.
        timeout: steps after which an unchanged message is sent again.
        fresh_limit: steps for which a message is reused.

    Raises:
        ConfigError: ``delta`` is not positive and finite, ``timeout`` < 1 or ``fresh_limit`` < 0.
    """

    aliases = ("event", "tmc")
    decider = Decider.SENDER
    needs = "the sender: its message and the one it sent last; the receiver: the last message it got"

    def __init__(self, delta: float = 0.1, timeout: int = 5, fresh_limit: int = 5) -> None:
        super().__init__()
        require_at_least_one("EventTriggered", timeout=timeout)
        if not 0 < delta < float("inf"):
            raise ConfigError(f"EventTriggered.delta: expected a finite number > 0, got {delta}. See also Always().")
        if fresh_limit < 0:
            raise ConfigError(f"EventTriggered.fresh_limit: expected a whole number >= 0, got {fresh_limit}.")
        self.delta, self.timeout, self.fresh_limit = delta, timeout, fresh_limit

    def carried_dim(self, msg_channels: int) -> int:
        """The message sent last, and how many steps ago the next step will find it; 0: nothing was sent."""
        return msg_channels + 1

    def forward(self, now: Situation) -> Schedule:
        msg, state = now.msg, now.state
        # Rounds of unequal width share a state as wide as the widest.
        width = msg.shape[-1]
        last_BNM, age_BN = state[..., :width], state[..., -1]
        with torch.no_grad():
            changed_BN = (msg - last_BNM).square().sum(-1) > self.delta
            due_BN = changed_BN | (age_BN >= self.timeout) | (age_BN == 0)
            sent_BN = due_BN & talkers(now.graph).expand_as(due_BN)
            readable_BN = sent_BN | ((age_BN > 0) & (age_BN <= self.fresh_limit))
            older_BN = torch.where(age_BN > 0, age_BN + 1, age_BN)
        held_BNM = torch.where(sent_BN.unsqueeze(-1), msg, last_BNM)
        unused = state[..., width:-1]
        after = torch.cat([held_BNM, unused, torch.where(sent_BN, 1.0, older_BN).unsqueeze(-1)], -1)
        return Schedule(now.graph.keep_where(sender=readable_BN), held_BNM, after, sent=sent_BN)
