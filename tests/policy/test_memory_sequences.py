"""Memories: the fused sequences against torch.nn, resets, gradients."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from gnncomm.policy import GRU, LSTM, Memory
from gnncomm.policy.recurrence import gru_sequence, lstm_sequence

T, R, H = 7, 5, 4


def first(share: float = 0.25) -> Tensor:
    return torch.rand(T, R) < share


def reference(memory: GRU | LSTM) -> nn.GRU | nn.LSTM:
    """torch.nn's module with the weights of ``memory``."""
    module = (nn.GRU if isinstance(memory, GRU) else nn.LSTM)(H, H).double()
    for name, value in memory.named_parameters():
        setattr(module, f"{name}_l0", nn.Parameter(value.detach().clone()))
    return module


def by_episodes(memory: GRU | LSTM, module: nn.GRU | nn.LSTM, x: Tensor, state: Tensor, begins: Tensor) -> Tensor:
    """Each row cut into episodes, each given to torch.nn on its own."""
    columns = []
    for row in range(R):
        cuts = [0, *[t for t in range(1, T) if begins[t, row]], T]
        parts = []
        for start, end in itertools.pairwise(cuts):
            fresh = start > 0 or bool(begins[0, row])
            s = torch.zeros_like(state[row]) if fresh else state[row]
            hidden = s.view(1, 1, -1)
            given = hidden if isinstance(memory, GRU) else tuple(part.contiguous() for part in hidden.chunk(2, -1))
            parts.append(module(x[start:end, row : row + 1], given)[0])
        columns.append(torch.cat(parts))
    return torch.cat(columns, 1)


@pytest.mark.parametrize("kind", [GRU, LSTM])
def test_sequences_equal_torch_with_resets(kind: type[GRU] | type[LSTM]) -> None:
    memory = kind(H).double()
    module = reference(memory)
    x, begins = torch.randn(T, R, H, dtype=torch.float64), first()
    assert 0 < int(begins.sum()) < begins.numel()
    state = torch.randn(R, memory.state_dim, dtype=torch.float64)
    out, _ = memory.unroll(x, state, begins)
    want = by_episodes(memory, module, x, state, begins)
    torch.testing.assert_close(out, want)
    direction = torch.randn_like(out)
    got = torch.autograd.grad((out * direction).sum(), list(memory.parameters()))
    names = [f"{name}_l0" for name, _ in memory.named_parameters()]
    expected = torch.autograd.grad((want * direction).sum(), [getattr(module, name) for name in names])
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("kind", [Memory, GRU, LSTM])
def test_unroll_is_step_after_step(kind: type[Memory]) -> None:
    memory = kind(H).double()
    x, begins = torch.randn(T, R, H, dtype=torch.float64), first()
    start = state = torch.randn(R, memory.state_dim, dtype=torch.float64)
    outs = []
    for t in range(T):
        state = torch.where(begins[t].unsqueeze(-1), 0.0, state)
        out, state = memory.step(x[t], state)
        if memory.state_dim:
            assert memory.output(state).equal(out)
        outs.append(out)
    unrolled, last = memory.unroll(x, start, begins)
    torch.testing.assert_close(unrolled, torch.stack(outs))
    torch.testing.assert_close(last, state)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", [GRU, LSTM])
def test_gradients_of_sequences(kind: type[GRU] | type[LSTM], share: float) -> None:
    """Of rows, state and weights; of all outputs and of the last state."""
    memory, begins = kind(H).double(), torch.rand(3, 2) < share
    run = gru_sequence if kind is GRU else lstm_sequence
    x = torch.randn(3, 2, H, dtype=torch.float64, requires_grad=True)
    state = torch.randn(2, memory.state_dim, dtype=torch.float64, requires_grad=True)
    weights = [parameter.detach().requires_grad_() for parameter in memory.parameters()]

    def of(x: Tensor, state: Tensor, *weights: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return run(x, state, begins, *weights)

    assert torch.autograd.gradcheck(of, (x, state, *weights))
    assert torch.autograd.gradgradcheck(of, (x, state, *weights), fast_mode=True)


@pytest.mark.parametrize("kind", [GRU, LSTM])
def test_autocast_leaves_what_is_remembered_alone(kind: type[GRU] | type[LSTM]) -> None:
    """Rows come in half precision; states and products stay in that of the weights, step by step and in sequences."""
    memory, x, begins = kind(H), torch.randn(T, R, H).bfloat16(), first(0.0)
    state = torch.randn(R, memory.state_dim)
    with torch.autocast("cpu", torch.bfloat16):
        out, _ = memory.unroll(x, state, begins)
        one, _ = memory.step(x[0], state)
    torch.testing.assert_close(out, memory.unroll(x.float(), state, begins)[0], rtol=0, atol=0)
    torch.testing.assert_close(one, out[0])


@pytest.mark.parametrize("kind", [GRU, LSTM])
def test_nothing_passes_a_reset(kind: type[GRU] | type[LSTM]) -> None:
    """Not even NaN, and no gradient either way."""
    memory = kind(H)
    x = torch.randn(3, 1, H)
    begins = torch.tensor([[False], [True], [False]])
    state = torch.zeros(1, memory.state_dim)
    want, _ = memory.unroll(x, state, begins)
    spoilt = x.clone()
    spoilt[0] = torch.nan
    got, _ = memory.unroll(spoilt, torch.full_like(state, torch.nan), begins)
    assert got[1:].equal(want[1:])
    leaves = x.clone().requires_grad_(), state.clone().requires_grad_()
    out, _ = memory.unroll(*leaves, begins)
    gradient, state_gradient = torch.autograd.grad(out[1:].sum(), leaves)
    assert bool((gradient[0] == 0).all())
    assert bool((state_gradient == 0).all())
    assert bool((gradient[1:] != 0).any())


def test_no_memory_passes_rows_through() -> None:
    memory = Memory(H)
    x = torch.randn(T, R, H)
    assert memory.unroll(x, torch.zeros(R, 0), first())[0] is x
    assert memory.output(torch.zeros(R, 0)).equal(torch.zeros(R, H))


@pytest.mark.parametrize("kind", [GRU, LSTM])
@pytest.mark.parametrize("steps", [1, T])
def test_second_derivatives_of_sequences(kind: type[GRU] | type[LSTM], steps: int) -> None:
    """Against the same cell step by step, and against differences."""
    memory, begins = kind(H).double(), first()[:steps]
    x, state = torch.randn(steps, R, H, dtype=torch.float64), torch.randn(R, memory.state_dim, dtype=torch.float64)
    inputs = x.requires_grad_(), state.requires_grad_(), *memory.parameters()

    def by_step(x: Tensor, state: Tensor) -> Tensor:
        outs = []
        for t in range(steps):
            out, state = memory.step(x[t], torch.where(begins[t].unsqueeze(-1), 0.0, state))
            outs.append(out)
        return torch.stack(outs)

    def curvature(out: Tensor) -> tuple[Tensor, ...]:
        slopes = torch.autograd.grad(out.pow(3).sum(), inputs, create_graph=True)
        size = torch.stack([slope.square().sum() for slope in slopes]).sum()
        return torch.autograd.grad(size, inputs)

    torch.testing.assert_close(curvature(memory.unroll(x, state, begins)[0]), curvature(by_step(x, state)))
    assert torch.autograd.gradgradcheck(lambda x, s: memory.unroll(x, s, begins)[0], inputs[:2], fast_mode=True)


@pytest.mark.parametrize("kind", [GRU, LSTM])
def test_who_says_only_a_step_is_unrolled_alike(kind: type[GRU] | type[LSTM]) -> None:
    memory = kind(H).double()
    x, state = torch.randn(T, R, H, dtype=torch.float64), torch.randn(R, memory.state_dim, dtype=torch.float64)
    begins = first()
    for got, want in zip(Memory.unroll(memory, x, state, begins), memory.unroll(x, state, begins), strict=True):
        torch.testing.assert_close(got, want)


class Held(Memory):
    """Gives out what it heard one step before; its width is a property."""

    @property
    def state_dim(self) -> int:  # type: ignore[override]
        return self.hidden

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return state, x


def test_a_memory_by_hand_that_tells_its_width_by_a_property() -> None:
    x = torch.arange(1.0, 4.0).view(3, 1, 1)
    begins = torch.tensor([[False], [False], [True]])
    out, state = Held(1).unroll(x, torch.tensor([[7.0]]), begins)
    assert out.flatten().tolist() == [7.0, 1.0, 0.0]
    assert state.tolist() == [[3.0]]
