"""Planted cheats: each breaks one law, and is caught under that law's name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.typing import OptTensor

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.layers import CommStack, MeanComm
from gnncomm.testing import LawError, check_layer
from gnncomm.testing import layer as laws


class SubtractsTheMean(MeanComm):
    """Centres the rows over the agents of a team: passes every test of shapes."""

    def forward(
        self, h: Tensor, graph: CommGraph | Tensor, edge_attr: OptTensor = None, edge_weight: OptTensor = None
    ) -> Tensor:
        out = super().forward(h, graph, edge_attr, edge_weight)
        return out - out.mean(-2, keepdim=True)


class ReadsTheSender(MeanComm):
    """Asks for the sender's private row."""

    def message(self, msg_j: Tensor, h_j: OptTensor, edge_weight: OptTensor) -> Tensor:
        return msg_j + h_j

    def dense_inbox(self, msg_GNM: Tensor, query_GNQ: Tensor, graph: CommGraph) -> None:
        return None


class SmugglesTheSender(MeanComm):
    """Keeps the rows of the last ``query`` and adds the sender's row to the messages behind the wire."""

    def query(self, h: Tensor) -> Tensor:
        self.rows = h.reshape(-1, h.shape[-1])
        return h

    def edge_inbox(
        self, msg: Tensor, query: Tensor, edge_index: Tensor, edge_attr: OptTensor, edge_weight: OptTensor
    ) -> Tensor:
        if len(self.rows) == len(msg):
            msg = msg + 0.1 * self.rows.square()
        return super().edge_inbox(msg, query, edge_index, edge_attr, edge_weight)

    def dense_inbox(self, msg_GNM: Tensor, query_GNQ: Tensor, graph: CommGraph) -> None:
        return None


class NormalisesTheBatch(MeanComm):
    """Standardises over environments."""

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        out = super().combine(h, inbox)
        return out - out.mean(0, keepdim=True) if out.dim() == 3 else out


class BatchNormalised(MeanComm):
    """A batch norm in training mode."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        self.norm = nn.BatchNorm1d(out_channels)

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        out = super().combine(h, inbox)
        return self.norm(out.flatten(0, -2)).view(out.shape)


class Drops(MeanComm):
    """Samples in ``forward``."""

    def send(self, h: Tensor) -> Tensor:
        return nn.functional.dropout(super().send(h), 0.5)


class LooksFurther(MeanComm):
    """Two rounds where it declares one."""

    def forward(
        self, h: Tensor, graph: CommGraph | Tensor, edge_attr: OptTensor = None, edge_weight: OptTensor = None
    ) -> Tensor:
        return super().forward(super().forward(h, graph), graph)


class MultipliesByTheMask(MeanComm):
    """Masks absent edges by multiplying: 0 * nan = nan."""

    def receive(self, h: Tensor, msg: Tensor, graph: CommGraph) -> Tensor:
        hears = graph.dense.transpose(1, 2).to(h.dtype)
        return self.combine(h, hears @ msg / hears.sum(-1, keepdim=True).clamp(min=1.0))


class LeavesEmptyInboxesToNaN(MeanComm):
    """Divides by the number of messages, also where there are none."""

    def receive(self, h: Tensor, msg: Tensor, graph: CommGraph) -> Tensor:
        count = graph.in_degree.unsqueeze(-1).to(h.dtype)
        return super().receive(h, msg, graph) + 0.0 * (count / count)


class NamesTheAgents(MeanComm):
    """Adds the agent's number."""

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        out = super().combine(h, inbox)
        return out + torch.arange(out.shape[-2], dtype=out.dtype).view(-1, 1) if out.dim() == 3 else out


class NeverListens(MeanComm):
    """Ignores its inbox."""

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        return super().combine(h, 0.0 * inbox)


CHEATS: dict[type[MeanComm], str] = {
    SubtractsTheMean: "poison",
    NormalisesTheBatch: "batch independence",
    BatchNormalised: "determinism",
    Drops: "determinism",
    LooksFurther: "poison",
    MultipliesByTheMask: "poison",
    LeavesEmptyInboxesToNaN: "empty inboxes",
    SmugglesTheSender: "split-brain",
    NamesTheAgents: "split-brain",
    NeverListens: "the jacobian",
}


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.__name__)
def test_a_cheat_is_caught_by_name(cheat: type[MeanComm]) -> None:
    with pytest.raises(LawError, match=f"Law of {CHEATS[cheat]} broken") as caught:
        check_layer(cheat(4, 4))
    assert caught.value.law == CHEATS[cheat]
    assert caught.value.__notes__, "the message should name the graph"


def test_a_cheat_inside_a_stack_is_caught() -> None:
    with pytest.raises(LawError, match="poison"):
        check_layer(CommStack([MeanComm(4, 4), SubtractsTheMean(4, 4)]))


def test_reading_h_j_fails_by_design() -> None:
    with pytest.raises(ConfigError, match=r"ReadsTheSender\.message asks for 'h_j'.* the sender's own row stays"):
        ReadsTheSender(4, 4)


class Unannotated(MeanComm):
    """A parameter without its type: PyG silently runs the parent's ``propagate``, which does not pass it."""

    def message(self, msg_j: Tensor, edge_weight: OptTensor, ptr=0) -> Tensor:  # type: ignore[no-untyped-def]
        return msg_j if ptr == 0 else 5 * msg_j

    def dense_inbox(self, msg_GNM: Tensor, query_GNQ: Tensor, graph: CommGraph) -> None:
        return None


def test_hooks_that_pyg_does_not_run_are_caught() -> None:
    x, edge_index = torch.ones(2, 4), torch.tensor([[0], [1]])
    layer, parent = Unannotated(4, 4), MeanComm(4, 4)
    parent.load_state_dict(layer.state_dict())
    assert layer(x, edge_index).equal(parent(x, edge_index)), "PyG got better: drop the law"
    with pytest.raises(LawError, match=r"Law of compiled hooks broken: Unannotated runs .*MeanComm_propagate"):
        check_layer(layer)


def test_the_message_names_tensor_agent_and_environment() -> None:
    with pytest.raises(LawError) as caught:
        check_layer(SubtractsTheMean(4, 4))
    for words in ("output of agent", "environment 0", "untouched", "cannot reach agent"):
        assert words in str(caught.value)


class GradientLeak(MeanComm):
    """Right values, wrong gradient: the mean over agents enters with weight zero, and only backwards."""

    def forward(
        self, h: Tensor, graph: CommGraph | Tensor, edge_attr: OptTensor = None, edge_weight: OptTensor = None
    ) -> Tensor:
        mean = h.mean(-2, keepdim=True)
        return super().forward(h, graph, edge_attr, edge_weight) + torch.where(mean.isfinite(), mean - mean.detach(), 0)


class EdgeOrderMatters(MeanComm):
    """The last message of the list wins."""

    def edge_inbox(
        self, msg: Tensor, query: Tensor, edge_index: Tensor, edge_attr: OptTensor, edge_weight: OptTensor
    ) -> Tensor:
        inbox = query.new_zeros(len(query), msg.shape[1])
        for sender, receiver in edge_index.t().tolist():
            inbox[receiver] = 0.5 * inbox[receiver] + msg[sender]
        return inbox

    def dense_inbox(self, msg_GNM: Tensor, query_GNQ: Tensor, graph: CommGraph) -> None:
        return None


class DenseDiffers(MeanComm):
    """A fused form that forgets to divide."""

    def dense_inbox(self, msg_GNM: Tensor, query_GNQ: Tensor, graph: CommGraph) -> Tensor:
        return graph.dense.transpose(1, 2).to(msg_GNM.dtype) @ msg_GNM


@pytest.mark.parametrize(
    ("law", "cheat", "name"),
    [
        (laws.check_jacobian, GradientLeak, "the jacobian"),
        (laws.check_edge_order, EdgeOrderMatters, "edge order"),
        (laws.check_layouts_agree, DenseDiffers, "layouts"),
        (laws.check_permutation, NamesTheAgents, "permutation"),
        (laws.check_permutation, EdgeOrderMatters, "permutation"),
        (laws.check_split_brain, SubtractsTheMean, "split-brain"),
        (laws.check_jacobian, SubtractsTheMean, "the jacobian"),
        (laws.check_jacobian, LooksFurther, "the jacobian"),
        (laws.check_batch_independence, BatchNormalised, "batch independence"),
    ],
)
def test_each_law_alone_catches_its_cheat(
    law: Callable[[MeanComm, Tensor, CommGraph], None], cheat: type[MeanComm], name: str
) -> None:
    layer = cheat(4, 4).double()
    case = next(laws.cases(4, num_agents=5, num_envs=3, edge_dim=0, weighted=False, seed=0))
    law(MeanComm(4, 4).double(), case.h, case.graph)
    with pytest.raises(LawError, match=f"Law of {name} broken"):
        law(layer, case.h, case.graph)
