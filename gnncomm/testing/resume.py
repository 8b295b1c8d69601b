"""Law 7: a training that was saved, loaded and continued is the training that was never interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from torch import Tensor

from gnncomm.testing.law import require, require_same_tensors

StateT = TypeVar("StateT")


class Resumable(Protocol[StateT]):
    """A training as four verbs and a view; what a state is, is its own business."""

    def start(self) -> StateT:
        """A fresh training, the same each time."""
        ...

    def advance(self, state: StateT, updates: int) -> StateT:
        """``updates`` further updates."""
        ...

    def save(self, state: StateT, path: Path) -> None:
        """Write ``state`` under ``path``, a name that does not exist yet."""
        ...

    def load(self, path: Path) -> StateT:
        """What was saved under ``path``."""
        ...

    def tensors(self, state: StateT) -> Mapping[str, Tensor]:
        """All that the future depends on: parameters, optimiser, environments, memories, counters, normalisers."""
        ...


def check_resume(training: Resumable[StateT], folder: Path, updates: int = 4) -> None:
    """Train ``updates`` = train half, save, load, train the rest, bit for bit; and saving disturbs nothing.

    Args:
        training: yours or ours.
        folder: where to save; must exist.
        updates: at least 2.

    Raises:
        LawError: names the tensor that differs.
    """
    half = updates // 2
    whole = _copied(training, training.advance(training.start(), updates))
    require(bool(whole), "resume", "training.tensors() is empty: there is nothing to compare.")
    interrupted = training.advance(training.start(), half)
    at_half = _copied(training, interrupted)
    changed = any(name not in at_half or not value.equal(at_half[name]) for name, value in whole.items())
    require(changed, "resume", f"the last {updates - half} updates changed no tensor: the comparison has no teeth.")
    training.save(interrupted, folder / "half")
    require_same_tensors("resume", _copied(training, interrupted), at_half, (), "saving must not change the training")
    loaded = training.load(folder / "half")
    require_same_tensors("resume", _copied(training, loaded), at_half, (), "this is what was saved, loaded again")
    resumed = _copied(training, training.advance(loaded, updates - half))
    why = f"the training was saved after {half} of {updates} updates, loaded and continued"
    require_same_tensors("resume", resumed, whole, (), why)
    went_on = _copied(training, training.advance(interrupted, updates - half))
    why = f"the training was saved after {half} of {updates} updates and simply went on"
    require_same_tensors("resume", went_on, whole, (), why)


def _copied(training: Resumable[StateT], state: StateT) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in training.tensors(state).items()}
