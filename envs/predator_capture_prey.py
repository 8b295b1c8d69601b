"""Predator-Capture-Prey of HetNet: some agents see, others cannot see but can capture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ConfigError
from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import Batch, Observation, Scene, SparseObs

from .frame.base import Flags, Form, GridEnv, Settings, Sizes
from .frame.meeting import to_nearest, walk
from .frame.rules import Kind
from .frame.settings import choice, flag, integer
from .frame.window import Window

_MODES = ("mixed", "cooperative", "competitive")
_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0), (0, 0))  # up, right, down, left, stay, capture
_CAPTURE = 5
_STEP_REWARD, _HALF_REWARD, _PREY_REWARD = -0.05, -0.025, 0.05


@dataclass(frozen=True)
class PredatorCapturePreyDraws(Batch):
    """The cells where everything begins: N agents, then P prey; empty after a reset."""

    cells: Int[Tensor, "B C"]


@dataclass(frozen=True)
class PredatorCapturePreyState(Batch):
    """Positions are (row, column); of the N agents the last A are the action agents."""

    pos: Int[Tensor, "B N 2"]
    prey: Int[Tensor, "B P 2"]
    reached: Bool[Tensor, "B N"]
    captured: Bool[Tensor, "B A"]


@dataclass(frozen=True)
class PredatorCapturePreySettings(Settings):
    """See ``PredatorCapturePrey``."""

    dim: int = integer(5, 2, doc="Side of the grid.")
    num_agents: int = integer(3, 2, doc="N, at least 2.")
    num_action_agents: int = integer(
        1, 1, lambda own: own.num_agents - 1, doc="A, how many of them are action agents; at least 1, less than N."
    )
    vision: int = integer(1, 0, lambda own: own.dim - 1, doc="v, at most ``dim`` - 1.")
    mode: str = choice("mixed", _MODES, doc="Which reward, see above.")
    partial_reward: bool = flag(False, doc="Whether to be on the prey is worth something before it is captured.")
    max_steps: int = integer(None, 1, doc="Time limit; 4 * dim if None.")
    num_prey: int = integer(1, 1, doc="Number of prey.")

    def resolve(self) -> None:
        if self.num_agents + self.num_prey > self.dim**2:
            raise ConfigError(
                f"num_agents + num_prey: expected at most dim * dim = {self.dim**2}, got {self.num_agents} + "
                f"{self.num_prey}. Use a larger dim."
            )
        self._put(max_steps=self.max_steps or 4 * self.dim)


class PredatorCapturePrey(GridEnv[PredatorCapturePreyState, PredatorCapturePreyDraws]):
    """Perception agents see the prey and cannot capture it; action agents can, but have to be told where it is.

    ::

        . . . . .      1 2  perception agents: see the (2v+1) x (2v+1) cells around them
        . 1 . . .      a    action agent: knows the cells around it, sees nothing in them
        . . . * .      *    prey, does not move
        a . . . .
        . . . . 2      actions: 0 up, 1 right, 2 down, 3 left, 4 stay, 5 capture

    A step: agents that are not on the prey move, stopped by the border; agents on it stay there for good. An action
    agent has captured the prey once it chose "capture" while it stood there, so at the earliest in the step after it
    arrived. "Capture" elsewhere, and by perception agents, is to stay. All begin on different cells; agents may share
    one.

    Reward of each agent: -0.05; done, with k agents on the prey, 0 (``mixed``), 0.05 k (``cooperative``) or 0.05 / k
    (``competitive``). A perception agent is done on the prey, an action agent when it has captured it; with
    ``partial_reward`` an action agent on the prey that has not captured it gets -0.025. Success: all agents are done.
    Only ``mixed`` ends with it; the other modes run to the time limit.

    Flat observation: as in ``predator_prey``, dim^2 + 4 counts for each cell of the window: number of the cell one-hot;
    action agents, "outside the grid", prey, perception agents (itself included). Action agents have -1 in place of
    these four in every cell, outside the grid, too, so that they know only where they are. Sparse: 5 entries for each
    cell of the window.

    Source: Seraj et al. 2022, "Learning efficient diverse communication for cooperative heterogeneous teaming" (HetNet,
    AAMAS), section 5, and its published environment with its default of 2 perception agents and 1 action agent, without
    the choice to let prey talk or action agents see. Ours: more than one prey, where "the prey" reads "any prey";
    success, which there only ``mixed`` has; the time limit.

    Raises:
        ConfigError: A setting out of range, or more agents and prey than cells.
    """

    id = "predator_capture_prey"
    settings_class = PredatorCapturePreySettings
    settings: PredatorCapturePreySettings
    named_actions: ClassVar[tuple[str, ...]] = ("up", "right", "down", "left", "stay", "capture")
    grid_setting: ClassVar[str | None] = "dim"
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "5x5-2p1a-v0": {"dim": 5, "num_agents": 3, "num_action_agents": 1, "vision": 1, "max_steps": 20},
        "10x10-3p2a-v0": {"dim": 10, "num_agents": 5, "num_action_agents": 2, "vision": 1, "max_steps": 40},
    }

    def sizes(self) -> Sizes:
        own = self.settings
        return Sizes(own.num_agents, 6, (2 * own.vision + 1) ** 2 * (own.dim**2 + 4), own.max_steps)

    def build(self) -> None:
        chosen = self.settings
        self.dim, self.vision, self.mode, self.num_prey = chosen.dim, chosen.vision, chosen.mode, chosen.num_prey
        self.num_action_agents, self.partial_reward = chosen.num_action_agents, chosen.partial_reward
        self.num_perception = chosen.num_agents - chosen.num_action_agents
        self._build_tables()

    def _build_tables(self) -> None:
        seeing, blind = self.num_perception, self.num_action_agents
        # Moves of the free, then of those on the prey.
        self._moves_X2 = torch.tensor([*_MOVES, *[(0, 0)] * len(_MOVES)], device=self.device)
        waiting = _HALF_REWARD if self.partial_reward else _STEP_REWARD
        done = [self._reward_when_done(k) for k in range(self.num_agents + 1)]
        self._reward_k = torch.tensor([_STEP_REWARD, waiting, *done], device=self.device)
        self._window = Window(self.dim, self.vision, [2] * self.num_prey + [3] * seeing + [0] * blind, self.device)
        cells, places = self.dim * self.dim, self._window.place_CW
        start_W = torch.arange(self._window.count, device=self.device) * self._window.vocabulary
        kinds = (start_W[:, None] + cells + torch.arange(4, device=self.device)).flatten()
        self._blind_index = torch.cat([places, kinds.expand(cells, -1)], 1)
        inside = (places - start_W < cells).float()  # the one-hot of "outside" is one of the four
        hidden = torch.full_like(self._blind_index[:, inside.shape[1] :], -1.0, dtype=torch.float32)
        self._blind_value = torch.cat([inside, hidden], 1)

    def _reward_when_done(self, k: int) -> float:
        """The reward of an agent that is done, ``k`` agents being on the prey, in float64 as in the reference."""
        if self.mode == "mixed":
            return 0.0
        return _PREY_REWARD * k if self.mode == "cooperative" else _PREY_REWARD / max(k, 1)

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> PredatorCapturePreyDraws:
        if isinstance(t, Tensor):
            return PredatorCapturePreyDraws(key.new_empty(key.shape[0], 0))
        start = random.stream(key, "start")
        count = self.num_agents + self.num_prey
        return PredatorCapturePreyDraws(random.sample_without_replacement(start, self.dim * self.dim, count))

    def initial(self, draws: PredatorCapturePreyDraws) -> PredatorCapturePreyState:
        place = torch.stack([draws.cells // self.dim, draws.cells % self.dim], -1)
        pos, prey = place[:, : self.num_agents], place[:, self.num_agents :]
        reached = self._on_prey(pos, prey)
        return PredatorCapturePreyState(pos, prey, reached, torch.zeros_like(reached[:, self.num_perception :]))

    def transition(
        self,
        state: PredatorCapturePreyState,
        action: Int[Tensor, "B N"],
        draws: PredatorCapturePreyDraws,  # nothing is drawn after the reset
    ) -> tuple[PredatorCapturePreyState, Float[Tensor, "B N"], Flags]:
        choice = torch.add(action, state.reached, alpha=len(_MOVES))
        pos = self._moves_X2.index_select(0, choice.view(-1)).view(state.pos.shape)
        pos = pos.add_(state.pos).clamp_(0, self.dim - 1)
        capturing = (action == _CAPTURE) & state.reached
        captured = state.captured | capturing[:, self.num_perception :]
        new = PredatorCapturePreyState(pos, state.prey, self._on_prey(pos, state.prey), captured)
        done = self._done(new)
        success = done.all(1)
        terminated = success.clone() if self.mode == "mixed" else torch.zeros_like(success)
        count_B1 = new.reached.sum(1, keepdim=True)
        waiting = new.reached & ~done
        which = done * (count_B1 + 2) + waiting
        reward = self._reward_k.index_select(0, which.view(-1)).view(which.shape)
        return new, reward, Flags(terminated, success)

    def _done(self, state: PredatorCapturePreyState) -> Tensor:
        """``[B, N]``: perception agents on the prey, action agents that have captured it."""
        return torch.cat([state.reached[:, : self.num_perception], state.captured], 1)

    @staticmethod
    def _on_prey(pos: Tensor, prey: Tensor) -> Tensor:
        return (pos[:, :, None] == prey[:, None]).all(-1).any(-1)

    def observe(self, state: PredatorCapturePreyState, form: Form) -> Observation:
        rows, blind = state.pos.shape[0], state.pos[:, self.num_perception :]
        seen = self._window.look(state.pos[:, : self.num_perception], torch.cat([state.prey, state.pos], 1))
        cell = (blind[..., 0] * self.dim + blind[..., 1]).view(-1)
        pad = (0, self._blind_index.shape[1] - seen.index.shape[-1])
        index = self._blind_index.index_select(0, cell).view(rows, self.num_action_agents, -1)
        value = self._blind_value.index_select(0, cell).view(rows, self.num_action_agents, -1)
        sparse = SparseObs(
            torch.cat([torch.nn.functional.pad(seen.index, pad), index], 1),
            torch.cat([torch.nn.functional.pad(seen.value, pad), value], 1),
            self.obs_dim,
        )
        return sparse if form == "sparse" else sparse.to_flat()

    def positions(self, state: PredatorCapturePreyState) -> Float[Tensor, "B N 2"]:
        return state.pos.to(torch.float32)

    def describe(self, state: PredatorCapturePreyState) -> Scene:
        hunters = state.pos[:, self.num_perception :]
        on_BAP = (hunters[:, :, None] == state.prey[:, None]).all(-1)
        return Scene(
            size=(self.dim, self.dim),
            agents=self.positions(state),
            finished=self._done(state),
            entities={"prey": state.prey.to(torch.float32)},
            active={"prey": ~(on_BAP & state.captured[..., None]).any(1)},
        )

    @property
    def ceiling_kind(self) -> Kind:
        """Where captures share a reward, who cannot capture in time should stay away."""
        return "optimal" if self.mode == "mixed" else "reference"

    def solve(self, state: PredatorCapturePreyState) -> Int[Tensor, "B N"]:
        """The shortest path to the nearest prey, rows before columns, and there "capture"."""
        return walk(to_nearest(state.pos, state.prey), _CAPTURE)
