"""CommFormer: one learned graph for the team."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnncomm.errors import ConfigError, ShapeError
from gnncomm.graph import CommGraph
from gnncomm.moment import Moment
from gnncomm.random import gumbel, stream
from gnncomm.schedule.base import Decider, Schedule, Scheduler, require_at_least_one, require_positive
from gnncomm.schedule.edges import Candidates, straight_through


class LearnedStatic(Scheduler):
    r"""One learned graph for the team, in which each agent hears k others (CommFormer).

    Hu et al. 2024, `Learning Multi-Agent Communication from Graph Modeling Perspective
    <https://arxiv.org/abs/2405.08550>`_, section 4.2: with parameters :math:`\theta_{ji}`,

    .. math::
        y_{ji} = \mathrm{softmax}_j((\theta_{ji} + \gamma_{ji}) / \tau), \qquad
        A_{ji} = [\, y_{ji} \text{ is one of the } k \text{ largest of } i \,]

    with Gumbel noise :math:`\gamma` in training and none in execution, and a straight-through gradient. The noise is
    drawn once per episode, so that a graph stays as it is until the end. An edge is used where the topology has it,
    too. The paper's first updates with a soft graph are not here.

    ``graph_parameters`` are :math:`\theta`: with ``PPOConfig.graph_every = n`` every n-th pass over a rollout trains
    them alone and the others train the rest (the paper's bilevel update, n = 5).

    Decided by nobody's row: everyone knows the graph. No control traffic. For teams of one size.

    Args:
        num_agents: N.
        k: how many others each agent hears.
        tau: temperature of the softmax.

    Raises:
        ConfigError: not 1 <= ``k`` < ``num_agents``, or ``tau`` not positive. ShapeError: a team of another size.
    """

    aliases = ("commformer",)
    decider = Decider.NOBODY
    needs = "everyone: the learned graph"

    def __init__(self, num_agents: int, k: int = 1, tau: float = 1.0) -> None:
        super().__init__()
        require_at_least_one("LearnedStatic", num_agents=num_agents, k=k)
        require_positive("LearnedStatic", tau=tau)
        if k >= num_agents:
            raise ConfigError(f"LearnedStatic.k counts others: expected k < num_agents={num_agents}, got {k}.")
        self.num_agents, self.k, self.tau = num_agents, k, tau
        self.theta = nn.Parameter(0.01 * torch.randn(num_agents, num_agents))

    def graph_parameters(self) -> list[nn.Parameter]:
        return [self.theta]

    def forward(
        self,
        h: Tensor,
        msg: Tensor,
        graph: CommGraph,
        state: Tensor,
        moment: Moment,
        key: int | Tensor | None,
        choice: Tensor | None,
        announced: Tensor | None = None,
    ) -> Schedule:
        if graph.num_agents != self.num_agents:
            raise ShapeError(
                f"LearnedStatic is a graph of {self.num_agents} agents: expected a team of as many, got {h.shape[1]}."
            )
        own_NN = torch.eye(self.num_agents, dtype=torch.bool, device=h.device)
        logit_BNN = torch.where(own_NN, -torch.inf, self.theta + self._noise(moment))
        soft_BNN = (logit_BNN / self.tau).softmax(-2)
        with torch.no_grad():
            rank_BNN = logit_BNN.argsort(dim=-2, descending=True, stable=True).argsort(-2)
            chosen_BNN = rank_BNN < self.k
        edges = Candidates(graph, len(h))
        shared = len(chosen_BNN) == 1
        place = (torch.zeros_like(edges.environment) if shared else edges.environment), edges.sender, edges.receiver
        weight = straight_through(torch.ones_like(soft_BNN), soft_BNN)
        return Schedule(edges.kept(chosen_BNN[place], weight[place]), msg, state)

    def _noise(self, moment: Moment) -> Tensor:
        if not self.training:
            return self.theta.new_zeros(1, 1, 1)
        agent_N = torch.arange(self.num_agents, device=self.theta.device)
        key_B11 = stream(moment.key, "learned_static").view(-1, 1, 1)
        return gumbel(key_B11, moment.round, agent_N.unsqueeze(-1), agent_N, dtype=self.theta.dtype)
