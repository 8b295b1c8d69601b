"""The causal test: a teammate is asked iff what one would do without it is something else."""

from __future__ import annotations

import pytest
import torch

from gnncomm.errors import ShapeError
from gnncomm.schedule import causal_requests


def test_only_who_changes_the_choice_is_asked() -> None:
    value = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])  # choices 0, 1, 0
    without = value.unsqueeze(2).repeat(1, 1, 3, 1)
    without[0, 0, 1] = torch.tensor([0.2, 0.9])  # agent 0 would do 1 if it did not see agent 1
    without[0, 1, 2] = torch.tensor([0.3, 0.4])  # agent 1 would be less sure without agent 2, and do the same
    without[0, 2, 2] = torch.tensor([0.0, 9.0])  # itself is nobody to ask
    without[0, 2, 0] = torch.tensor([0.0, 9.0])
    assert causal_requests(value, without).edge_index.t().tolist() == [[1, 0], [0, 2]]
    seen = torch.ones(1, 3, 3, dtype=torch.bool)
    seen[0, 2, 0] = False
    assert causal_requests(value, without, seen).edge_index.t().tolist() == [[1, 0]]


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="expected without"):
        causal_requests(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4))
    with pytest.raises(ShapeError, match="seen"):
        causal_requests(torch.zeros(2, 3, 4), torch.zeros(2, 3, 3, 4), torch.ones(2, 3, dtype=torch.bool))
