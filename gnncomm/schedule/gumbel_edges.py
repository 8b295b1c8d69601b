"""MAGIC: a scheduler that sees the whole team draws the graph."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch_geometric.nn import GATConv

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph, Edges
from gnncomm.schedule.base import Decider, Schedule, Scheduler, Situation, require_at_least_one, require_non_negative
from gnncomm.schedule.choice import each_for_itself
from gnncomm.schedule.pair_score import PairScore


class GumbelEdges(Scheduler):
    r"""Every edge is drawn from encodings of both its ends, made by attention over the team (MAGIC).

    Niu, Paleja and Gombolay 2021, `Multi-Agent Graph-Attention Communication and Teaming
    <https://www.ifaamas.org/Proceedings/aamas2021/pdfs/p964.pdf>`_, section 4.2:

    .. math::
        e = \mathrm{GAT}(h), \qquad \ell_{ji} = \mathrm{MLP}([e_i, e_j]), \qquad
        A_{ji} = \mathrm{GumbelSoftmax}_{\mathrm{hard}}(\ell_{ji})

    (two logits there, whose difference is :math:`\ell` here). Attention runs over whoever could be heard, and the agent
    itself; its heads are averaged. In training the noise comes from the moment; in execution an edge is used iff
    :math:`\ell_{ji} > 0`. All edges learn, drawn or not, by ``choice.each_for_itself``; the reference has the gradient
    of the soft weight inside the softmax of its layer instead.

    Decided by the team: as in the reference, whoever decides needs the rows of both ends and of all that these could
    hear. Nothing is announced, and a deployed team cannot run it; ``HardSoft`` is the form that it can. Control
    traffic is not counted.

    Args:
        in_channels: F.
        channels: width of the encoding and of the MLP.
        heads: of the attention; 0 leaves the encoder out (:math:`e = h`), then both ends alone decide.
        undirected: average the logits of both directions and draw them together.
        self_loops: ``kept`` as the topology has them, ``none``, ``forced``, or ``learned`` like any other edge.
        price: of each edge, joins the training loss as ``price * P(edge)``.

    Raises:
        ConfigError: a width below 1, negative ``heads`` or ``price``.
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
        price: float = 0.0,
    ) -> None:
        super().__init__()
        require_at_least_one("GumbelEdges", in_channels=in_channels, channels=channels)
        require_non_negative("GumbelEdges", heads=heads, price=price)
        if self_loops not in ("kept", "none", "forced", "learned"):
            raise ConfigError(f"GumbelEdges.self_loops: expected kept, none, forced or learned, got {self_loops!r}.")
        self.in_channels, self.channels, self.heads = in_channels, channels, heads
        self.undirected, self.self_loops, self.price = undirected, self_loops, price
        self.encoder = GATConv(in_channels, channels, heads, concat=False) if heads else None
        self.score = PairScore(channels if heads else in_channels, channels)

    def forward(self, now: Situation) -> Schedule:
        graph = now.graph
        encoding = self._encode(now.h, graph)
        if self.self_loops in ("forced", "learned"):
            graph = graph.with_self_loops()
        edges = Edges(graph, now.moment)
        if self.self_loops == "none":
            edges = Edges(edges.keep(~edges.own, own=False), now.moment)
        signature = self.score.signature(encoding)
        logit = self.score(edges, encoding, signature)
        if self.undirected:
            logit = (logit + self.score.reverse(edges, encoding, signature)) / 2
        chosen, weight = each_for_itself(edges, logit, "gumbel_edges", self.training, self.undirected)
        cost = self.price * edges.sum_to_sender(logit.sigmoid()) if self.price else None
        own = self.self_loops in ("kept", "forced")
        candidates = edges.weighed(weight, own) if self.learns_edges else None
        return Schedule(edges.keep(chosen, own), now.msg, now.state, cost=cost, candidates=candidates)

    def _encode(self, h: Tensor, graph: CommGraph) -> Tensor:
        """Rows of all that could be heard come together here: the reason why this scheduler is the team's."""
        if self.encoder is None:
            return h
        encoding: Tensor = self.encoder(h.flatten(0, 1), graph.expand(len(h)).edge_index)
        return encoding.view(*h.shape[:-1], -1)
