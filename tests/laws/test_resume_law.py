"""Law 7 on a small training that is saved as safetensors, and on trainings that forget something."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gnncomm import random
from gnncomm.testing import LawError, check_resume


@dataclass
class State:
    """A weight trained by momentum on noise that is a function of the update."""

    weight: Tensor
    momentum: Tensor
    updates: Tensor


class Momentum:
    forgets: str | None = None
    spoils_on_save = False
    idle = False

    def start(self) -> State:
        return State(torch.ones(3), torch.zeros(3), torch.zeros((), dtype=torch.int64))

    def advance(self, state: State, updates: int) -> State:
        for _ in range(0 if self.idle else updates):
            gradient = state.weight - random.uniform(1, state.updates, torch.arange(3))
            state.momentum = 0.9 * state.momentum + gradient
            state.weight = state.weight - 0.1 * state.momentum
            state.updates = state.updates + 1
        return state

    def save(self, state: State, path: Path) -> None:
        save_file(self.tensors(state), path)
        if self.spoils_on_save:
            state.momentum = state.momentum.zero_()

    def load(self, path: Path) -> State:
        found = load_file(path)
        if self.forgets is not None:
            found[self.forgets] = torch.zeros_like(found[self.forgets])
        return State(**found)

    def tensors(self, state: State) -> dict[str, Tensor]:
        return dict(vars(state))


def test_a_training_that_keeps_everything_passes(tmp_path: Path) -> None:
    check_resume(Momentum(), tmp_path)


@pytest.mark.parametrize("forgotten", ["weight", "momentum", "updates"])
def test_each_forgotten_part_is_named(tmp_path: Path, forgotten: str) -> None:
    training = Momentum()
    training.forgets = forgotten
    with pytest.raises(LawError, match=f"Law of resume broken: {forgotten} .*loaded again"):
        check_resume(training, tmp_path)


@pytest.mark.parametrize("forgotten", ["momentum", "updates"])
def test_a_part_that_is_not_shown_is_caught_by_the_continuation(tmp_path: Path, forgotten: str) -> None:
    class OnlyWeights(Momentum):
        forgets = forgotten

        def save(self, state: State, path: Path) -> None:
            save_file(vars(state), path)

        def tensors(self, state: State) -> dict[str, Tensor]:
            return {"weight": state.weight}

    with pytest.raises(LawError, match=r"weight should be bit-equal.*saved after 2 of 4 updates, loaded and continued"):
        check_resume(OnlyWeights(), tmp_path)


def test_saving_that_changes_the_training_is_caught(tmp_path: Path) -> None:
    training = Momentum()
    training.spoils_on_save = True
    with pytest.raises(LawError, match="saving must not change the training"):
        check_resume(training, tmp_path)


def test_a_comparison_without_teeth_is_refused(tmp_path: Path) -> None:
    training = Momentum()
    training.idle = True
    with pytest.raises(LawError, match="no teeth"):
        check_resume(training, tmp_path)
