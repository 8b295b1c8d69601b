"""A planner that sees everything, for the ceiling of level-based foraging."""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor

from gnncomm.shapes import Bool, Int

_FAR = 10_000


class Planner:
    """The whole team goes to one piece of food at a time, the one with the smallest summed distance.

    Those who already stand beside it wait; each of the others is given a free cell beside it, so that the sum of the
    ways is smallest, and goes there around food and around those who wait. Nobody steps where somebody else is about
    to be. As soon as the levels of those in place suffice, they load. Of more than four players the four with the
    highest levels form the team (a piece of food has four sides). Short, not optimal: teams never split. Where no food
    is left, nobody does anything.
    """

    def __init__(self, rows: int, columns: int, num_agents: int, device: torch.device) -> None:
        self.rows, self.columns = rows, columns
        self.team = min(num_agents, 4)
        self._sides_42 = torch.tensor([[-1, 0], [1, 0], [0, -1], [0, 1]], device=device)
        self._moves_52 = torch.tensor([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], device=device)
        self._deals_PT = torch.tensor(list(permutations(range(4), self.team)), device=device)
        self._agents = torch.arange(num_agents, device=device)

    def __call__(
        self,
        pos: Int[Tensor, "B N 2"],
        level: Int[Tensor, "B N"],
        food: Int[Tensor, "B F 2"],
        food_level: Int[Tensor, "B F"],
    ) -> Int[Tensor, "B N"]:
        rank = level * _FAR + (len(self._agents) - self._agents)
        team_BT = rank.topk(self.team, 1).indices.sort(1).values
        distance_BNF = (pos[:, :, None] - food[:, None]).abs().sum(-1)
        way_BF = distance_BNF.gather(1, team_BT[..., None].expand(-1, -1, food.shape[1])).sum(1)
        chosen_B1 = torch.where(food_level > 0, way_BF, _FAR * _FAR).argmin(1, keepdim=True)
        hungry_B1 = (food_level > 0).any(1, keepdim=True)
        # Where there is no food (left), an inner cell stands for it: what was eaten, or never placed, lies nowhere.
        target_B12 = torch.where(hungry_B1[..., None], food.gather(1, chosen_B1[..., None].expand(-1, -1, 2)), 1)
        beside_BN = (pos - target_B12).abs().sum(-1) == 1
        enough_B1 = (beside_BN * level).sum(1, keepdim=True) >= food_level.gather(1, chosen_B1)
        moving_BN = torch.zeros_like(beside_BN).scatter(1, team_BT, True) & ~beside_BN
        side_B42 = target_B12 + self._sides_42
        blocked_BC = self._marked(food, food_level > 0) | self._marked(pos, ~moving_BN)
        way_B4C = self._ways(side_B42, blocked_BC)
        side_BN = self._deal(pos, moving_BN, team_BT, way_B4C)
        move_BN = self._steps(pos, moving_BN, way_B4C, side_BN)
        return torch.where(hungry_B1, torch.where(beside_BN & enough_B1, 5, move_BN), 0)

    def _cell(self, place: Tensor) -> Tensor:
        return place[..., 0] * self.columns + place[..., 1]

    def _marked(self, place: Tensor, active: Bool[Tensor, "B M"]) -> Tensor:
        """``[B, C]``: cells with an active thing."""
        counts = torch.zeros(len(place), self.rows * self.columns, dtype=torch.int64, device=place.device)
        return counts.scatter_add(1, self._cell(place), active.long()) > 0

    def _ways(self, side: Tensor, blocked: Tensor) -> Tensor:
        """``[B, 4, C]``: length of the shortest free path from each cell to each of the four sides."""
        grid = (len(side), 1, self.rows, self.columns)
        closed = blocked.view(grid)
        start = torch.full((len(side), 4, self.rows * self.columns), _FAR, dtype=torch.int16, device=side.device)
        way = start.scatter(2, self._cell(side)[..., None], 0).view(-1, 4, self.rows, self.columns)
        way = torch.where(closed, _FAR, way)
        for _ in range(self.rows + self.columns + 4):
            wide = torch.nn.functional.pad(way, (1, 1, 1, 1), value=_FAR)
            up, down = wide[..., :-2, 1:-1], wide[..., 2:, 1:-1]
            left, right = wide[..., 1:-1, :-2], wide[..., 1:-1, 2:]
            near = torch.minimum(torch.minimum(up, down), torch.minimum(left, right)) + 1
            way = torch.where(closed, _FAR, torch.minimum(way, near)).clamp(max=_FAR)
        return way.flatten(2)

    def _deal(self, pos: Tensor, moving: Tensor, team: Tensor, way: Tensor) -> Tensor:
        """``[B, N]``: which side each member of the team goes to."""
        cell_BT = self._cell(pos).gather(1, team)
        cost_BT4 = way.gather(2, cell_BT[:, None].expand(-1, 4, -1)).transpose(1, 2).to(torch.int64)
        cost_BT4 = torch.where(moving.gather(1, team)[..., None], cost_BT4, 0)
        members = torch.arange(self.team, device=pos.device)
        cost_BP = cost_BT4[:, members, self._deals_PT].sum(-1)
        side_BT = self._deals_PT[cost_BP.argmin(1)]
        return torch.zeros_like(moving, dtype=torch.int64).scatter(1, team, side_BT)

    def _steps(self, pos: Tensor, moving: Tensor, way: Tensor, side: Tensor) -> Tensor:
        """One agent after the other takes the best cell that nobody before it took."""
        rows = torch.arange(len(pos), device=pos.device)
        taken_BC = self._marked(pos, ~moving)
        actions = []
        for agent in range(pos.shape[1]):
            near_B52 = pos[:, agent, None] + self._moves_52
            limit = torch.tensor([self.rows, self.columns], device=pos.device)
            inside_B5 = ((near_B52 >= 0) & (near_B52 < limit)).all(-1)
            cell_B5 = self._cell(torch.where(inside_B5[..., None], near_B52, pos[:, agent, None]))
            length_B5 = way[rows[:, None], side[:, agent, None], cell_B5].to(torch.int64)
            free_B5 = inside_B5 & ~taken_BC.gather(1, cell_B5)
            best = torch.where(free_B5, length_B5, 2 * _FAR).argmin(1)
            action = torch.where(moving[:, agent], best, 0)
            taken_BC = taken_BC.scatter(1, cell_B5.gather(1, action[:, None]), True)
            actions.append(action)
        return torch.stack(actions, 1)
