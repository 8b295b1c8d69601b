"""What a receiver might read out of a message: things of the scene, and what its sender does next."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.probe.collect import Moments
from gnncomm.shapes import Bool

MOST_LABELS = 64


@dataclass(frozen=True)
class Target:
    """Something that is so or so at a moment, seen from each of J senders."""

    name: str
    values: Tensor  # [E, J] int64 labels, or [E, J, D] numbers
    known: Bool[Tensor, "E J"]
    names: tuple[str, ...] = ()
    """Of the labels, where they have some."""

    @property
    def labels(self) -> bool:
        return not self.values.is_floating_point()


def targets(moments: Moments) -> list[Target]:
    """All that vary: marks, entities (of several the nearest), the sender's place, whether it is done, what it does."""
    senders = list(moments.senders)
    here = moments.alive[:, senders]
    place = moments.places[""][:, senders].double()
    found = []
    for name, marks in moments.marks.items():
        shown = marks.max(1).values.unsqueeze(-1).expand(here.shape)
        found.append(Target(name, shown, here & (shown >= 0)))
    for name, active in moments.active.items():
        nearest, there = _nearest(moments.places[name].double(), active, place)
        several = moments.places[name].shape[1] > 1
        found.append(Target(f"place of the nearest {name}" if several else f"place of {name}", nearest, here & there))
    found.append(Target("place of the sender", place, here))
    found.append(Target("whether the sender is done", moments.finished[:, senders].long(), here, ("no", "yes")))
    action = moments.action[:, senders]
    action = action if action.dim() == 2 else action.double()
    found.append(Target("next action of the sender", action, here, moments.action_names))
    return [target for target in found if _varies(target)]


def _nearest(places: Tensor, active: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """``[E, J, 2]`` and whether there is one, from ``places [E, M, 2]``."""
    if not places.shape[1]:
        return place, torch.zeros(place.shape[:2], dtype=torch.bool)
    distance = (place.unsqueeze(2) - places.unsqueeze(1)).abs().sum(-1)
    distance = distance.masked_fill(~active.unsqueeze(1), torch.inf)
    nearest, index = distance.min(-1)
    picked = places.gather(1, index.unsqueeze(-1).expand(*index.shape, 2))
    return picked, nearest.isfinite()


def _varies(target: Target) -> bool:
    values = target.values[target.known]
    if not len(values):
        return False
    if target.labels:
        return 2 <= len(values.unique()) <= MOST_LABELS
    return bool((values != values[0]).any())
