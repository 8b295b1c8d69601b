"""Predator-Prey of IC3Net: predators that see next to nothing look for a prey that does not move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from envs import inputs
from envs.base import Flags, Form, GridEnv
from gnncomm import random
from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import Batch, ConfigError, Observation, Scene, SparseObs

_MODES = ("mixed", "cooperative", "competitive")
_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))  # up, right, down, left, stay
_STEP_REWARD = -0.05
_PREY_REWARD = 0.05


@dataclass(frozen=True)
class PredatorPreyDraws(Batch):
    """The cells where everything begins: N predators, then P prey; empty after a reset."""

    cells: Int[Tensor, "B C"]


@dataclass(frozen=True)
class PredatorPreyState(Batch):
    """Positions are (row, column)."""

    pos: Int[Tensor, "B N 2"]
    prey: Int[Tensor, "B P 2"]
    reached: Bool[Tensor, "B N"]


class PredatorPrey(GridEnv[PredatorPreyState, PredatorPreyDraws]):
    """N predators on a ``dim x dim`` grid must all step on the prey; one that has found it can tell the others.

    ::

        . . . . .      1 2 3  predators (may share a cell)
        . 1 . . .      *      prey, does not move
        . . . * .      each sees the (2v+1) x (2v+1) cells around it: at v = 0 only the cell it stands on
        3 . . . .
        . . . . 2      actions: 0 up, 1 right, 2 down, 3 left, 4 stay

    A step: every predator that has not reached the prey moves, stopped by the border; those on the prey now stay there
    for good. All begin on different cells. Reward of each predator: -0.05, but on the prey, with k predators on it,
    0 (``mixed``), 0.05 k (``cooperative``) or 0.05 / k (``competitive``). Success: all predators are on the prey. Only
    ``mixed`` ends with it; the other modes run to the time limit.

    Flat observation: for each cell of the window, row-major, dim^2 + 4 counts: the cell's number one-hot, one entry
    never used, "outside the grid", prey, predators (itself included). Sparse: 3 entries for each cell of the window.

    Source: Singh, Jain and Sukhbaatar 2019, "Learning when to communicate at scale in multiagent cooperative and
    competitive tasks" (IC3Net), section 4.1.1, and its published environment, whose habits are kept:
    with ``dim <= vision`` nobody ever moves right or down; with ``enemy_comm`` each prey is one more agent (after the
    predators), whose action is ignored and whose reward is 0.05 until a predator stands on it, then 0.
    Ours: more than one prey, where "the prey" reads "any prey", k counts the predators on any of them.

    Args:
        num_envs, device, observation: See ``GridEnv``.
        dim: Side of the grid.
        num_agents: Number of predators.
        vision: v, at most ``dim``.
        mode: Which reward, see above.
        max_steps: Time limit; 4 * dim (20, 40, 80 for the published sizes) if None.
        num_prey: Number of prey.
        enemy_comm: Whether prey observe and talk, too.
        no_stay: Whether action 4 is taken away.

    Raises:
        ConfigError: A setting out of range, or more predators and prey than cells.
    """

    grid_setting: ClassVar[str | None] = "dim"
    recipe: Mapping[str, Any] = {
        "num_envs": 256,
        "rollout": 20,
        "steps": 2_400_000,
        "ppo": {"lr": 3e-3, "gamma": 0.97, "epochs": 2, "minibatches": 4},
    }
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "5x5-3-v0": {"dim": 5, "num_agents": 3, "vision": 0, "mode": "mixed", "max_steps": 20},
        "10x10-5-v0": {"dim": 10, "num_agents": 5, "vision": 1, "mode": "mixed", "max_steps": 40},
        "20x20-10-v0": {"dim": 20, "num_agents": 10, "vision": 1, "mode": "mixed", "max_steps": 80},
    }

    def __init__(
        self,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        observation: str = "flat",
        *,
        dim: int = 5,
        num_agents: int = 3,
        vision: int = 0,
        mode: str = "mixed",
        max_steps: int | None = None,
        num_prey: int = 1,
        enemy_comm: bool = False,
        no_stay: bool = False,
    ) -> None:
        self.dim = inputs.integer("dim", dim, 1)
        self.num_predators = inputs.integer("num_agents", num_agents, 1)
        self.vision = inputs.integer("vision", vision, 0, dim)
        self.mode = inputs.choice("mode", mode, _MODES)
        self.num_prey = inputs.integer("num_prey", num_prey, 1)
        self.enemy_comm = inputs.flag("enemy_comm", enemy_comm)
        no_stay = inputs.flag("no_stay", no_stay)
        max_steps = 4 * dim if max_steps is None else inputs.integer("max_steps", max_steps, 1)
        if num_agents + num_prey > dim * dim:
            raise ConfigError(
                f"num_agents + num_prey: expected at most dim * dim = {dim * dim}, got {num_agents} + {num_prey}. Use "
                "a larger dim."
            )
        config = {
            "dim": dim,
            "num_agents": num_agents,
            "vision": vision,
            "mode": mode,
            "max_steps": max_steps,
            "num_prey": num_prey,
            "enemy_comm": enemy_comm,
            "no_stay": no_stay,
        }
        super().__init__(
            "predator_prey",
            config,
            num_envs=num_envs,
            num_agents=num_agents + (num_prey if enemy_comm else 0),
            num_actions=4 if no_stay else 5,
            obs_dim=(2 * vision + 1) ** 2 * (dim * dim + 4),
            max_steps=max_steps,
            device=device,
            observation=observation,
        )
        self._build_tables()

    def _build_tables(self) -> None:
        dim, vision = self.dim, self.vision
        # The reference looks for the border at a clipped index of its padded grid, and so always finds it here.
        moves = [(min(r, 0), min(c, 0)) if dim <= vision else (r, c) for r, c in _MOVES]
        self._moves_A2 = torch.tensor(moves, device=self.device)
        self._prey_reward_k = torch.tensor([self._reward_on_prey(k) for k in range(self.num_predators + 1)])
        self._prey_reward_k = self._prey_reward_k.to(self.device)
        offset = torch.arange(-vision, vision + 1)
        row_C1, col_C1 = (torch.arange(dim * dim) // dim)[:, None], (torch.arange(dim * dim) % dim)[:, None]
        row_CW = row_C1 + offset.repeat_interleave(len(offset))
        col_CW = col_C1 + offset.repeat(len(offset))
        inside_CW = (row_CW >= 0) & (row_CW < dim) & (col_CW >= 0) & (col_CW < dim)
        cell_CW = torch.where(inside_CW, row_CW * dim + col_CW, dim * dim)
        start_W = torch.arange(cell_CW.shape[1]) * (dim * dim + 4)
        self._window_CW = cell_CW.to(self.device)  # cells seen from each cell; dim^2 is outside
        place_CW = start_W + torch.where(inside_CW, cell_CW, dim * dim + 1)
        prey_CW, predator_CW = ((start_W + dim * dim + k).expand_as(place_CW) for k in (2, 3))
        index_CW3 = torch.stack([place_CW, prey_CW, predator_CW], -1)
        self._index_CK = index_CW3.flatten(1).to(self.device)  # where in the flat vector the entries go

    def _reward_on_prey(self, k: int) -> float:
        """The reward of one of ``k`` predators on the prey, in Python floats (float64) as in the reference."""
        if self.mode == "mixed":
            return 0.0
        return _PREY_REWARD * k if self.mode == "cooperative" else _PREY_REWARD / max(k, 1)

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> PredatorPreyDraws:
        if isinstance(t, Tensor):
            return PredatorPreyDraws(key.new_empty(key.shape[0], 0))
        start = random.stream(key, "start")
        count = self.num_predators + self.num_prey
        return PredatorPreyDraws(random.sample_without_replacement(start, self.dim * self.dim, count))

    def initial(self, draws: PredatorPreyDraws) -> PredatorPreyState:
        place = torch.stack([draws.cells // self.dim, draws.cells % self.dim], -1)
        pos, prey = place[:, : self.num_predators], place[:, self.num_predators :]
        return PredatorPreyState(pos, prey, self._on_prey(pos, prey))

    def transition(
        self,
        state: PredatorPreyState,
        action: Int[Tensor, "B M"],
        draws: PredatorPreyDraws,  # nothing is drawn after the reset
    ) -> tuple[PredatorPreyState, Float[Tensor, "B M"], Flags]:
        moved = (state.pos + self._moves_A2[action[:, : self.num_predators]]).clamp_(0, self.dim - 1)
        pos = torch.where(state.reached[..., None], state.pos, moved)
        reached = self._on_prey(pos, state.prey)
        new = PredatorPreyState(pos, state.prey, reached)
        success = reached.all(1)
        terminated = success if self.mode == "mixed" else torch.zeros_like(success)
        return new, self._reward(new), Flags(terminated, success)

    def _reward(self, state: PredatorPreyState) -> Tensor:
        on_prey = self._prey_reward_k[state.reached.sum(1)]
        reward = torch.where(state.reached, on_prey[:, None], _STEP_REWARD)
        if not self.enemy_comm:
            return reward
        caught = (state.pos[:, :, None] == state.prey[:, None]).all(-1).any(1)
        return torch.cat([reward, torch.where(caught, 0.0, _PREY_REWARD)], 1)

    @staticmethod
    def _on_prey(pos: Tensor, prey: Tensor) -> Tensor:
        return (pos[:, :, None] == prey[:, None]).all(-1).any(-1)

    def observe(self, state: PredatorPreyState, form: Form) -> Observation:
        cell_BN, prey_BP = self._cells(state.pos), self._cells(state.prey)
        cell_BM = torch.cat([cell_BN, prey_BP], 1) if self.enemy_comm else cell_BN
        window_BMW = self._window_CW[cell_BM]
        rows, cells = cell_BN.shape[0], self.dim * self.dim + 1
        predators = torch.zeros(rows, cells, device=self.device).scatter_add_(
            1, cell_BN, torch.ones_like(cell_BN, dtype=torch.float32)
        )
        prey = torch.zeros(rows, cells, device=self.device).scatter_add_(
            1, prey_BP, torch.ones_like(prey_BP, dtype=torch.float32)
        )
        flat_window = window_BMW.flatten(1)
        value_BMW3 = torch.stack(
            [
                torch.ones(window_BMW.shape, device=self.device),
                prey.gather(1, flat_window).view(window_BMW.shape),
                predators.gather(1, flat_window).view(window_BMW.shape),
            ],
            -1,
        )
        sparse = SparseObs(self._index_CK[cell_BM], value_BMW3.flatten(2), self.obs_dim)
        return sparse if form == "sparse" else sparse.to_flat()

    def _cells(self, place: Tensor) -> Tensor:
        return place[..., 0] * self.dim + place[..., 1]

    def positions(self, state: PredatorPreyState) -> Float[Tensor, "B M 2"]:
        everyone = torch.cat([state.pos, state.prey], 1) if self.enemy_comm else state.pos
        return everyone.to(torch.float32)

    def describe(self, state: PredatorPreyState) -> Scene:
        caught = (state.pos[:, :, None] == state.prey[:, None]).all(-1).any(1)
        finished = torch.cat([state.reached, torch.zeros_like(caught)], 1) if self.enemy_comm else state.reached.clone()
        return Scene(
            size=(self.dim, self.dim),
            agents=self.positions(state),
            finished=finished,
            entities={"prey": state.prey.to(torch.float32)},
            active={"prey": ~caught},
        )

    def solve(self, state: PredatorPreyState) -> Int[Tensor, "B M"]:
        """The shortest path to the nearest prey, rows before columns."""
        distance_BNP = (state.pos[:, :, None] - state.prey[:, None]).abs().sum(-1)
        nearest_BN2 = state.prey.gather(1, distance_BNP.argmin(-1)[..., None].expand(-1, -1, 2))
        rows, columns = (nearest_BN2 - state.pos).unbind(-1)
        stay = 0 if self.num_actions == 4 else 4  # frozen predators ignore their action
        action = torch.full_like(rows, stay)
        action = torch.where(columns > 0, 1, torch.where(columns < 0, 3, action))
        action = torch.where(rows > 0, 2, torch.where(rows < 0, 0, action))
        if self.enemy_comm:
            action = torch.cat([action, torch.full_like(state.prey[..., 0], stay)], 1)
        return action
