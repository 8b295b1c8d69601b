"""Observations to rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gnncomm.errors import DtypeError, NonFiniteError, ShapeError
from gnncomm.host import refuse_unless_finite
from gnncomm.registry import Remembers
from gnncomm.types import Observation, SparseObs


class ReadsSparse(nn.Module):
    """An encoder that takes both forms of an observation; any other module gets the flat one, see ``encoded``."""


def encoded(encoder: nn.Module, obs: Observation) -> Tensor:
    """``[..., H]``: the rows that ``encoder`` makes of observations in either form."""
    flat = isinstance(obs, SparseObs) and not isinstance(encoder, ReadsSparse)
    rows: Tensor = encoder(obs.to_flat() if flat else obs)  # type: ignore[union-attr]  # sparse, as was asked
    return rows


class Encoder(Remembers, ReadsSparse):
    """``ReLU(W o + b)``, for flat observations and for the sparse form of the same vectors.

    With ``layer_norm`` it is ``ReLU(LN(W o + b))`` (Ba et al. 2016), by which learners of values without targets
    converge (Gallici et al. 2025).

    The sparse form sums the columns of W that its indices name (an embedding bag): same weights, same result, without
    the dense vector.

    Shapes:
        flat ``[*lead, N, D]`` or ``SparseObs`` with ``[*lead, N, K]`` -> ``[*lead, N, H]``.

    Raises:
        ShapeError: the width is not D.
        DtypeError: the observation is no floating-point tensor, or a wider one than the weights.
    """

    def __init__(self, obs_dim: int, hidden: int, layer_norm: bool = False) -> None:
        super().__init__()
        self.obs_dim, self.hidden = obs_dim, hidden
        self.norm = nn.LayerNorm(hidden) if layer_norm else nn.Identity()
        self.weight = nn.Parameter(torch.empty(obs_dim, hidden))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.orthogonal_(self.weight, gain=math.sqrt(2.0))
        nn.init.zeros_(self.bias)

    def forward(self, obs: Observation) -> Tensor:
        require_floats(obs.value if isinstance(obs, SparseObs) else obs, self.weight.dtype)
        if isinstance(obs, SparseObs):
            self._check_width(obs.width)
            rows, count = obs.index.shape[:-1], obs.index.shape[-1]
            summed = nn.functional.embedding_bag(
                obs.index.reshape(-1, count),
                self.weight,
                per_sample_weights=obs.value.reshape(-1, count).to(self.weight.dtype),
                mode="sum",
            )
            return torch.relu(self.norm(summed.view(*rows, self.hidden) + self.bias))
        self._check_width(obs.shape[-1])
        return torch.relu(self.norm(obs.to(self.weight.dtype) @ self.weight + self.bias))

    def _check_width(self, width: int) -> None:
        if width != self.obs_dim:
            raise ShapeError(f"The policy expected observations of width {self.obs_dim}, got {width}.")


def require_floats(values: Tensor, mine: torch.dtype) -> None:
    """Refuse observations that are no floating-point numbers, or finer ones than weights of type ``mine``.

    Raises:
        DtypeError: says which.
    """
    if not values.is_floating_point():
        raise DtypeError(f"Expected floating-point observations, got {values.dtype}: use obs.float().")
    if torch.promote_types(values.dtype, mine) != mine:
        raise DtypeError(
            f"Expected observations of {mine}, got {values.dtype}, which would lose digits: use obs.to({mine}) "
            f"where they are made, or a policy in {values.dtype}."
        )


def living_obs(obs: Observation, alive: Tensor) -> Observation:
    """The observations of the living, zeros for the rest, chosen at the entrance so that no NaN gradient follows.

    Raises:
        NonFiniteError: a living agent observes NaN or infinity.
    """
    values = obs.value if isinstance(obs, SparseObs) else obs
    chosen = _chosen(values, alive)
    refuse_unless_finite(chosen.detach().sum(), lambda: not_finite(_chosen(values, alive)))
    return SparseObs(obs.index, chosen, obs.width) if isinstance(obs, SparseObs) else chosen


def _chosen(values: Tensor, alive: Tensor) -> Tensor:
    return torch.where(alive.unsqueeze(-1), values, torch.zeros((), dtype=values.dtype, device=values.device))


def not_finite(values: Tensor) -> NonFiniteError | None:
    """Names the first environment, agent and feature that is not finite; None: all are."""
    bad = (~values.isfinite()).nonzero()
    if not len(bad):
        return None
    *lead, agent, feature = bad[0].tolist()
    return NonFiniteError(
        f"Expected finite observations, got {values[tuple(bad[0])].item()} for environment "
        f"{lead[-1] if lead else 0}, agent {agent}, feature {feature} ({len(bad)} such numbers in all): "
        "mend the environment."
    )
