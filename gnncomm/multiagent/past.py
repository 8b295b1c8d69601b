"""What a team has seen since its last update, one step at a time, until it is a rollout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gnncomm.learn import Rollout, Step
from gnncomm.policy import PolicyState
from gnncomm.store import require_match
from gnncomm.types import Batch, TimeStep, stack


@dataclass(frozen=True)
class Seen(Batch):
    """One step; what came of those who acted is settled with the next one."""

    step: Step  # [1, ...]
    cut: Tensor  # [1] bool: the episode ended with it, but its return goes on unobserved
    rest: Tensor  # [1, N] what is expected of that return then


class Past:
    """Steps since the last update, in segments of ``segment``, each with the state in which it begins."""

    def __init__(self, segment: int) -> None:
        self.segment = segment
        self.seen: list[Seen] = []
        self.starts: list[PolicyState] = []

    def __len__(self) -> int:
        return len(self.seen)

    def add(self, seen: Seen, state: PolicyState) -> None:
        """``seen``, which began in ``state``."""
        if len(self) % self.segment == 0:
            self.starts.append(state)
        self.seen.append(seen)

    def settle(self, now: TimeStep) -> None:
        """The last step led to ``now``: who lives no more, or gave its row to another, has had its return."""
        if not self.seen or bool(self.seen[-1].step.done):
            return
        last = self.seen[-1].step
        over = ~now.alive if now.entered is None else ~now.alive | now.entered
        discount = torch.where(last.timestep.alive & over, 0.0, last.discount)
        self.seen[-1] = replace(self.seen[-1], step=replace(last, discount=discount, paid=last.paid | now.alive))

    def rollout(self, value: Tensor) -> Rollout:
        """All steps, which are then past: time becomes [segment, segments]. ``value [1, N]`` is expected next."""
        seen, starts = self.seen, self.starts
        self.seen, self.starts = [], []

        def parted(x: Tensor) -> Tensor:
            segments: Tensor = x.unflatten(0, (-1, self.segment))
            return segments.transpose(0, 1)

        following = torch.cat([*(item.step.value for item in seen[1:]), value])
        cut = torch.cat([item.cut for item in seen]).unsqueeze(-1)
        following = torch.where(cut, torch.cat([item.rest for item in seen]), following)
        steps = stack([_with_mask(item.step, seen).map(lambda x: x[0]) for item in seen]).map(parted)
        state = stack([start.map(lambda x: x[0]) for start in starts])
        return Rollout(**vars(steps), next_value=parted(following), state=state)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """By group, those that there are."""
        if not self.seen:
            return {}
        steps = [replace(item, step=_with_mask(item.step, self.seen)) for item in self.seen]
        return {"past": stack(steps).tensors(), "starts": stack(self.starts).tensors()}

    def restore(
        self,
        past: Mapping[str, Tensor],
        starts: Mapping[str, Tensor],
        like: Seen,
        start: PolicyState,
        source: str,
    ) -> None:
        """The groups that ``tensors`` gave; each step is ``like`` one, each segment begins in what is like ``start``.

        Raises:
            CheckpointMismatchError: other tensors.
        """
        if (given := past.get("step.timestep.action_mask")) is not None and len(given):
            timestep = replace(like.step.timestep, action_mask=given[0])
            like = replace(like, step=replace(like.step, timestep=timestep))
        count = len(past.get("cut", ()))
        segments = -(-count // self.segment)
        for name, one, number, found in (("past", like, count, past), ("starts", start, segments, starts)):
            expected = {key: value.expand(number, *value.shape) for key, value in one.tensors().items()}
            require_match(expected, found, f"{source}: {name!r}")
        self.seen = [like.with_tensors({key: value[i] for key, value in past.items()}) for i in range(count)]
        self.starts = [start.with_tensors({key: value[i] for key, value in starts.items()}) for i in range(segments)]


def _with_mask(step: Step, others: list[Seen]) -> Step:
    """``step`` with a mask that allows everything, if it has none and another has."""
    given = [item.step.timestep.action_mask for item in others if item.step.timestep.action_mask is not None]
    if not given or step.timestep.action_mask is not None:
        return step
    return replace(step, timestep=replace(step.timestep, action_mask=torch.ones_like(given[0])))
