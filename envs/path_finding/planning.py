"""Prioritised planning in space and time: who goes where so that nobody is in anybody's way, with the whole map known.

Agents plan one after the other; each takes the shortest way through what those before it have reserved (Silver 2005,
"Cooperative pathfinding"). A plan is found for one order of the agents or another, or for none: the method is not
complete. Nobody enters a cell that somebody stands on, even if it is being left: such plans hold under every
rule for collisions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.shapes import Bool, Int

from ..frame.maps import FAR, neighbors

_ROOM = 2**22
"""Cells times steps that may be planned at a time, if all maps are not more than that already."""


@dataclass(frozen=True)
class Task:
    """Where agents are and want to be; rows of M maps."""

    free: Bool[Tensor, "M C"]
    cell: Int[Tensor, "M N"]
    goal: Int[Tensor, "M N"]
    active: Bool[Tensor, "M N"]  # the others are not there
    remain: bool  # agents stand on their goals from then on; else they vanish


def first_moves(task: Task, horizon: int, orders: Int[Tensor, "R N"]) -> tuple[Tensor, Tensor]:
    """``(action [M, N], solved [M])`` of the first order that gets everybody home within ``horizon`` steps.

    The first move of a plan leaves a state in which its rest is found again, so planning anew at every step follows
    it to its end.
    """
    action = torch.zeros_like(task.cell)
    solved = torch.zeros(len(action), dtype=torch.bool, device=action.device)
    room = max(len(action), _ROOM // (horizon * task.free.shape[1]))  # maps at a time
    while len(orders) and not bool(solved.all()):
        rows = (~solved).nonzero().squeeze(-1)
        now, orders = orders.tensor_split([max(1, room // len(rows)) if len(rows) < len(action) else 1])
        again = rows.repeat_interleave(len(now))  # each map with each of these orders
        part = Task(task.free[again], task.cell[again], task.goal[again], task.active[again], task.remain)
        moves, done = _plan(part, horizon, now.repeat(len(rows), 1))
        done_MR = done.view(len(rows), -1)
        first_M = (done_MR * torch.arange(len(now), 0, -1, device=done.device)).argmax(1)
        chosen_MN = moves[torch.arange(len(rows), device=done.device) * len(now) + first_M]
        solved[rows] = done_MR.any(1)
        action[rows] = torch.where(done_MR.any(1)[:, None], chosen_MN, action[rows])
    return action, solved


def some_orders(agents: int, count: int, device: torch.device) -> Int[Tensor, "R N"]:
    """The order of the numbers, its reverse, and shuffled ones that are always the same."""
    number = torch.arange(agents, device=device)
    keys = torch.arange(count - 2, device=device)
    return torch.cat([torch.stack([number, number.flip(0)]), random.sample_without_replacement(keys, agents, agents)])


def _plan(task: Task, horizon: int, order: Int[Tensor, "M N"]) -> tuple[Tensor, Tensor]:
    maps, cells = task.free.shape
    taken = torch.zeros(horizon + 2, maps, cells, dtype=torch.bool, device=task.cell.device)
    here = torch.zeros_like(task.free).scatter_add(1, task.cell, task.active)
    action = torch.zeros_like(task.cell)
    solved = torch.ones(maps, dtype=torch.bool, device=task.cell.device)
    for agent_M1 in order.split(1, 1):
        cell, goal, active = (x.gather(1, agent_M1).squeeze(1) for x in (task.cell, task.goal, task.active))
        closed = taken.clone()
        closed[1:] |= taken[:-1]
        closed[:-1] |= taken[1:]
        others = here.scatter(1, cell[:, None], False)
        closed[1] |= others
        home = _may_rest(closed, goal, task.remain)
        arrival = _arrivals(task.free, closed, goal, home)
        way = _walk(arrival, cell)
        end = arrival[0].gather(1, cell[:, None]).squeeze(1)
        solved &= (end < FAR) | ~active
        move = torch.where(active & (end < FAR), _move(cell, way[1], round(cells**0.5)), 0)
        action.scatter_(1, agent_M1, move[:, None])
        time = torch.arange(len(taken), device=cell.device)[:, None]
        present = active & ((time <= end) | task.remain)
        marked = torch.zeros_like(taken).scatter_(2, way[..., None], present[..., None])
        taken |= marked
    return action, solved


def _may_rest(closed: Tensor, goal: Tensor, remain: bool) -> Tensor:
    """Whether an agent may come home at each time: nobody passes there then, nor later if it remains."""
    busy = closed.gather(2, goal.expand(len(closed), -1)[..., None]).squeeze(-1)
    return ~(busy.flip(0).cummax(0).values.flip(0) if remain else busy)


def _arrivals(free: Tensor, closed: Tensor, goal: Tensor, home: Tensor) -> Tensor:
    """When one comes home at the earliest from each cell at each time, ``[T + 1, M, C]`` int16."""
    dim = round(free.shape[1] ** 0.5)
    at_goal = torch.zeros_like(free).scatter_(1, goal[:, None], True)
    result = torch.full((len(closed) - 1, *free.shape), FAR, dtype=torch.int16, device=free.device)
    rim = torch.full((free.shape[0], dim + 2, dim + 2), FAR, dtype=torch.int16, device=free.device)
    inner = rim[:, 1:-1, 1:-1]
    barred = ~free | closed[:-1]
    barred[0] = ~free  # where one stands now one may stand
    ends = at_goal & home[:, :, None]
    for t in range(len(result) - 1, -1, -1):
        near = torch.minimum(rim[:, :-2, 1:-1], rim[:, 2:, 1:-1]).minimum(rim[:, 1:-1, :-2])
        best = torch.minimum(near.minimum(rim[:, 1:-1, 2:]), inner).reshape(free.shape)
        result[t] = best.masked_fill_(ends[t], t).masked_fill_(barred[t], FAR)
        inner.copy_(result[t].view(inner.shape))
    return result


def _walk(arrival: Tensor, cell: Tensor) -> Tensor:
    """The cells ``[T + 2, M]`` of the earliest way home, which ends by standing still."""
    cells = arrival.shape[2]
    around_C4 = neighbors(round(cells**0.5)).to(cell.device)
    option_C5 = torch.cat([torch.arange(cells, device=cell.device)[:, None], around_C4], 1)
    rank = torch.arange(5, device=cell.device)
    ahead = torch.nn.functional.pad(arrival, (0, 1), value=FAR)  # the last entry is outside
    way = [cell]
    for t in range(1, len(arrival) + 1):
        option_M5 = option_C5[cell]
        value_M5 = ahead[min(t, len(arrival) - 1)].gather(1, option_M5)
        best_M1 = (value_M5.to(torch.int64) * 5 + rank).argmin(1, keepdim=True)
        arrived = arrival[t - 1].gather(1, cell[:, None]).squeeze(1) <= t - 1
        stuck = arrived | (value_M5.gather(1, best_M1).squeeze(1) == FAR)
        if bool(arrived.all()):
            return torch.stack([*way, *[cell] * (len(arrival) + 1 - len(way))])
        cell = torch.where(stuck, cell, option_M5.gather(1, best_M1).squeeze(1))
        way.append(cell)
    return torch.stack(way)


def _move(cell: Tensor, there: Tensor, dim: int) -> Tensor:
    """0 stay, 1 up, 2 down, 3 left, 4 right."""
    step = there - cell
    up_down = torch.where(step == -dim, 1, torch.where(step == dim, 2, 0))
    return torch.where(step == -1, 3, torch.where(step == 1, 4, up_down))
