"""MAGIC: a scheduler that sees the whole team draws the graph."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch_geometric.nn import GATConv

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.moment import Moment
from gnncomm.schedule.base import (
    Decider,
    Schedule,
    Scheduler,
    require_at_least_one,
    require_non_negative,
    require_positive,
)
from gnncomm.schedule.edges import Candidates, hard_edges
from gnncomm.schedule.pair_score import PairScore


class GumbelEdges(Scheduler):
    r"""Every edge is drawn from encodings of both its ends, made by attention over the team (MAGIC).

    Niu, Paleja and Gombolay 2021, `Multi-Agent Graph-Attention Communication and Teaming
    <https://www.ifaamas.org/Proceedings/aamas2021/pdfs/p964.pdf>`_, section 4.2:

    .. math::
        e = \mathrm{GAT}(h), \qquad \ell_{ji} = \mathrm{MLP}([e_i, e_j]), \qquad
        A_{ji} = \mathrm{GumbelSoftmax}_{\mathrm{hard}}(\ell_{ji})

    (two logits there, whose difference is :math:`\ell` here). Attention runs over whoever could be heard, and the agent
    itself; its heads are averaged. Edges that are drawn carry a weight of value 1 and a straight-through gradient. In
    training the noise comes from the moment; in execution an edge is used iff :math:`\ell_{ji} > 0`.

    Decided by the team: as in the reference, whoever decides needs the rows of both ends and of all that these could
    hear. Nothing is announced, and a deployed team cannot run it; ``HardSoft`` is the form that it can. Control
    traffic is not counted.

    Args:
        in_channels: F.
        channels: width of the encoding and of the MLP.
        heads: of the attention; 0 leaves the encoder out (:math:`e = h`), then both ends alone decide.
        undirected: average the logits of both directions and draw them together.
        self_loops: ``kept`` as the topology has them, ``none``, ``forced``, or ``learned`` like any other edge.
        tau: temperature of the gradient.
        price: of each edge, joins the training loss as ``price * P(edge)``.
        reopen: keep edges that were not drawn while training, with weight 0 and a gradient that says what they would
            have brought, as in the reference. Without it only open edges learn, and once closed they rarely open
            again. For layers to which an edge of weight 0 is no edge, such as MAGIC's.

    Raises:
        ConfigError: a width below 1, negative ``heads`` or ``price``, ``tau`` not positive.
        GraphError: self-loops are to be added to a graph with edge attributes.
    """

    aliases = ("magic",)
    decider = Decider.TEAM
    needs = "one place: the rows of both ends and of all whom these could hear"

    def __init__(
        self,
        in_channels: int,
        channels: int = 32,
        heads: int = 4,
        undirected: bool = False,
        self_loops: Literal["kept", "none", "forced", "learned"] = "kept",
        tau: float = 1.0,
        price: float = 0.0,
        reopen: bool = False,
    ) -> None:
        super().__init__()
        require_at_least_one("GumbelEdges", in_channels=in_channels, channels=channels)
        require_non_negative("GumbelEdges", heads=heads, price=price)
        require_positive("GumbelEdges", tau=tau)
        if self_loops not in ("kept", "none", "forced", "learned"):
            raise ConfigError(f"GumbelEdges.self_loops: expected kept, none, forced or learned, got {self_loops!r}.")
        self.in_channels, self.channels, self.heads = in_channels, channels, heads
        self.undirected, self.self_loops, self.tau = undirected, self_loops, tau
        self.price, self.reopen = price, reopen
        self.encoder = GATConv(in_channels, channels, heads, concat=False) if heads else None
        self.score = PairScore(channels if heads else in_channels, channels)

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
        encoding = self._encode(h, graph)
        if self.self_loops in ("forced", "learned"):
            graph = graph.with_self_loops()
        edges = Candidates(graph, len(h))
        signature = self.score.signature(encoding)
        logit = self.score(edges, encoding, signature)
        if self.undirected:
            logit = (logit + self.score.reverse(edges, encoding, signature)) / 2
        chosen, weight = hard_edges(
            edges, logit, moment, "gumbel_edges", self.tau, self.training, symmetric=self.undirected
        )
        if self.reopen and self.training:
            chosen = torch.ones_like(chosen)
        if self.self_loops == "none":
            chosen = chosen & ~edges.own
        cost = self.price * edges.sum_to_sender(logit.sigmoid()) if self.price else None
        return Schedule(edges.kept(chosen, weight, self.self_loops in ("kept", "forced")), msg, state, cost=cost)

    def _encode(self, h: Tensor, graph: CommGraph) -> Tensor:
        """Rows of all that could be heard come together here: the reason why this scheduler is the team's."""
        if self.encoder is None:
            return h
        encoding: Tensor = self.encoder(h.flatten(0, 1), graph.expand(len(h)).edge_index)
        return encoding.view(*h.shape[:-1], -1)
