"""A memory of whole episodes, filled from rollouts on their device without a question to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.learn.rollout import Rollout
from gnncomm.types import Batch, SparseObs, TimeStep


@dataclass(frozen=True)
class Episodes(Batch):
    """Whole episodes side by side, and what lies behind their ends: anything."""

    timestep: TimeStep  # [L + 1, E, ...]; reward and discount are those of the step that led there
    action: Tensor  # [L, E, N]
    length: Tensor  # [E]: steps taken; 0: no episode

    @property
    def filled(self) -> Tensor:
        """``[L, E]``: steps of the episodes."""
        return torch.arange(len(self.action), device=self.length.device).unsqueeze(-1) < self.length


class _Place(NamedTuple):
    slot: Tensor  # [B]
    step: Tensor  # [B]


class Replay:
    """The last ``capacity`` episodes that ended, and those under way, each in a slot of its own.

    An episode is written where it stays. When it ends, its environment takes the slot of the oldest one, whose place
    in the order the new one gets; so nothing is copied, and no episode is sampled before its end.

    Args:
        shown: ``[B, ...]``, what the environments show.
        max_steps: L, of the longest episode.
        capacity: episodes, at least B.
    """

    def __init__(self, shown: TimeStep, max_steps: int, capacity: int) -> None:
        num_envs, device = len(shown.step), shown.step.device
        self.num_envs, self.capacity = num_envs, capacity
        slots = capacity + num_envs + 1  # what belongs nowhere is written into the last one
        shape = (max_steps + 1, slots)
        self.timestep = _kept(shown).map(lambda value: value.new_zeros(*shape, *value.shape[1:]))
        self.action = torch.zeros(max_steps, slots, shown.alive.shape[1], dtype=torch.int64, device=device)
        self.length = torch.zeros(slots, dtype=torch.int64, device=device)
        self.order = torch.arange(capacity + 1, device=device)
        """Slots of the episodes that ended, the oldest of them at ``count`` modulo capacity; the last entry is void."""
        self.slot = capacity + torch.arange(num_envs, device=device)
        """``[B]``: of the episodes under way."""
        self.count = torch.zeros((), dtype=torch.int64, device=device)
        """Episodes that ended so far."""

    @torch.no_grad()
    def add(self, rollout: Rollout, reward: Tensor, discount: Tensor) -> None:
        """Take in what was played, with ``reward`` and ``discount [T, B, N]`` of what is learned from it."""
        assert rollout.after is not None  # asked for by Experience.after
        now, after = _kept(rollout.timestep), _at_the_end(rollout.after)
        after = replace(_kept(after), reward=reward, discount=discount)
        for t, done in enumerate(rollout.done):
            step = rollout.timestep.step[t]
            first = torch.where(rollout.timestep.first[t], self.slot, self.capacity + self.num_envs)
            self._write(now, t, _Place(first, step))
            self._write(after, t, _Place(self.slot, step + 1))
            self.action[step, self.slot] = rollout.action[t]
            self.length[self.slot] = step + 1
            self._end(done)

    def _write(self, shown: TimeStep, t: int, place: _Place) -> None:
        theirs = self.timestep.tensors()
        for name, value in shown.tensors().items():
            theirs[name][place.step, place.slot] = value[t]

    def _end(self, done: Tensor) -> None:
        """Each environment whose episode ended trades its slot for that of the oldest episode."""
        place = torch.where(done, (self.count + done.cumsum(0) - 1) % self.capacity, self.capacity)
        oldest = self.order[place]
        self.order[place] = self.slot
        self.slot.copy_(torch.where(done, oldest, self.slot))  # in place: an update may be a graph
        self.count += done.sum()

    def sample(self, batch: int, key: int, *counters: int | Tensor) -> Episodes:
        """Different episodes by chance, a pure function of (key, counters); none as long as there are fewer."""
        stored = self.count.clamp(max=self.capacity)
        index = torch.arange(self.capacity, device=self.order.device)
        draw = random.uniform(random.stream(key, "replay"), *counters, index, dtype=torch.float64)
        chosen = torch.where(index < stored, draw, -1.0).topk(batch).indices
        slot = self.order[chosen]
        length = torch.where(stored >= batch, self.length[slot], 0)
        timestep = self.timestep.select(slot, dim=1)
        steps = torch.arange(len(timestep.step), device=slot.device)
        there = (steps.unsqueeze(-1) <= length).unsqueeze(-1)
        return Episodes(replace(timestep, alive=timestep.alive & there), self.action[:, slot], length)

    def tensors(self) -> dict[str, Tensor]:
        own = {name: getattr(self, name) for name in ("action", "length", "order", "slot", "count")}
        return self.timestep.tensors("timestep.") | own

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what ``tensors`` gave."""
        mine = {name: value.to(self.order.device, copy=True) for name, value in tensors.items()}
        self.timestep = self.timestep.with_tensors(mine, "timestep.")
        for name in ("action", "length", "order", "slot", "count"):
            setattr(self, name, mine[name])


def _at_the_end(after: TimeStep) -> TimeStep:
    """Nobody lives on when an episode terminates; whoever is cut with its last step is still there."""
    alive = after.alive & ~after.terminated.unsqueeze(-1)
    if after.cut is not None:
        alive = alive | (after.cut & after.done.unsqueeze(-1))
    return replace(after, alive=alive)


def _kept(shown: TimeStep) -> TimeStep:
    """Without what the dead show, which may be anything."""
    alive, obs, pos = shown.alive.unsqueeze(-1), shown.obs, shown.pos
    if isinstance(obs, SparseObs):
        obs = replace(obs, value=torch.where(alive, obs.value, 0.0))
    else:
        obs = torch.where(alive, obs, 0.0)
    rows = {name: torch.where(shown.alive, getattr(shown, name), 0.0) for name in ("reward", "discount")}
    return replace(shown, obs=obs, pos=None if pos is None else torch.where(alive, pos, 0.0), **rows)
