"""Stag hunt: a stag needs two hunters at once, and whoever tries alone is punished."""

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

from .frame.base import Flags, Form, Gone, GridEnv, Settings, Sizes
from .frame.rules import ratio
from .frame.settings import choice, flag, integer, number

_MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0), (0, 0), (0, 0))  # right, down, left, up, stay, catch
_DIRECTIONS, _STAY, _CATCH = 4, 4, 5
_KINDS = 3  # hunters, stags, hares


@dataclass(frozen=True)
class StagHuntDraws(Batch):
    """Where everything begins (empty after a reset); then (empty at a reset) who goes first, and where prey turns."""

    cells: Int[Tensor, "B C"]
    priority: Int[Tensor, "B M"]
    turn: Float[Tensor, "B P"]


@dataclass(frozen=True)
class StagHuntState(Batch):
    """Positions are (row, column); prey are the stags, then the hares."""

    pos: Int[Tensor, "B N 2"]
    hunting: Bool[Tensor, "B N"]
    prey: Int[Tensor, "B P 2"]
    left: Bool[Tensor, "B P"]


@dataclass(frozen=True)
class StagHuntSettings(Settings):
    """See ``StagHunt``."""

    dim: int = integer(10, 2, doc="Side of the grid, at least 2.")
    num_agents: int = integer(8, 1, doc="N, hunters.")
    num_stags: int = integer(8, 0, doc="Prey, at least one in all.")
    num_hares: int = integer(0, 0, doc="Prey, at least one in all.")
    vision: int = integer(2, 0, lambda own: own.dim, doc="v.")
    capture: str = choice("catch", ("catch", "touch"), doc='``"catch"`` or ``"touch"``, see above.')
    penalty: float = number(-2.0, -1e6, 0.0, doc="Punishment for a try with too few hunters, at most 0.")
    stag_reward: float = number(10.0, 0.0, 1e6, doc="Rewards of a catch.")
    hare_reward: float = number(1.0, 0.0, 1e6, doc="Rewards of a catch.")
    step_reward: float = number(0.0, -1e6, 0.0, doc="Reward of a step, at most 0.")
    coordinates: bool = flag(False, doc="Whether hunters know where they are.")
    max_steps: int = integer(200, 1, doc="Time limit.")

    def resolve(self) -> None:
        prey = self.num_stags + self.num_hares
        if prey < 1 or self.num_agents + prey > self.dim**2:
            raise ConfigError(
                f"num_agents, num_stags, num_hares: expected prey, and at most dim * dim = {self.dim**2} in all, got "
                f"{self.num_agents}, {self.num_stags} and {self.num_hares}. Choose a larger dim, or other numbers."
            )


class StagHunt(GridEnv[StagHuntState, StagHuntDraws]):
    """N hunters, stags and hares on a ``dim x dim`` grid, one on a cell, all moving.

    ::

        . . . . .      1 2  hunters; S stag; h hare
        . 1 S 2 .      1 and 2 both catch: the stag is theirs, +10 for all, and both leave with it
        . . . . .      only one of them catches: the stag stays, ``penalty`` for all
        . h . . .
        . . . . .      actions: 0 right, 1 down, 2 left, 3 up, 4 stay, 5 catch

    A step, in this order:

    1. Hunters move, all at once. A move out of the grid or into a cell that was taken when the step began is none; of
       several hunters that want the same cell one, drawn at random, gets it.
    2. Prey is caught, in random order. A stag needs two hunters that stand next to it (4 neighbours) and catch, a hare
       one. If there are enough, the prey is gone, everyone gets its reward, and with ``capture="catch"`` these hunters
       are gone, too: they leave the grid and count for no other prey. If there are some, but not enough, everyone gets
       ``penalty``. Catching next to nothing does nothing.
    3. What is left of the prey moves, all at once, each to one of its free neighbouring cells, drawn uniformly; of
       several that want the same cell one, drawn at random, gets it.

    With ``capture="touch"`` there is no action 5: whoever stands next to prey catches, and nobody leaves.

    Reward, the same for all: ``step_reward`` + what 2. gave. The episode terminates when no prey is left, or too few
    hunters to catch any of it; success is just that. Hunters that left stay alive as agents (they share the team's
    reward), see nothing, and have only "stay" at hand. ``action_mask`` also takes away moves against the border, and
    catching where no prey is near.

    Observation: the (2v+1) x (2v+1) cells around, row-major, each with the number of hunters (itself included), stags
    and hares in it; cells outside the grid are empty. With ``coordinates`` row and column follow, divided by dim - 1.
    Sparse: an entry for each hunter and prey, in sight or not, + 2.

    Source: Boehmer, Kurin and Whiteson 2020, "Deep coordination graphs", section 5 ("relative overgeneralization") and
    its published environment and settings. Kept: all numbers, rewards and masks. Changed: there, hunters and prey move
    one after the other in random order, so that a cell can be entered that was left in the same step; and the episode
    goes on where a single hunter is left with stags. ``capture="touch"`` has the rules of the predator-prey that Li et
    al. 2021, "Deep implicit coordination graphs" (DICG) takes from ma-gym, with prey that moves as above.

    Raises:
        ConfigError: A setting out of range, or more hunters and prey than cells.
    """

    id = "stag_hunt"
    settings_class = StagHuntSettings
    settings: StagHuntSettings
    named_actions: ClassVar[tuple[str, ...]] = ("right", "down", "left", "up", "stay", "catch")
    grid_setting: ClassVar[str | None] = "dim"
    no_op: ClassVar[int | None] = _STAY
    adjustable: ClassVar[tuple[str, ...]] = ("penalty", "stag_reward", "hare_reward", "step_reward")
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "10x10-8-p2-v0": {"dim": 10, "num_agents": 8, "num_stags": 8, "penalty": -2.0},
        "10x10-8-p0-v0": {"dim": 10, "num_agents": 8, "num_stags": 8, "penalty": 0.0},
        "10x10-8-touch-v0": {
            "num_agents": 8,
            "num_stags": 8,
            "capture": "touch",
            "penalty": -1.25,
            "step_reward": -0.1,
        },
        "6x6-4-v0": {"dim": 6, "num_agents": 4, "num_stags": 3, "penalty": -2.0, "max_steps": 50},
    }

    def sizes(self) -> Sizes:
        own = self.settings
        width = (2 * own.vision + 1) ** 2 * _KINDS + 2 * own.coordinates
        return Sizes(own.num_agents, 6 if own.capture == "catch" else 5, width, own.max_steps)

    def build(self) -> None:
        own = self.settings
        self.dim, self.vision, self.coordinates = own.dim, own.vision, own.coordinates
        self.num_stags, self.num_prey = own.num_stags, own.num_stags + own.num_hares
        self.leave, self.penalty, self.step_reward = own.capture == "catch", own.penalty, own.step_reward
        self.side = 2 * own.vision + 1
        prizes = [own.stag_reward] * own.num_stags + [own.hare_reward] * own.num_hares
        self._prize_P = torch.tensor(prizes, device=self.device)
        self._needed_P = torch.tensor([2] * own.num_stags + [1] * own.num_hares, device=self.device)
        self._build_tables([0] * own.num_agents + [1] * own.num_stags + [2] * own.num_hares)

    def _build_tables(self, kinds: list[int]) -> None:
        dim, wide = self.dim, self.dim + 2
        moves_A2 = torch.tensor(_MOVES[: self.num_actions])
        self._step_A = (moves_A2[:, 0] * wide + moves_A2[:, 1]).to(self.device)
        inside = torch.zeros(wide, wide, dtype=torch.bool)
        inside[1:-1, 1:-1] = True
        self._border_C = ~inside.flatten().to(self.device)
        target_CA = (torch.arange(wide * wide)[:, None] + self._step_A.cpu()).clamp(0, wide * wide - 1)
        self._fits_CA = inside.flatten()[target_CA].to(self.device)
        # What is seen at each offset of two cells; thrice: who is gone lies one table further (viewer or subject).
        span = 2 * dim - 1
        row, col = torch.meshgrid(*[torch.arange(span) - (dim - 1) + self.vision] * 2, indexing="ij")
        seen_O = ((row >= 0) & (row < self.side) & (col >= 0) & (col < self.side)).flatten()
        entry_KO = (row * self.side + col).flatten() * _KINDS + torch.arange(_KINDS)[:, None]
        blank = torch.zeros(_KINDS, 2 * span**2, dtype=torch.int64)
        self._span, self._away = span, span * span
        self._entry = torch.cat([torch.where(seen_O, entry_KO, 0), blank], 1).flatten().to(self.device)
        self._seen = torch.cat([seen_O.expand(_KINDS, -1), blank], 1).flatten().to(self.device, torch.float32)
        middle = (dim - 1) * (span + 1)
        self._table_S = torch.tensor(kinds, device=self.device) * 3 * self._away + middle

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> StagHuntDraws:
        whole, real = key.new_empty(key.shape[0], 0), torch.empty(key.shape[0], 0, device=self.device)
        count = self.num_agents + self.num_prey
        if not isinstance(t, Tensor):
            cells = random.sample_without_replacement(random.stream(key, "start"), self.dim * self.dim, count)
            return StagHuntDraws(cells, whole, real)
        everyone = torch.arange(count, device=self.device)
        priority = random.bits(random.stream(key, "priority")[:, None], t[:, None], everyone)
        turn = random.uniform(random.stream(key, "turn")[:, None], t[:, None], everyone[: self.num_prey])
        return StagHuntDraws(whole, priority, turn)

    def initial(self, draws: StagHuntDraws) -> StagHuntState:
        place = torch.stack([draws.cells // self.dim, draws.cells % self.dim], -1)
        pos, prey = place.split([self.num_agents, self.num_prey], 1)
        yes = torch.ones(place.shape[:2], dtype=torch.bool, device=self.device)
        return StagHuntState(
            pos.clone(), yes[:, : self.num_agents].clone(), prey.clone(), yes[:, self.num_agents :].clone()
        )

    def transition(
        self, state: StagHuntState, action: Int[Tensor, "B N"], draws: StagHuntDraws
    ) -> tuple[StagHuntState, Float[Tensor, "B N"], Flags]:
        first_N, first_P = draws.priority.split([self.num_agents, self.num_prey], 1)
        action = torch.where(state.hunting, action, _STAY)
        taken_BC = self._taken(state)
        from_BN = self._code(state.pos)
        wanted_BN = torch.where(state.hunting, from_BN + self._step_A[action], 0)  # who left wants the border
        here_BN = self._settle(from_BN, wanted_BN, taken_BC, first_N)
        moved = StagHuntState(self._place(here_BN), state.hunting, state.prey, state.left)
        hunting, left, gain = self._catch(moved, action, first_P)
        quieter = StagHuntState(moved.pos, hunting, state.prey, left)
        new = StagHuntState(moved.pos, hunting, self._roam(quieter, draws.turn, first_P), left)
        reward = (gain + self.step_reward)[:, None].repeat(1, self.num_agents)
        over = self._over(new)
        return new, reward, Flags(over, over.clone())

    def _code(self, place: Tensor) -> Tensor:
        """Number of a cell in the grid with a border of one cell around it."""
        return (place[..., 0] + 1) * (self.dim + 2) + place[..., 1] + 1

    def _place(self, code: Tensor) -> Tensor:
        return torch.stack([code // (self.dim + 2) - 1, code % (self.dim + 2) - 1], -1)

    def _taken(self, state: StagHuntState) -> Bool[Tensor, "B C"]:
        """Cells where nobody can go: the border, hunters, prey. Who is gone counts for the border's first cell."""
        code = torch.cat([self._code(state.pos), self._code(state.prey)], 1)
        code = torch.where(torch.cat([state.hunting, state.left], 1), code, 0)
        return self._border_C.repeat(code.shape[0], 1).scatter_(1, code, True)

    @staticmethod
    def _settle(source: Tensor, target: Tensor, taken: Tensor, priority: Tensor) -> Tensor:
        """Where each of ``[B, M]`` ends that wants to go from ``source`` to ``target``."""
        wants = ~taken.gather(1, target)
        rival = (target[:, :, None] == target[:, None]) & (priority[:, None] > priority[:, :, None])
        return torch.where(wants & ~rival.any(-1), target, source)

    def _near(self, state: StagHuntState) -> Bool[Tensor, "B P N"]:
        """Which hunters stand next to which prey, both still there."""
        prey = torch.where(state.left, self._code(state.prey), -self._away)
        apart = (prey.int()[:, :, None] - self._code(state.pos).int()[:, None]).abs()
        return ((apart == 1) | (apart == self.dim + 2)) & state.hunting[:, None]

    def _catch(self, state: StagHuntState, action: Tensor, priority: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Who goes on hunting, what prey is left, and what it gave."""
        trying_BPN = self._near(state)
        if self.leave:
            trying_BPN = trying_BPN & (action == _CATCH)[:, None]
        hunting = state.hunting
        if not self.leave:
            count_BP = trying_BPN.sum(-1)
            caught_BP = count_BP >= self._needed_P
        else:  # prey by prey, as in the reference: whoever has caught something is gone when the next one is tried
            order_BP = priority.argsort(1, descending=True)
            needed_BP = self._needed_P[order_BP]
            trying_BPN = trying_BPN.gather(1, order_BP[..., None].expand_as(trying_BPN))
            counts, catches = [], []
            for p in range(self.num_prey):
                trying_BN = trying_BPN[:, p] & hunting
                counts.append(trying_BN.sum(1))
                catches.append(counts[-1] >= needed_BP[:, p])
                hunting = hunting & ~(trying_BN & catches[-1][:, None])
            back_BP = order_BP.argsort(1)
            count_BP, caught_BP = (torch.stack(x, 1).gather(1, back_BP) for x in (counts, catches))
        failed = (count_BP > 0) & ~caught_BP
        gain = torch.where(caught_BP, self._prize_P, 0.0).sum(1) + self.penalty * failed.sum(1)
        return hunting, state.left & ~caught_BP, gain

    def _roam(self, state: StagHuntState, turn: Tensor, priority: Tensor) -> Int[Tensor, "B P 2"]:
        taken_BC, from_BP = self._taken(state), self._code(state.prey)
        around_BPD = from_BP[..., None] + self._step_A[:_DIRECTIONS]
        free_BPD = ~taken_BC.gather(1, around_BPD.flatten(1)).view(around_BPD.shape) & state.left[..., None]
        rank_BPD = free_BPD.cumsum(-1)
        chosen_BP = (turn * rank_BPD[..., -1]).long() + 1
        pick_BPD = free_BPD & (rank_BPD == chosen_BP[..., None])
        target_BP = torch.where(pick_BPD, around_BPD, 0).sum(-1)
        target_BP = torch.where(pick_BPD.any(-1), target_BP, 0)  # cell 0 is taken
        return self._place(self._settle(from_BP, target_BP, taken_BC, priority))

    def _over(self, state: StagHuntState) -> Bool[Tensor, " B"]:
        scarce = torch.where(state.left, self._needed_P, self.num_agents + 1).amin(1)
        return state.hunting.sum(1) < scarce

    def allowed(self, state: StagHuntState) -> Bool[Tensor, "B N A"]:
        fits_BNA = self._fits_CA[self._code(state.pos)]
        if self.leave:
            fits_BNA[..., _CATCH] = self._near(state).any(1)
        stays_A = torch.arange(self.num_actions, device=self.device) == _STAY
        return torch.where(state.hunting[..., None], fits_BNA, stays_A)

    def observe(self, state: StagHuntState, form: Form) -> Observation:
        subject = torch.cat([state.pos, state.prey], 1)
        gone_BS = ~torch.cat([state.hunting, state.left], 1)
        to_BS = subject[..., 0] * self._span + subject[..., 1] + self._table_S + gone_BS * self._away
        from_BN = state.pos[..., 0] * self._span + state.pos[..., 1] - ~state.hunting * self._away
        pair_BNS = to_BS.int()[:, None] - from_BN.int()[..., None]
        pair = pair_BNS.view(-1)
        index, value = (table.index_select(0, pair).view(pair_BNS.shape) for table in (self._entry, self._seen))
        if self.coordinates:
            place = torch.arange(self.obs_dim - 2, self.obs_dim, device=self.device).expand_as(state.pos)
            index = torch.cat([index, place], -1)
            where = ratio(state.pos, self.dim - 1)
            value = torch.cat([value, torch.where(state.hunting[..., None], where, 0.0)], -1)
        sparse = SparseObs(index, value, self.obs_dim)
        return sparse if form == "sparse" else sparse.to_flat()

    def positions(self, state: StagHuntState) -> Float[Tensor, "B N 2"]:
        return state.pos.to(torch.float32)

    def describe(self, state: StagHuntState) -> Scene:
        prey, left = state.prey.to(torch.float32), state.left.clone()
        cut = self.num_stags
        names = [("stag", slice(0, cut)), ("hare", slice(cut, self.num_prey))]
        present = [(name, part) for name, part in names if part.stop > part.start]
        return Scene(
            size=(self.dim, self.dim),
            agents=self.positions(state),
            finished=~state.hunting,
            entities={name: prey[:, part] for name, part in present},
            active={name: left[:, part] for name, part in present},
            present=state.hunting.clone(),
        )

    def gone(self, state: StagHuntState) -> Gone:
        return Gone(~state.hunting, {"pos": ~state.hunting, "prey": ~state.left})

    def solve(self, state: StagHuntState) -> Int[Tensor, "B N"]:
        """All hunters surround one stag, the one nearest to them; a hare where there is no stag to be caught.

        Prey moves when they have moved, so they go for cells diagonal to it, which are next to two of its next four.
        Good, not optimal.
        """
        apart_BNP2 = (state.prey[:, None] - state.pos[:, :, None]).abs()
        distance_BNP = apart_BNP2.sum(-1)
        able_BP = state.left & (state.hunting.sum(1, keepdim=True) >= self._needed_P)
        cost_BP = torch.where(state.hunting[..., None], distance_BNP, 0).sum(1) - 10_000 * self._needed_P
        goal_B1 = torch.where(able_BP, cost_BP, 10_000).argmin(1, keepdim=True)
        near_BN = distance_BNP.gather(2, goal_B1[..., None].expand(-1, self.num_agents, 1)).squeeze(-1)
        prey_B12 = state.prey.gather(1, goal_B1[..., None].expand(-1, -1, 2))
        needed_B1 = self._needed_P[goal_B1]
        if self.leave:
            next_BN = (near_BN == 1) & state.hunting
            catch_BN = next_BN & (next_BN.cumsum(1) <= needed_B1) & (next_BN.sum(1, keepdim=True) >= needed_B1)
            close_B1 = torch.zeros_like(needed_B1, dtype=torch.bool)
        else:  # who is next to it has caught it, so that all step in at once
            catch_BN = torch.zeros_like(state.hunting)
            close_B1 = ((near_BN <= 2) & (near_BN > 0)).sum(1, keepdim=True) >= needed_B1
        action = torch.where(catch_BN, _CATCH, self._approach(state, prey_B12, close_B1))
        return torch.where(state.hunting & able_BP.any(1, keepdim=True), action, _STAY)

    def _approach(self, state: StagHuntState, goal: Int[Tensor, "B 1 2"], close: Bool[Tensor, "B 1"]) -> Tensor:
        """The free step (or stay) that comes nearest: to a cell diagonal to ``goal``, or next to it where ``close``."""
        target_BNA = self._code(state.pos)[..., None] + self._step_A[: _STAY + 1]
        blocked = self._taken(state).gather(1, target_BNA.flatten(1)).view(target_BNA.shape)
        blocked = blocked & (torch.arange(_STAY + 1, device=self.device) != _STAY)
        row, col = (self._place(target_BNA) - goal[:, :, None]).abs().unbind(-1)
        distance = row + col
        beside = torch.where(distance == 1, 3, 2 * distance)
        score = torch.where(close[..., None], distance, torch.where((row == 1) & (col == 1), 2, beside + 1))
        return torch.where(blocked, 99 * self.dim, score).argmin(-1)
