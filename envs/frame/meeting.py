"""Who goes where, for policies that see everything: matchings whose last comes soonest, and teams that must meet."""

from __future__ import annotations

import torch
from torch import Tensor

from gnncomm.shapes import Bool, Int

FAR = 2**40
"""Steps to what nobody can, or need, reach."""


def walk(way: Int[Tensor, "*lead 2"], there: int = 4) -> Int[Tensor, "*lead"]:
    """The move along a way, rows before columns: 0 up, 1 right, 2 down, 3 left; ``there`` at its end."""
    rows, columns = way.unbind(-1)
    action = torch.where(columns > 0, 1, torch.where(columns < 0, 3, there))
    return torch.where(rows > 0, 2, torch.where(rows < 0, 0, action))


def to_nearest(pos: Int[Tensor, "B N 2"], places: Int[Tensor, "B P 2"]) -> Int[Tensor, "B N 2"]:
    """The way of each agent to the nearest place, the first of equals."""
    distance_BNP = (pos[:, :, None] - places[:, None]).abs().sum(-1)
    return places.gather(1, distance_BNP.argmin(-1)[..., None].expand(-1, -1, 2)) - pos


def bottleneck(cost: Int[Tensor, "B R C"]) -> Int[Tensor, "B R"]:
    """A column for each row, no two the same, so that the largest cost is as small as it can be; R at most C.

    One row after the other is added along the augmenting path whose largest cost is smallest (Burkard, Dell'Amico and
    Martello 2009, "Assignment problems", section 6.2). If everybody comes one step nearer to its column, the largest
    cost falls by one: whoever plans anew at every step arrives in time.
    """
    batch, rows, columns = cost.shape
    owner = torch.full((batch, columns + 1), -1, dtype=torch.int64, device=cost.device)  # the last column: nowhere
    chosen = torch.full((batch, rows), -1, dtype=torch.int64, device=cost.device)
    for row in range(rows):
        end_B1, via = _path(cost, owner, row)
        for _ in range(row + 1):  # back along the path, each row gives its old column to the row before
            here = torch.where(end_B1 < 0, columns, end_B1)
            row_B1 = via.gather(1, here)
            old_B1 = chosen.gather(1, row_B1)
            owner = owner.scatter(1, here, row_B1)
            chosen = chosen.scatter(1, row_B1, torch.where(end_B1 < 0, old_B1, end_B1))
            end_B1 = torch.where((end_B1 < 0) | (row_B1 == row), -1, old_B1)
    return chosen


def _path(cost: Tensor, owner: Tensor, row: int) -> tuple[Tensor, Tensor]:
    """The free column ``[B, 1]`` that ends the best path from ``row``, and from which row each column is reached."""
    reach, columns = cost[:, row], cost.shape[2]
    via = torch.full_like(owner, row)
    closed = torch.zeros_like(reach, dtype=torch.bool)
    end_B1 = torch.full_like(owner[:, :1], -1)
    while True:
        best_B1 = torch.where(closed, 2 * FAR, reach).argmin(1, keepdim=True)
        holder_B1 = owner.gather(1, best_B1)
        end_B1 = torch.where((end_B1 < 0) & (holder_B1 < 0), best_B1, end_B1)
        if bool((end_B1 >= 0).all()):
            return end_B1, via
        closed = closed.scatter(1, best_B1, True)
        onward = cost.gather(1, holder_B1.clamp_min(0)[..., None].expand(-1, -1, columns))[:, 0]
        through = torch.maximum(reach.gather(1, best_B1), onward)
        better = ~closed & (through < reach) & (end_B1 < 0)
        reach = torch.where(better, through, reach)
        via = torch.cat([torch.where(better, holder_B1, via[:, :-1]), via[:, -1:]], 1)


def meet(
    distance: Int[Tensor, "B N S"], between: Int[Tensor, "B S S"], active: Bool[Tensor, "B S"], team: int
) -> Int[Tensor, "B N"]:
    """Which of S places each agent goes to, where ``team`` agents must meet on every active one.

    Either a team for each place, so that the last of them arrives soonest, or one team that is soonest at some place
    and goes on from there, always to the nearest one left; whatever is done first. With one or two active places no
    plan is shorter: if anybody of the second team comes from the first place, the whole first team can come with it.
    """
    places = active.shape[1]
    agents = distance.shape[1]
    away = torch.where(active[:, None], distance, FAR)
    slot_BRN = away.transpose(1, 2).repeat_interleave(team, 1)
    spare = torch.where(active, FAR, 0).repeat_interleave(team, 1)[..., None].expand(-1, -1, places * team)
    seat_BR = bottleneck(torch.cat([slot_BRN, spare], 2))  # places that need nobody, or get nobody, take spare seats
    cost_BR = torch.cat([slot_BRN, spare], 2).gather(2, seat_BR[..., None]).squeeze(-1)
    apart_B1 = cost_BR.amax(1, keepdim=True).clamp_min(1)
    soonest_BSK, who_BSK = away.transpose(1, 2).topk(team, largest=False)
    together_BS = soonest_BSK[..., -1].clamp_min(1) + _tour(between, active)
    first_B1 = together_BS.argmin(1, keepdim=True)
    alone = away.argmin(2)  # who is not needed helps where it is near
    number = torch.arange(places, device=active.device).repeat_interleave(team).expand_as(seat_BR)
    padded = torch.cat([alone, torch.zeros_like(spare[:, 0])], 1)
    parallel = padded.scatter(1, seat_BR, number)[:, :agents]
    member_B1K = who_BSK.gather(1, first_B1[..., None].expand(-1, -1, team))
    joint = alone.scatter(1, member_B1K[:, 0], first_B1.expand(-1, team))
    return torch.where(apart_B1 <= together_BS.gather(1, first_B1), parallel, joint)


def _tour(between: Tensor, active: Tensor) -> Tensor:
    """``[B, S]``: steps from each place through all other active ones, to the nearest one left each time."""
    places = active.shape[1]
    here_BS = torch.arange(places, device=active.device).expand_as(active)
    left_BSS = active[:, None] & (here_BS[..., None] != here_BS[:, None])
    steps_BS = torch.zeros_like(here_BS)
    for _ in range(places - 1):
        onward = between.gather(1, here_BS[..., None].expand(-1, -1, places))
        nearest, there = torch.where(left_BSS, onward, FAR).min(2)
        more = left_BSS.any(2)
        steps_BS, here_BS = steps_BS + torch.where(more, nearest, 0), torch.where(more, there, here_BS)
        left_BSS = left_BSS.scatter(2, there[..., None], False)
    return torch.where(active, steps_BS, FAR)
