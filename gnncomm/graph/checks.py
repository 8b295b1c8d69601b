"""What a communication graph must be, told as expected, got, do."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from gnncomm.errors import DeviceError, DtypeError, GraphError, ShapeError

MOST_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**63
"""Memory of this machine."""


def shape_of(tensor: Tensor) -> str:
    """``[2, 7]``, for messages."""
    return str(list(tensor.shape))


def as_tensor(name: str, value: object) -> Tensor:
    """``value`` if it is a tensor of real numbers, side by side: the type is judged before the shape."""
    if not isinstance(value, Tensor):
        raise DtypeError(f"{name}: expected a tensor, got {type(value).__name__}. Use torch.as_tensor({name}).")
    if value.layout != torch.strided:
        raise DtypeError(f"{name}: expected a dense tensor, got layout {value.layout}. Use {name}.to_dense().")
    if value.is_complex():
        raise DtypeError(f"{name}: expected real numbers, got {value.dtype}. Use {name}.real, or {name}.abs().")
    return value


def check_memory(what: str, num_bytes: int, remedy: str) -> None:
    """Refuse what this machine cannot hold, before it is taken."""
    if num_bytes > MOST_BYTES:
        raise GraphError(
            f"{what} takes {num_bytes / 2**30:,.1f} GiB: expected at most the {MOST_BYTES / 2**30:,.1f} GiB of this "
            f"machine. {remedy}"
        )


def check_values(name: str, value: Tensor) -> None:
    """Edges are read."""
    if type(value) is Tensor and value.is_meta:
        raise DeviceError(f"{name} is on the device meta, without values: expected numbers. Make it on a real device.")


def as_tensors(**values: object) -> None:
    """``as_tensor`` of each that is not None."""
    for name, value in values.items():
        if value is not None:
            as_tensor(name, value)


def check_counts(num_agents: int, num_graphs: int) -> None:
    """At least one agent; no graphs at all are an empty batch."""
    for name, value in (("num_agents", num_agents), ("num_graphs", num_graphs)):
        if isinstance(value, bool) or not isinstance(value, (int, torch.SymInt)):
            raise GraphError(f"{name} is a number of things: expected an int, got {type(value).__name__} {value!r}.")
    if num_agents < 1:
        raise GraphError(f"A graph needs agents: expected num_agents >= 1, got {num_agents}. One agent alone is fine.")
    if num_graphs < 0:
        raise GraphError(f"num_graphs counts environments: expected num_graphs >= 0, got {num_graphs}.")


def as_indices(index: Tensor, name: str) -> Tensor:
    """``index`` as int64. int32 and int64 hold agents; an empty tensor of any type holds none."""
    if index.numel() == 0 or index.dtype in (torch.int32, torch.int64):
        return index.to(torch.int64)
    raise GraphError(f"{name} holds agent indices: expected int64 or int32, got {index.dtype}. Use {name}.long().")


def as_bool(mask: Tensor, name: str) -> Tensor:
    """``mask`` as bool; other types may hold 0 and 1 only (NaN is neither)."""
    if mask.dtype == torch.bool:
        return mask
    wrong = ((mask != 0) & (mask != 1)).nonzero()
    if len(wrong):
        place = tuple(wrong[0].tolist())
        raise GraphError(
            f"{name} says who hears whom: expected bool, or only 0 and 1, got {mask[place].item()} at {list(place)}. "
            "Pass strengths as weight=."
        )
    return mask.bool()


def as_present(present: Tensor, index: Tensor) -> Tensor:
    """The mask of the slots ``index``, as bool."""
    if present.shape != index.shape:
        raise GraphError(f"present belongs to neighbors: expected {shape_of(index)}, got {shape_of(present)}.")
    return as_bool(present, "present")


def check_same_device(expected: Tensor, **others: Tensor | None) -> None:
    """All tensors of one graph live on one device."""
    for name, other in others.items():
        if other is not None and other.device != expected.device:
            raise DeviceError(f"{name} is on {other.device}, the edges are on {expected.device}: expected one device.")


def check_edge_shape(edge_index: Tensor) -> None:
    """``[2, E]``."""
    if edge_index.dim() == 2 and edge_index.shape[0] == 2:
        return
    hint = "Use CommGraph.from_edge_list for pairs."
    if edge_index.dim() == 2 and edge_index.shape[1] == 2:
        hint = "Is it transposed? Use edge_index.t(), or CommGraph.from_edge_list for pairs."
    raise GraphError(
        f"edge_index is two rows, senders and receivers: expected [2, E], got {shape_of(edge_index)}. {hint}"
    )


def check_senders(index: Tensor, present: Tensor | None) -> None:
    """Slots ``[..., N, k]`` hold agents."""
    num_agents = index.shape[-2]
    if _all_below(index, num_agents):
        return
    outside = (index < 0) | (index >= num_agents)
    wrong = (outside if present is None else outside & present).nonzero()
    if len(wrong):
        place = tuple(wrong[0].tolist())
        raise GraphError(
            f"Receiver {place[-2]} hears agent {int(index[place])}: expected 0 <= sender < {num_agents}, the number of "
            "agents. Mark empty slots with present=False."
        )


def check_no_sender_twice(index_GNk: Tensor, present_GNk: Tensor | None) -> None:
    """Each receiver hears a sender in one slot only; slots are sorted by sender, the absent ones last."""
    if _rises(index_GNk):
        return
    repeated = index_GNk[..., 1:] == index_GNk[..., :-1]
    if present_GNk is not None:
        repeated &= present_GNk[..., 1:]
    if bool(repeated.any()):
        graph, receiver, slot = repeated.nonzero()[0].tolist()
        raise _given_twice(int(index_GNk[graph, receiver, slot]), receiver)


def check_edges_in_range(edges_2E: Tensor, num_agents: int, num_graphs: int) -> None:
    """Nodes below ``G * N``, both ends in the same graph."""
    nodes = num_agents * num_graphs
    if not _all_below(edges_2E, nodes):
        row, edge = ((edges_2E < 0) | (edges_2E >= nodes)).nonzero()[0].tolist()
        raise GraphError(
            f"Edge {edge} has {('sender', 'receiver')[row]} {int(edges_2E[row, edge])}: expected 0 <= index < {nodes} "
            f"({num_graphs} graph(s) of {num_agents} agents). Set num_agents and num_graphs, or drop the edge."
        )
    if num_graphs == 1:
        return
    across = (edges_2E[0] // num_agents != edges_2E[1] // num_agents).nonzero()
    if len(across):
        edge = int(across[0])
        raise GraphError(
            f"Edge {edge} ({int(edges_2E[0, edge])} -> {int(edges_2E[1, edge])}) joins two graphs of the batch: "
            f"expected both ends in one block of {num_agents} nodes. Agents of different environments cannot talk."
        )


def check_no_duplicates(ids_E: Tensor, edges_2E: Tensor) -> None:
    """Each edge once; edges and their ``edge_ids`` are sorted."""
    if _rises(ids_E):
        return
    repeated_E = ids_E[1:] == ids_E[:-1]
    if bool(repeated_E.any()):
        sender, receiver = edges_2E[:, int(repeated_E.nonzero()[0])].tolist()
        raise _given_twice(sender, receiver)


def _given_twice(sender: int, receiver: int) -> GraphError:
    return GraphError(
        f"Edge {sender} -> {receiver} is given more than once: expected each edge once, because a repeated edge "
        "counts twice in every mean. Use from_edge_index(..., coalesce=True) to keep one; merge features first."
    )


def _rises(index: Tensor) -> bool:
    """Whether no two neighbours on the last axis are equal. On the CPU numpy says so in a third of torch's time."""
    if index.device.type != "cpu":
        return not bool((index[..., 1:] == index[..., :-1]).any())
    array = index.numpy()
    return not (array[..., 1:] == array[..., :-1]).any()


def _all_below(index: Tensor, bound: int) -> bool:
    """Whether all are in ``[0, bound)``: one pass, without a tensor of its size."""
    if index.numel() == 0:
        return True
    low, high = torch.aminmax(index)
    return int(low) >= 0 and int(high) < bound


def check_features(attr: Tensor | None, weight: Tensor | None, lead: tuple[int, ...], present: Tensor | None) -> None:
    """``attr`` is ``[*lead, D]``, ``weight`` is ``[*lead]`` and not negative; finite where ``present`` (None: all)."""
    if attr is not None:
        _check_feature("attr", attr, lead, 1, present)
    if weight is not None:
        _check_feature("weight", weight, lead, 0, present)


def _check_feature(name: str, value: Tensor, lead: tuple[int, ...], extra: int, present: Tensor | None) -> None:
    if value.dim() != len(lead) + extra or tuple(value.shape[: len(lead)]) != lead:
        raise GraphError(
            f"{name} belongs to the edges: expected {[*lead, *['D'] * extra]} in the layout of the edges, "
            f"got {shape_of(value)}."
        )
    if not value.is_floating_point():
        raise GraphError(f"{name} is a strength: expected a floating type, got {value.dtype}. Use {name}.float().")
    at_edges = value.detach() if present is None else value.detach()[present]
    wrong = ~at_edges.isfinite()
    if bool(wrong.any()):
        bad = at_edges[wrong][0].item()
        raise GraphError(f"{name} is finite at every edge: expected a number, got {bad}. Leave an edge out to cut it.")
    if name == "weight" and bool((at_edges < 0).any()):
        raise GraphError(
            f"weight is a strength: expected >= 0, got {at_edges.min().item()}. Signed edge features go into attr=."
        )


def as_agent_mask(name: str, mask: Tensor, num_agents: int) -> Tensor:
    """``mask`` if it marks agents, or (called "pair") pairs of them."""
    axes = 2 if name == "pair" else 1
    if as_tensor(name, mask).dtype != torch.bool:
        raise GraphError(f"{name} says which edges stay: expected bool, got {mask.dtype}.")
    if mask.dim() != 1 + axes or mask.shape[1:] != (num_agents,) * axes:
        raise ShapeError(f"{name}: expected bool {['B', *[num_agents] * axes]}, got {shape_of(mask)}.")
    return mask


def check_batch(name: str, given: int, num_graphs: int) -> None:
    """Batch sizes agree, or one of them is 1."""
    if given != num_graphs and 1 not in (given, num_graphs):
        raise ShapeError(
            f"{name} and graph disagree: expected {num_graphs} environments (or 1), got {given}. "
            "Build the graph for the same environments, or for one."
        )
