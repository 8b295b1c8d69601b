"""Topologies of positions: distances between living agents, in float32 and bit-equal however they are computed."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.errors import GraphError, NonFiniteError, ShapeError
from gnncomm.graph import CommGraph
from gnncomm.host import refuse
from gnncomm.shapes import Bool, Float
from gnncomm.topology.base import Alive, Keys, Places, Steps, Topology


@dataclass(frozen=True)
class GeometricTopology(Topology):
    """A topology that depends on distances between living agents. A subclass says ``near``."""

    @abstractmethod
    def near(self, distance_BNN: Float[Tensor, "B N N"]) -> CommGraph:
        """The graph of these Euclidean distances; infinite means: no edge (dead, or an agent and itself)."""

    def __call__(self, alive: Alive, pos: Places = None, step: Steps = 0, key: Keys = None) -> CommGraph:
        return self.near(distances(alive, places(type(self).__name__, alive, pos)))


def places(name: str, alive: Bool[Tensor, "B N"], pos: Float[Tensor, "B N P"] | None) -> Float[Tensor, "B N P"]:
    """Positions in float32; ``name`` is the topology that needs them.

    Raises:
        GraphError: there are no positions.
        ShapeError: positions of other agents.
        NonFiniteError: a living agent is nowhere.
    """
    if pos is None:
        raise GraphError(f"{name} needs positions: expected pos [B, N, P], got None. Use an env with pos, or Full().")
    if pos.dim() != 3 or pos.shape[:2] != alive.shape or pos.shape[2] == 0:
        raise ShapeError(
            f"{name} needs a position per agent: expected pos {[*alive.shape, 'P']}, got {list(pos.shape)}."
        )
    lost = alive.unsqueeze(-1) & ~pos.isfinite()
    refuse(lost, lambda: _lost(name, lost, pos))
    return pos.to(torch.float32)


def _lost(name: str, lost: Bool[Tensor, "B N P"], pos: Float[Tensor, "B N P"]) -> NonFiniteError:
    env, agent, axis = lost.nonzero()[0].tolist()
    return NonFiniteError(
        f"{name} needs positions: expected finite pos for living agents, got {pos[env, agent, axis].item()} "
        f"in environment {env}, agent {agent}, axis {axis}."
    )


def separation(here: Float[Tensor, "*A P"], there: Float[Tensor, "*C P"]) -> Tensor:
    """Euclidean distance of places that broadcast against each other.

    Axis by axis: a matrix product or a vectorised sum would round by the shape of the batch, and equal distances
    would no longer be equal. Squares are made in float64, where those of no float32 are too large or too small; what
    is further than float32 reaches is as far as it reaches.
    """
    square = here.new_zeros((), dtype=torch.float64)
    for mine, theirs in zip(here.double().unbind(-1), there.double().unbind(-1), strict=True):
        square = square + (mine - theirs).square()
    return square.sqrt().clamp(max=torch.finfo(here.dtype).max).to(here.dtype)


def distances(alive: Bool[Tensor, "B N"], place: Float[Tensor, "B N P"]) -> Float[Tensor, "B N N"]:
    """Between living agents; infinite for dead agents and from an agent to itself."""
    own_NN = torch.eye(alive.shape[1], dtype=torch.bool, device=alive.device)
    pair_BNN = alive.unsqueeze(-1) & alive.unsqueeze(-2) & ~own_NN
    return torch.where(pair_BNN, separation(place.unsqueeze(2), place.unsqueeze(1)), torch.inf)
