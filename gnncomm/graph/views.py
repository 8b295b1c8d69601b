"""The same edges in another memory layout: plain tensor functions behind ``CommGraph``.

Shape letters: G graphs, N agents, k slots per receiver, E edges. Edge lists hold nodes ``g * N + n`` and come in
canonical order: sorted by (graph, receiver, sender). Slots of a receiver that hold no edge point at the receiver
itself, so that a gather through them never reads another agent's row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnncomm.host import may_ask


def edge_ids(edges_2E: Tensor, num_agents: int) -> Tensor:
    """One integer ``[E]`` per edge, ascending in canonical order: ``(g * N + receiver) * N + sender``."""
    return edges_2E[1] * num_agents + edges_2E[0] % num_agents


def without_repeats(edges_2E: Tensor, num_agents: int) -> Tensor:
    """Sorted edges, each once."""
    ids_E = edge_ids(edges_2E, num_agents)
    first_E = torch.ones_like(ids_E, dtype=torch.bool)
    first_E[1:] = ids_E[1:] != ids_E[:-1]
    return edges_2E[:, first_E]


def edges_of_dense(adjacency_GNN: Tensor) -> Tensor:
    """``[G, N, N]`` (sender, receiver) -> ``[2, E]``."""
    graph_E, receiver_E, sender_E = adjacency_GNN.transpose(1, 2).nonzero().unbind(1)
    offset_E = graph_E * adjacency_GNN.shape[1]
    return torch.stack([offset_E + sender_E, offset_E + receiver_E])


def edges_of_neighbors(index_GNk: Tensor, present_GNk: Tensor | None) -> Tensor:
    """Senders of each receiver ``[G, N, k]`` -> ``[2, E]``; present slots hold ascending senders."""
    num_graphs, num_agents, slots = index_GNk.shape
    node_GN1 = torch.arange(num_graphs * num_agents, device=index_GNk.device).view(num_graphs, num_agents, 1)
    receiver_GNk = node_GN1.expand(-1, -1, slots)
    sender_GNk = index_GNk + node_GN1[:, :1] if num_graphs else index_GNk
    if present_GNk is None:
        return torch.stack([sender_GNk.reshape(-1), receiver_GNk.reshape(-1)])
    return torch.stack([sender_GNk[present_GNk], receiver_GNk[present_GNk]])


def dense_of_edges(edges_2E: Tensor, num_graphs: int, num_agents: int) -> Tensor:
    """``[2, E]`` -> ``[G, N, N]`` bool."""
    adjacency_GNN = torch.zeros(num_graphs, num_agents, num_agents, dtype=torch.bool, device=edges_2E.device)
    sender_E, receiver_E = edges_2E % num_agents
    adjacency_GNN[edges_2E[0] // num_agents, sender_E, receiver_E] = True
    return adjacency_GNN


def dense_of_neighbors(index_GNk: Tensor, present_GNk: Tensor | None) -> Tensor:
    """Senders of each receiver ``[G, N, k]`` -> ``[G, N, N]`` bool."""
    num_graphs, num_agents, _ = index_GNk.shape
    # Absent slots are written into an extra column that is cut off.
    column_GNk = index_GNk if present_GNk is None else index_GNk.masked_fill(~present_GNk, num_agents)
    heard_GNM = torch.zeros(num_graphs, num_agents, num_agents + 1, dtype=torch.bool, device=index_GNk.device)
    return heard_GNM.scatter_(2, column_GNk, True)[..., :num_agents].transpose(1, 2)


def dense_features(value_GNkX: Tensor, index_GNk: Tensor, present_GNk: Tensor) -> Tensor:
    """Features ``[G, N, k, *]`` of the slots of each receiver -> ``[G, N, N, *]``; 0 where there is no edge."""
    num_graphs, num_agents, _ = index_GNk.shape
    graph_G11, agent_1N1 = (torch.arange(size, device=index_GNk.device) for size in (num_graphs, num_agents))
    # Absent slots are written into an extra row that is cut off.
    row_GNk = index_GNk.masked_fill(~present_GNk, num_agents)
    laid_out = value_GNkX.new_zeros(num_graphs, num_agents + 1, num_agents, *value_GNkX.shape[3:])
    return laid_out.index_put((graph_G11.view(-1, 1, 1), row_GNk, agent_1N1.view(1, -1, 1)), value_GNkX)[:, :num_agents]


def neighbors_of_dense(adjacency_GNN: Tensor) -> tuple[Tensor, Tensor]:
    """``[G, N, N]`` -> senders ``[G, N, k]`` in ascending order and presence, with k the largest in-degree.

    Where that cannot be asked for, k is N.
    """
    heard_GNN = adjacency_GNN.transpose(1, 2)
    slots = heard_GNN.shape[-1]
    if may_ask(heard_GNN.device):
        slots = int(heard_GNN.sum(-1).max()) if heard_GNN.numel() else 0
    index_GNk = heard_GNN.to(torch.uint8).sort(dim=-1, descending=True, stable=True).indices[..., :slots]
    present_GNk = heard_GNN.gather(-1, index_GNk)
    return own_where_absent(index_GNk, present_GNk), present_GNk


def neighbors_of_edges(edges_2E: Tensor, num_graphs: int, num_agents: int) -> tuple[Tensor, Tensor]:
    """``[2, E]`` in canonical order -> senders ``[G, N, k]`` and presence, with k the largest in-degree."""
    sender_E, receiver_E = edges_2E
    degree_V = torch.bincount(receiver_E, minlength=num_graphs * num_agents)
    slots = int(degree_V.max()) if degree_V.numel() else 0
    first_V = degree_V.cumsum(0) - degree_V
    slot_E = torch.arange(len(sender_E), device=sender_E.device) - first_V[receiver_E]
    index_Vk = torch.zeros(len(degree_V), slots, dtype=torch.int64, device=sender_E.device)
    present_Vk = torch.zeros(len(degree_V), slots, dtype=torch.bool, device=sender_E.device)
    index_Vk[receiver_E, slot_E] = sender_E % num_agents
    present_Vk[receiver_E, slot_E] = True
    shape = (num_graphs, num_agents, slots)
    return own_where_absent(index_Vk.view(shape), present_Vk.view(shape)), present_Vk.view(shape)


def own_where_absent(index_GNk: Tensor, present_GNk: Tensor) -> Tensor:
    """Let every absent slot point at its receiver."""
    own_N1 = torch.arange(index_GNk.shape[1], device=index_GNk.device).unsqueeze(-1)
    return torch.where(present_GNk, index_GNk, own_N1)


def repeat_edges(edges_2E: Tensor, num_graphs: int, num_agents: int) -> Tensor:
    """The edges of one graph, in each of ``num_graphs``."""
    offset_G1 = torch.arange(num_graphs, device=edges_2E.device).unsqueeze(-1) * num_agents
    return (edges_2E.unsqueeze(1) + offset_G1).flatten(1)


def rows_of_graphs(edges_2E: Tensor, num_graphs: int, num_agents: int, index_S: Tensor) -> tuple[Tensor, Tensor]:
    """The edges of the graphs ``index [S]``, renumbered ``0..S-1``: positions ``[E']`` in the old list, new list."""
    count_G = torch.bincount(edges_2E[1] // num_agents, minlength=num_graphs)
    first_S = (count_G.cumsum(0) - count_G)[index_S]
    count_S = count_G[index_S]
    place_E = torch.repeat_interleave(torch.arange(len(index_S), device=index_S.device), count_S)
    within_E = torch.arange(len(place_E), device=index_S.device) - (count_S.cumsum(0) - count_S)[place_E]
    position_E = first_S[place_E] + within_E
    return position_E, edges_2E[:, position_E] % num_agents + place_E * num_agents


def reach_of_dense(adjacency_GNN: Tensor, hops: int) -> Tensor:
    """``[G, N, N]`` bool: a path of at most ``hops`` edges leads from sender to receiver; the identity is included."""
    num_agents = adjacency_GNN.shape[1]
    own_NN = torch.eye(num_agents, dtype=torch.bool, device=adjacency_GNN.device)
    step_GNN = (adjacency_GNN | own_NN).float()
    reached_GNN = own_NN.expand_as(adjacency_GNN).clone()
    for _ in range(min(hops, num_agents - 1)):  # no shortest path is longer
        reached_GNN = (reached_GNN.float() @ step_GNN) > 0
    return reached_GNN


def zero_where_absent(feature: Tensor | None, present: Tensor) -> Tensor | None:
    """Features are 0 where there is no edge, so that a stray NaN there cannot spread."""
    if feature is None:
        return None
    extra = feature.dim() - present.dim()
    return torch.where(present.view(*present.shape, *[1] * extra), feature, feature.new_zeros(()))
