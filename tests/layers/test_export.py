"""Exported programs: one agent that hears any number of messages, plain PyG with any sizes, a step of a team."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from gnncomm import envs, topology
from gnncomm.layers import CommLayer, CommStack
from gnncomm.layers.names import LAYERS, make_layer
from gnncomm.methods import METHODS
from gnncomm.policy import GRU, CommPolicy, PolicyState
from gnncomm.topology.static import static_graph
from gnncomm.types import TimeStep
from gnncomm.wire import Wire

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


class Act(nn.Module):
    """A whole step of a team: encoder, rounds over the graph, memory, draws of actions."""

    def __init__(self, policy: CommPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, now: TimeStep, state: PolicyState) -> tuple[Tensor, Tensor, Tensor, PolicyState]:
        decision = self.policy.act(now, state, 3)
        return decision.action, decision.logits, decision.value, decision.state


@pytest.mark.parametrize(
    ("name", "layer", "num_agents"),
    [("ring", "attention", 4), ("star", "mean", 4), ("empty", "attention", 4), ("ring", "attention", 70)],
)
def test_a_step_of_a_team(name: str, layer: str, num_agents: int) -> None:
    """Over a static graph, which is in the program; the dead are not. Products at 4 agents, edges at 70."""
    torch.manual_seed(1)
    env = envs.make("predator_prey", num_envs=3, num_agents=num_agents, dim=10)
    wire = Wire(topology.resolve(name))
    policy = CommPolicy(env.obs_dim, env.num_actions, make_layer(layer, 8), GRU(8), wire=wire).eval()
    acts, now, state = Act(policy), env.reset(seed=0), policy.initial_state(3, num_agents)
    static_graph.cache_clear()  # the graph is first asked for while the step is exported, and kept
    program = torch.export.export(acts, (now, state)).module()
    for step in range(3):
        now = replace(now, alive=torch.arange(num_agents).expand(3, -1) != step)
        want, got = acts(now, state), program(now, state)
        torch.testing.assert_close(got[:3], want[:3])
        torch.testing.assert_close(got[3].memory, want[3].memory)
        now, state = env.step(want[0]), want[3]
