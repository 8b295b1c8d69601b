"""CommFormer: one learned graph for the team."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from gnncomm.errors import ConfigError, ShapeError
from gnncomm.random import gumbel, stream
from gnncomm.schedule.base import Decider, Schedule, Scheduler, Situation, require_at_least_one
from gnncomm.schedule.choice import largest
from gnncomm.schedule.gate import Gate
from gnncomm.types import Moment


class LearnedStatic(Scheduler):
    r"""One learned graph for the team, in which each agent hears k others (CommFormer).

    Hu et al. 2024, `Learning Multi-Agent Communication from Graph Modeling Perspective
    <https://arxiv.org/abs/2405.08550>`_, section 4.2: with parameters :math:`\theta_{ji}`,

    .. math::
        A_{ji} = [\, \theta_{ji} + \gamma_{ji} \text{ is one of the } k \text{ largest of } i \,]

    with Gumbel noise :math:`\gamma` in training and none in execution. The noise is drawn once per episode, so that a
    graph stays as it is until the end. An edge is used where the topology has it, too. The parameters learn by
    ``choice.largest``: what it would have brought, had j traded places with the last sender that i hears or the first
    that it does not. The paper has the straight-through gradient of a softmax instead; its first updates with a soft
    graph are not here.

    ``graph_parameters`` are :math:`\theta`: with ``PPOConfig.graph_every = n`` every n-th pass over a rollout trains
    them alone and the others train the rest (the paper's bilevel update, n = 5).

    With ``gate``, each agent samples from its own row whether it reads what arrives in this step, as ``Gate`` does for
    talking (Hu, Shen, Zhang and Tao 2024, `Communication Learning in Multi-Agent Systems from Graph Modeling
    Perspective <https://arxiv.org/abs/2411.00382>`_, the temporal gate). It is an action of the policy here; there it
    has the straight-through gradient of a softmax.

    Decided by nobody's row, everyone knows the graph; with ``gate`` by the receiver. No control traffic. For teams of
    one size.

    Args:
        num_agents: N.
        k: how many others each agent hears.
        share: k as a share of N, rounded down, at least 1; 0 leaves it as it is (the paper: 0.4).
        gate: whether an agent may decide not to read.
        in_channels: F, which the gate reads.

    Raises:
        ConfigError: not 1 <= ``k`` < ``num_agents``. ShapeError: a team of another size.
    """

    aliases = ("commformer",)
    trades = True
    decider = Decider.NOBODY
    needs = "everyone: the learned graph"

    def __init__(
        self, num_agents: int, k: int = 1, share: float = 0.0, gate: bool = False, in_channels: int | None = None
    ) -> None:
        super().__init__()
        require_at_least_one("LearnedStatic", num_agents=num_agents, k=k)
        if not 0 <= share < 1:
            raise ConfigError(f"LearnedStatic.share is one of num_agents: expected 0 <= share < 1, got {share}.")
        k = max(1, int(share * num_agents)) if share else k
        if k >= num_agents:
            raise ConfigError(f"LearnedStatic.k counts others: expected k < num_agents={num_agents}, got {k}.")
        self.num_agents, self.k = num_agents, k
        self.theta = nn.Parameter(0.01 * torch.randn(num_agents, num_agents))
        self.gate: Gate | None = None
        if gate:
            if in_channels is None:
                raise ConfigError("LearnedStatic.gate reads rows: expected in_channels, the width of a row.")
            self.in_channels, self.gate = in_channels, Gate(in_channels)
            self.num_choices, self.decider = self.gate.num_choices, Decider.RECEIVER

    def graph_parameters(self) -> list[nn.Parameter]:
        return [self.theta]

    def forward(self, now: Situation) -> Schedule:
        num_envs, num_agents = now.h.shape[:2]
        if num_agents != self.num_agents:
            raise ShapeError(
                f"LearnedStatic is a graph of {self.num_agents} agents: expected a team of as many, got {num_agents}."
            )
        own_NN = torch.eye(self.num_agents, dtype=torch.bool, device=self.theta.device)
        theta_NN = torch.where(own_NN, -torch.inf, self.theta).t()  # receiver, sender
        noise_BNN = self._noise(now.moment) if self.training else None
        chosen_BNN, weight_BNN, trades = largest(theta_NN.expand(num_envs, -1, -1), noise_BNN, self.k)
        schedule = Schedule(now.graph.keep_where(pair=chosen_BNN.transpose(1, 2)), now.msg, now.state)
        if self.gate is not None:
            read = self.gate(now)
            of_policy = {"choice": read.choice, "log_prob": read.log_prob, "entropy": read.entropy}
            schedule = replace(schedule, deaf=read.choice.squeeze(-1) == 0, **of_policy)
        if not self.learns_edges:
            return schedule
        weight = weight_BNN[now.edges.environment, now.edges.receiver, now.edges.sender]
        return replace(schedule, candidates=now.edges.weighed(weight), trades=trades)

    def _noise(self, moment: Moment) -> Tensor:
        """``[B, receiver, sender]``."""
        agent_N = torch.arange(self.num_agents, device=self.theta.device)
        key_B11 = stream(moment.key, "learned_static").view(-1, 1, 1)
        return gumbel(key_B11, moment.round, agent_N, agent_N.unsqueeze(-1), dtype=self.theta.dtype)
