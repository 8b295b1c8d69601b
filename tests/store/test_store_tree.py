"""Optimiser state to tensors and JSON, and back, through a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gnncomm.errors import CheckpointError, CheckpointMismatchError
from gnncomm.store import join_tree, load_checkpoint, save_checkpoint, split_tree


def train(optimizer_state: Any, model: torch.nn.Module, steps: int) -> Any:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, betas=(0.8, 0.99))
    if optimizer_state is not None:
        optimizer.load_state_dict(optimizer_state)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()
    return optimizer.state_dict()


def new_model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Linear(3, 4)


def test_four_steps_are_two_steps_saved_loaded_and_two_more(tmp_path: Path) -> None:
    straight = new_model()
    train(None, straight, 4)
    first = new_model()
    tensors, skeleton = split_tree(train(None, first, 2))
    assert "state.0.exp_avg" in tensors
    groups = {"model": first.state_dict(), "optimizer": tensors}
    found = load_checkpoint(save_checkpoint(tmp_path, 2, groups, {"optimizer": skeleton}))
    second = torch.nn.Linear(3, 4)
    second.load_state_dict(found.group("model"))
    train(join_tree(found.group("optimizer"), found.state["optimizer"]), second, 2)
    assert torch.equal(second.weight, straight.weight)
    forgetful = torch.nn.Linear(3, 4)
    forgetful.load_state_dict(found.group("model"))
    train(None, forgetful, 2)
    assert not torch.equal(forgetful.weight, straight.weight)  # without the optimiser's state it is another training


def test_types_of_keys_and_sequences_come_back() -> None:
    tree = {"a": (1, 2.5, [None, True]), 3: {"tensor": "text"}, "pairs": {}, "empty": ()}
    tensors, skeleton = split_tree(tree)
    assert tensors == {}
    again = join_tree(tensors, skeleton)
    assert again == tree
    assert [type(key) for key in again] == [str, int, str, str]
    assert type(again["a"]) is tuple


def test_what_has_no_place_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"a\.1: expected tensors.*got set"):
        split_tree({"a": [1, {2}]})
    with pytest.raises(CheckpointError, match="expected keys of text or int"):
        split_tree({(1, 2): 3})
    with pytest.raises(CheckpointError, match="Two tensors would be called '1'"):
        split_tree({1: torch.ones(1), "1": torch.zeros(1)})
    _, skeleton = split_tree({"a": torch.ones(1)})
    with pytest.raises(CheckpointMismatchError, match="Expected a tensor 'a'"):
        join_tree({}, skeleton)
