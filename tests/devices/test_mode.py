"""The second device computes as the CPU does, and refuses what CUDA refuses."""

from __future__ import annotations

import pytest
import torch


def test_numbers_are_those_of_the_cpu(device: torch.device) -> None:
    x = torch.arange(6, device=device).view(2, 3)
    assert x.device == device
    assert (x * 2 + torch.tensor([1, 0, 0], device=device)).tolist() == [[1, 2, 4], [7, 8, 10]]
    y = torch.zeros(2, 3, device=device)
    y[:, 1:] = 5.0
    y.scatter_add_(1, x.clamp(max=2), torch.ones(2, 3, device=device))
    assert y.cpu().tolist() == [[1.0, 6.0, 6.0], [0.0, 5.0, 8.0]]
    assert y.cpu().device.type == "cpu"
    assert bool((y.to(device) == y).all())
    assert x.nonzero().device == device
    assert float(y.sum()) == 26.0
    here = torch.zeros(2, 3)
    here.copy_(y)
    assert here.device.type == "cpu"
    assert here.sum().item() == 26.0


def test_two_devices_are_refused(device: torch.device, mixed: type[Exception]) -> None:
    here, there = torch.ones(3), torch.ones(3, device=device)
    index = torch.tensor([0, 2])
    for work in (
        lambda: here + there,
        lambda: torch.cat([there, here]),
        lambda: torch.where(there > 0, there, here),
        lambda: there[index],
        lambda: here[index.to(device)],
        lambda: there.gather(0, index),
        lambda: there.index_add_(0, index.to(device), torch.ones(2)),
    ):
        with pytest.raises(mixed, match="two devices"):
            work()
    assert (there + torch.tensor(2.0)).tolist() == [3.0, 3.0, 3.0]  # a single number may come from the CPU
    with pytest.raises(mixed, match="two devices"):
        torch.stack([there.sum(), torch.tensor(1.0)])


def test_integers_are_not_multiplied_as_matrices(device: torch.device, mixed: type[Exception]) -> None:
    whole = torch.ones(2, 2, dtype=torch.int64, device=device)
    for work in (lambda: whole @ whole, lambda: torch.einsum("ij,jk->ik", whole, whole), lambda: whole[0] @ whole[1]):
        with pytest.raises(mixed, match="matrix products of integers"):
            work()
    assert (whole.float() @ whole.float()).tolist() == [[2.0, 2.0], [2.0, 2.0]]


def test_gradients_flow(device: torch.device) -> None:
    weight = torch.ones(3, device=device, requires_grad=True)
    (weight * torch.tensor([1.0, 2.0, 3.0], device=device)).sum().backward()
    assert weight.grad is not None
    assert weight.grad.device == device
    assert weight.grad.tolist() == [1.0, 2.0, 3.0]
