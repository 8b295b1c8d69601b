"""Who could hear whom, from networkx and PyG and back: agents have names, and keep their order."""

import networkx as nx
import torch

from gnncomm import CommGraph
from gnncomm.layers import AttentionComm
from gnncomm.topology import FromNetworkx

AGENTS = ["ada", "bob", "cleo", "dan", "eve"]
friends = nx.Graph([("ada", "bob"), ("bob", "cleo"), ("cleo", "dan")])
friends.add_node("eve")  # hears nobody

topology = FromNetworkx(friends, agents=AGENTS)
graph = topology(alive=torch.ones(1, 5, dtype=torch.bool))
print("bob hears:", [AGENTS[sender] for sender, receiver in graph.edge_index.t().tolist() if receiver == 1])

torch.manual_seed(0)
layer, rows = AttentionComm(8, 8), torch.rand(1, 5, 8)
heard, (edges, attention) = layer(rows, graph, return_attention_weights=True)
for (sender, receiver), weight in zip(edges.t().tolist(), attention.mean(-1).tolist(), strict=True):
    friends.edges[AGENTS[sender], AGENTS[receiver]][f"{AGENTS[receiver]} to {AGENTS[sender]}"] = round(weight, 2)
print("attention:", dict(friends.edges["bob", "cleo"]))

# The same layer over a Data object of PyG, as any of its own.
data = graph.to_data()
assert torch.allclose(layer(rows[0], data.edge_index), heard[0], atol=1e-6)

# Back to networkx, whose measures are then those of the communication graph.
network = CommGraph.from_data(data).to_networkx(agents=AGENTS)
print("hops from ada to dan:", nx.shortest_path_length(network, "ada", "dan"))
print("never reached:", [name for name in AGENTS if not nx.has_path(network, "ada", name)])
