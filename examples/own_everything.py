"""Own layer, topology, codec, channel and environment: trained, saved, loaded, evaluated, drawn."""

from dataclasses import dataclass

import torch

from gnncomm import channel, codec, default_config, envs, evaluate, graph, layers, load, random, topology, train, types
from gnncomm.record import record, trajectory_figure


# fmt: off
class GatedSum(layers.CommLayer):
    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels, msg_channels=in_channels, aggr="add")
        self.gate, self.lin = (torch.nn.Linear(in_channels, out_channels) for _ in range(2))
    def send(self, h): return h
    def combine(self, h, inbox): return self.gate(h).sigmoid() * self.lin(inbox)

class Ahead(topology.StaticTopology):  # everyone hears all who come before it
    def edges(self, num_agents): return torch.triu_indices(num_agents, num_agents, 1).unbind()

class Sign(codec.Codec):  # one bit a number; the gradient is that of the hyperbolic tangent
    def fields(self, channels, dtype): return (codec.Fixed(channels, below=2),)
    def encode(self, msg, moment): return self.packet(msg > 0, msg)
    def decode(self, packet, moment): return 2 * packet.symbols.to(packet.dtype) - 1
    def smooth(self, msg, moment): return msg.tanh()

class Distance(channel.Channel):  # the farther apart, the more is lost
    def deliver(self, reachable, moment):
        edges = graph.Edges(reachable, moment)
        return edges.keep(edges.draw("distance") < torch.exp(-edges.distance("Distance") / 20))

@dataclass(frozen=True)
class Cells(types.Batch):
    at: torch.Tensor  # [B, 4, 2] row and column of three agents and, last, of the goal
class Follow(envs.GridEnv):  # agent 0 sees the goal, and all three must stand on it within 12 steps
    id, moves = "follow", torch.tensor([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]])
    def sizes(self): return 3, 5, 16, 12  # agents, actions, width of an observation, steps
    def draws(self, key, t): return Cells(random.integers(random.stream(key, "start")[:, None], 4, torch.arange(8)))
    def initial(self, draws): return Cells(draws.at.view(-1, 4, 2))
    def far(self, at, move=0): return (at[:, :3] + move - at[:, 3:]).abs().sum(-1)
    def transition(self, state, action, draws):
        at = torch.cat([(state.at[:, :3] + self.moves[action]).clamp(0, 3), state.at[:, 3:]], 1)
        nearer, there = self.far(state.at) - self.far(at), (self.far(at) == 0).all(1)
        return Cells(at), 0.1 * nearer + there[:, None], envs.Flags(there, there.clone())
    def observe(self, state, form):
        seen = torch.nn.functional.one_hot(state.at, 4).float().flatten(2)
        return torch.cat([seen[:, :3], seen[:, 3:] * torch.tensor([[1], [0], [0]])], -1)
    def positions(self, state): return state.at[:, :3].float()
    def describe(self, state):
        goal, there = state.at[:, 3:], self.far(state.at) == 0
        return types.Scene((4, 4), self.positions(state), there, {"goal": goal.float()}, {"goal": goal[..., 0] >= 0})
    def solve(self, state): return torch.stack([self.far(state.at, move) for move in self.moves], -1).argmin(-1)

parts = {"comm": GatedSum, "topology": Ahead, "codec": Sign, "channel": Distance, "env": Follow}
train(default_config("predator_prey", num_envs=32, rollout=12, steps=24_000, integration="before"), "runs/own", **parts)
own = load("runs/own", **parts)
print(evaluate(own.policy, own.make_env(200), episodes=200).verdict())
trajectory_figure(record(own.policy, own.make_env(1), seed=11), "own_everything.png")
