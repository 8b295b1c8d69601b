"""One agent exported: a program that hears any number of messages, for every method; and plain PyG with any sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from gnncomm.layers import CommLayer, CommStack
from gnncomm.layers.names import LAYERS, make_layer
from gnncomm.methods import METHODS

MOST = 1000


class Hear(nn.Module):
    """What one agent does at the end of a round."""

    def __init__(self, comm: CommStack, layer: CommLayer) -> None:
        super().__init__()
        self.comm, self.layer = comm, layer

    def forward(self, row: Tensor, msg: Tensor) -> Tensor:
        return self.comm.merge(row, self.layer.hear(row, msg))


@pytest.mark.parametrize("name", METHODS)
def test_one_agent_of_every_method_hears_any_number_of_messages(name: str) -> None:
    torch.manual_seed(1)
    policy = METHODS[name](obs_dim=12, num_actions=5, num_agents=6, hidden=16).eval()
    layer = policy.comm.rounds[0]
    alone, row = Hear(policy.comm, layer), torch.randn(layer.in_channels)
    senders = {0: Dim("senders", min=0, max=MOST)}
    program = torch.export.export(
        alone, (row, torch.randn(3, layer.msg_channels)), dynamic_shapes=(None, senders)
    ).module()
    heard = []
    for count in (0, 1, 5, 40):
        row, msg = torch.randn(layer.in_channels), torch.randn(count, layer.msg_channels)
        heard.append(program(row, msg))
        torch.testing.assert_close(heard[-1], alone(row, msg))
    assert not torch.allclose(heard[0], heard[2])


@pytest.mark.parametrize("name", LAYERS)
def test_over_plain_graphs_of_any_size(name: str) -> None:
    torch.manual_seed(1)
    layer = make_layer(name, 8).eval()

    def graph(nodes: int, edges: int) -> tuple[Tensor, Tensor]:
        return torch.randn(nodes, 8), torch.randint(nodes, (2, edges))

    sizes = {0: Dim("nodes", min=2, max=MOST)}, {1: Dim("edges", min=2, max=MOST)}
    program = torch.export.export(layer, graph(5, 9), dynamic_shapes=sizes).module()
    for nodes, edges in ((5, 9), (7, 3), (30, 90)):
        x, edge_index = graph(nodes, edges)
        torch.testing.assert_close(program(x, edge_index), layer(x, edge_index))
