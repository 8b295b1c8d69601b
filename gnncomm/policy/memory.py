"""What an agent remembers: none, GRU or LSTM. State is a value of width ``state_dim``, one row per agent."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gnncomm.policy.recurrence import gru_sequence, lstm_sequence
from gnncomm.registry import Remembers


class Memory(Remembers, nn.Module):
    """No memory: the row passes through. Base of the others, which say ``step``.

    ``step(x [R, H], state [R, S]) -> (out [R, H], state)`` advances R agents by one step, each by itself; a fresh state
    is zeros.

    ``state_dim`` is S. Unless ``output`` says otherwise, the first H numbers of a state are what the step gave out.

    Args:
        hidden: H.
    """

    state_dim: int = 0

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden

    def output(self, state: Tensor) -> Tensor:
        """What the last ``step`` gave out, read from its state (zeros at the beginning)."""
        return state[..., : self.hidden] if self.state_dim else state.new_zeros(*state.shape[:-1], self.hidden)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return x, state

    def unroll(self, x_TRH: Tensor, state_RS: Tensor, first_TR: Tensor) -> tuple[Tensor, Tensor]:
        """T steps, from a fresh state where ``first``; a faster form gives the same."""
        if not self.state_dim:
            return self.step(x_TRH, state_RS)
        outs = []
        for x_RH, first_R in zip(x_TRH, first_TR, strict=True):
            out_RH, state_RS = self.step(x_RH, torch.where(first_R.unsqueeze(-1), 0.0, state_RS))
            outs.append(out_RH)
        return torch.stack(outs), state_RS


class _Gated(Memory):
    """Weights in PyTorch's layout, ``gates`` blocks of H rows."""

    def __init__(self, hidden: int, gates: int, states: int) -> None:
        super().__init__(hidden)
        self.state_dim = states * hidden
        self.weight_ih = nn.Parameter(torch.empty(gates * hidden, hidden))
        self.weight_hh = nn.Parameter(torch.empty(gates * hidden, hidden))
        self.bias_ih = nn.Parameter(torch.zeros(gates * hidden))
        self.bias_hh = nn.Parameter(torch.zeros(gates * hidden))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = 1.0 / math.sqrt(self.hidden)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if not torch.is_autocast_enabled(x.device.type):
            return self._step(x, state)
        with torch.autocast(x.device.type, enabled=False):  # as sequences are
            return self._step(x.to(state.dtype), state)

    def _step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    @property
    def _weights(self) -> tuple[Tensor, ...]:
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh


class GRU(_Gated):
    """Gated recurrent unit (Cho et al. 2014, eq. 5-8, in PyTorch's form with two biases); state = h."""

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden, gates=3, states=1)

    def _step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.gru_cell(x, state, *self._weights)
        return h, h

    def unroll(self, x_TRH: Tensor, state_RS: Tensor, first_TR: Tensor) -> tuple[Tensor, Tensor]:
        out = gru_sequence(x_TRH, state_RS, first_TR, *self._weights)
        return out, out[-1]


class LSTM(_Gated):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with forget gate); state = [h, c]."""

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden, gates=4, states=2)

    def _step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h, c = torch.lstm_cell(x, state.chunk(2, -1), *self._weights)
        return h, torch.cat([h, c], -1)

    def unroll(self, x_TRH: Tensor, state_RS: Tensor, first_TR: Tensor) -> tuple[Tensor, Tensor]:
        out, cell = lstm_sequence(x_TRH, state_RS, first_TR, *self._weights)
        return out, torch.cat([out[-1], cell], -1)
