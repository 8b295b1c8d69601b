"""Predator-Prey of IC3Net: predators that see next to nothing look for a prey."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ConfigError
from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import Batch, Observation, Scene

from .frame.base import Flags, Form, GridEnv, Settings, Sizes
from .frame.meeting import to_nearest, walk
from .frame.rules import Kind
from .frame.settings import choice, flag, integer
from .frame.window import Window

_MODES = ("mixed", "cooperative", "competitive")
_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))  # up, right, down, left, stay
_PREY_MOTIONS = ("still", "random", "flee")
_STEP_REWARD = -0.05
_PREY_REWARD = 0.05


@dataclass(frozen=True)
class PredatorPreyDraws(Batch):
    """Where everything begins (N predators, then P prey; empty after a reset), and what prey draw at each step."""

    cells: Int[Tensor, "B C"]
    prey: Int[Tensor, "B Q"]  # below 5 (random) or 10 (flee) for each prey; empty at a reset and where prey stand still


@dataclass(frozen=True)
class PredatorPreyState(Batch):
    """Positions are (row, column)."""

    pos: Int[Tensor, "B N 2"]
    prey: Int[Tensor, "B P 2"]
    reached: Bool[Tensor, "B N"]


@dataclass(frozen=True)
class PredatorPreySettings(Settings):
    """See ``PredatorPrey``."""

    dim: int = integer(5, 1, doc="Side of the grid.")
    num_agents: int = integer(3, 1, doc="Number of predators.")
    vision: int = integer(0, 0, lambda own: own.dim, doc="v, at most ``dim``.")
    mode: str = choice("mixed", _MODES, doc="Which reward, see above.")
    max_steps: int = integer(None, 1, doc="Time limit; 4 * dim (20, 40, 80 for the published sizes) if None.")
    num_prey: int = integer(1, 1, doc="Number of prey.")
    enemy_comm: bool = flag(False, doc="Whether prey observe and talk, too.")
    no_stay: bool = flag(False, doc="Whether action 4 is taken away.")
    moving_prey: str = choice("still", _PREY_MOTIONS, doc='``"still"``, ``"random"`` or ``"flee"``.')

    def resolve(self) -> None:
        if self.num_agents + self.num_prey > self.dim**2:
            raise ConfigError(
                f"num_agents + num_prey: expected at most dim * dim = {self.dim**2}, got {self.num_agents} + "
                f"{self.num_prey}. Use a larger dim."
            )
        self._put(max_steps=self.max_steps or 4 * self.dim)


class PredatorPrey(GridEnv[PredatorPreyState, PredatorPreyDraws]):
    """N predators on a ``dim x dim`` grid must all step on the prey; one that has found it can tell the others.

    ::

        . . . . .      1 2 3  predators (may share a cell)
        . 1 . . .      *      prey, stands still unless ``moving_prey`` says otherwise
        . . . * .      each sees the (2v+1) x (2v+1) cells around it: at v = 0 only the cell it stands on
        3 . . . .
        . . . . 2      actions: 0 up, 1 right, 2 down, 3 left, 4 stay

    A step: every predator that has not reached the prey moves, stopped by the border; those on the prey now stay there
    for good. All begin on different cells. Reward of each predator: -0.05, but on the prey, with k predators on it,
    0 (``mixed``), 0.05 k (``cooperative``) or 0.05 / k (``competitive``). Success: all predators are on the prey. Only
    ``mixed`` ends with it; the other modes run to the time limit.

    Flat observation: for each cell of the window, row-major, dim^2 + 4 counts: the cell's number one-hot, one entry
    never used, "outside the grid", prey, predators (itself included). Sparse, with W = (2v + 1)^2: W + P + N entries
    (the places, then 1 for each prey and predator in the window), or 3 W where that is less; see ``envs.frame.window``.

    Source: Singh, Jain and Sukhbaatar 2019, "Learning when to communicate at scale in multiagent cooperative and
    competitive tasks" (IC3Net), section 4.1.1, and its published environment, whose habits are kept:
    with ``dim <= vision`` nobody ever moves right or down; with ``enemy_comm`` each prey is one more agent (after the
    predators), whose action is ignored and whose reward is 0.05 until a predator stands on it, then 0.
    Ours: more than one prey, where "the prey" reads "any prey" and k counts the predators on any of them; and prey that
    move, which the published environment names but does not have. After the predators moved, each prey that none of
    them stands on makes one of the five moves: ``random``, a uniform one; ``flee``, with probability 1/2 (else it
    rests), the one that ends farthest (in steps) from the nearest predator still hunting, the first of equals in the
    cyclic order of the actions from a drawn one on. A prey that moves onto a predator is reached, too. Caught prey stay
    where they are.

    Raises:
        ConfigError: A setting out of range, or more predators and prey than cells.
    """

    id = "predator_prey"
    settings_class = PredatorPreySettings
    settings: PredatorPreySettings
    named_actions: ClassVar[tuple[str, ...]] = ("up", "right", "down", "left", "stay")
    grid_setting: ClassVar[str | None] = "dim"
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "5x5-3-v0": {"dim": 5, "num_agents": 3, "vision": 0, "mode": "mixed", "max_steps": 20},
        "10x10-5-v0": {"dim": 10, "num_agents": 5, "vision": 1, "mode": "mixed", "max_steps": 40},
        "20x20-10-v0": {"dim": 20, "num_agents": 10, "vision": 1, "mode": "mixed", "max_steps": 80},
        "10x10-5-random-v0": {"dim": 10, "num_agents": 5, "vision": 1, "max_steps": 40, "moving_prey": "random"},
        "10x10-5-flee-v0": {"dim": 10, "num_agents": 5, "vision": 1, "max_steps": 40, "moving_prey": "flee"},
    }

    def sizes(self) -> Sizes:
        own = self.settings
        agents = own.num_agents + (own.num_prey if own.enemy_comm else 0)
        width = (2 * own.vision + 1) ** 2 * (own.dim**2 + 4)
        return Sizes(agents, 4 if own.no_stay else 5, width, own.max_steps)

    def build(self) -> None:
        chosen = self.settings
        self.dim, self.vision, self.mode, self.num_predators = chosen.dim, chosen.vision, chosen.mode, chosen.num_agents
        self.num_prey, self.enemy_comm, self.moving_prey = chosen.num_prey, chosen.enemy_comm, chosen.moving_prey
        self._build_tables()

    def _build_tables(self) -> None:
        dim, predators = self.dim, self.num_predators
        # The reference looks for the border at a clipped index of its padded grid, and so always finds it here.
        moves = [(min(r, 0), min(c, 0)) if dim <= self.vision else (r, c) for r, c in _MOVES]
        self._moves_A2 = torch.tensor(moves, device=self.device)
        self._moves_or_none = torch.tensor([*moves, *[(0, 0)] * len(moves)], device=self.device)  # free, then frozen
        on_prey = [self._reward_on_prey(k) for k in range(predators + 1)]
        self._reward_k = torch.tensor([_STEP_REWARD, *on_prey], device=self.device)  # off the prey, then k on it
        self._window = Window(dim, self.vision, [2] * self.num_prey + [3] * predators, self.device)

    def _reward_on_prey(self, k: int) -> float:
        """The reward of one of ``k`` predators on the prey, in Python floats (float64) as in the reference."""
        if self.mode == "mixed":
            return 0.0
        return _PREY_REWARD * k if self.mode == "cooperative" else _PREY_REWARD / max(k, 1)

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> PredatorPreyDraws:
        nothing = key.new_empty(key.shape[0], 0)
        if isinstance(t, Tensor):
            if self.moving_prey == "still":
                return PredatorPreyDraws(nothing, nothing)
            which = torch.arange(self.num_prey, device=self.device)
            below = len(_MOVES) * (2 if self.moving_prey == "flee" else 1)
            return PredatorPreyDraws(
                nothing, random.integers(random.stream(key, "prey")[:, None], below, t[:, None], which)
            )
        start = random.stream(key, "start")
        count = self.num_predators + self.num_prey
        return PredatorPreyDraws(random.sample_without_replacement(start, self.dim * self.dim, count), nothing)

    def initial(self, draws: PredatorPreyDraws) -> PredatorPreyState:
        place = torch.stack([draws.cells // self.dim, draws.cells % self.dim], -1)
        pos, prey = place[:, : self.num_predators], place[:, self.num_predators :]
        return PredatorPreyState(pos.contiguous(), prey.contiguous(), self._on_prey(pos, prey))

    def transition(
        self, state: PredatorPreyState, action: Int[Tensor, "B M"], draws: PredatorPreyDraws
    ) -> tuple[PredatorPreyState, Float[Tensor, "B M"], Flags]:
        choice = torch.add(action[:, : self.num_predators], state.reached, alpha=len(_MOVES))
        pos = self._moves_or_none.index_select(0, choice.view(-1)).view(state.pos.shape)
        pos = pos.add_(state.pos).clamp_(0, self.dim - 1)
        prey = state.prey
        if self.moving_prey != "still":
            prey = torch.where(self._caught(pos, prey)[..., None], prey, self._moved_prey(state, pos, draws))
        reached = self._on_prey(pos, prey)
        count_B1 = reached.sum(1, keepdim=True)
        success = count_B1[:, 0] == self.num_predators
        terminated = success.clone() if self.mode == "mixed" else torch.zeros_like(success)
        new = PredatorPreyState(pos, prey, reached)
        return new, self._reward(new, count_B1), Flags(terminated, success)

    def _moved_prey(self, state: PredatorPreyState, pos: Tensor, draws: PredatorPreyDraws) -> Tensor:
        """Where prey go that are free to."""
        if self.moving_prey == "random":
            return (state.prey + self._moves_A2[draws.prey]).clamp_(0, self.dim - 1)
        to_BPA2 = (state.prey[:, :, None] + self._moves_A2).clamp_(0, self.dim - 1)
        steps_BPAN = (to_BPA2[:, :, :, None] - pos[:, None, None]).abs().sum(-1)
        fed_BN = self._on_prey(pos, state.prey)  # those who have just arrived hunt no more
        safety_BPA = torch.where(fed_BN[:, None, None], 2 * self.dim, steps_BPAN).amin(-1)
        order_BPA = (torch.arange(len(_MOVES), device=self.device) - draws.prey[..., None]) % len(_MOVES)
        best_BP = (safety_BPA * len(_MOVES) - order_BPA).argmax(-1)
        best_BP = torch.where(draws.prey < len(_MOVES), best_BP, len(_MOVES) - 1)  # the last move is to stay
        return to_BPA2.gather(2, best_BP[..., None, None].expand(-1, -1, 1, 2))[:, :, 0]

    def _reward(self, state: PredatorPreyState, count_B1: Tensor) -> Tensor:
        which_BN = state.reached * (count_B1 + 1)
        reward = self._reward_k.index_select(0, which_BN.view(-1)).view(which_BN.shape)
        if not self.enemy_comm:
            return reward
        return torch.cat([reward, torch.where(self._caught(state.pos, state.prey), 0.0, _PREY_REWARD)], 1)

    def _on_prey(self, pos: Tensor, prey: Tensor) -> Tensor:
        """``[B, N]``: who stands on a prey."""
        cell_BN, prey_BP = self._cells(pos), self._cells(prey)
        found = cell_BN == prey_BP[:, :1]
        for p in range(1, self.num_prey):
            found |= cell_BN == prey_BP[:, p : p + 1]
        return found

    def _caught(self, pos: Tensor, prey: Tensor) -> Tensor:
        """``[B, P]``: on which prey somebody stands."""
        return (self._cells(pos)[:, :, None] == self._cells(prey)[:, None]).any(1)

    def observe(self, state: PredatorPreyState, form: Form) -> Observation:
        viewer = torch.cat([state.pos, state.prey], 1) if self.enemy_comm else state.pos
        sparse = self._window.look(viewer, torch.cat([state.prey, state.pos], 1))
        return sparse if form == "sparse" else sparse.to_flat()

    def _cells(self, place: Tensor) -> Tensor:
        return torch.add(place[..., 1], place[..., 0], alpha=self.dim)

    def positions(self, state: PredatorPreyState) -> Float[Tensor, "B M 2"]:
        everyone = torch.cat([state.pos, state.prey], 1) if self.enemy_comm else state.pos
        return everyone.to(torch.float32)

    def describe(self, state: PredatorPreyState) -> Scene:
        caught = self._caught(state.pos, state.prey)
        finished = torch.cat([state.reached, torch.zeros_like(caught)], 1) if self.enemy_comm else state.reached.clone()
        return Scene(
            size=(self.dim, self.dim),
            agents=self.positions(state),
            finished=finished,
            entities={"prey": state.prey.to(torch.float32)},
            active={"prey": ~caught},
        )

    @property
    def ceiling_kind(self) -> Kind:
        return "reference" if self.moving_prey != "still" or self.enemy_comm or self.dim <= self.vision else "optimal"

    def solve(self, state: PredatorPreyState) -> Int[Tensor, "B M"]:
        """The shortest path to the nearest prey, rows before columns."""
        stay = 0 if self.num_actions == 4 else 4  # frozen predators ignore their action
        action = walk(to_nearest(state.pos, state.prey), stay)
        if self.enemy_comm:
            action = torch.cat([action, torch.full_like(state.prey[..., 0], stay)], 1)
        return action
