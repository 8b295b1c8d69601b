"""What is known of policies for environments of other libraries: a floor, uniformly random, and no ceiling."""

from __future__ import annotations

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ShapeError, StateError


def uniform_action(
    key: Tensor,
    step_B: Tensor,
    num_agents: int,
    num_actions: int,
    bounds: tuple[Tensor, Tensor] | None = None,
    mask_BNA: Tensor | None = None,
) -> Tensor:
    """``[B, N]`` among the allowed actions, or ``[B, N, A]`` within ``bounds [N, A]``; a function of key and step.

    Raises:
        ShapeError: ``key`` is not int64 ``[B]``.
    """
    if key.shape != step_B.shape or key.dtype != torch.int64:
        raise ShapeError(
            f"floor_action: expected key int64 {list(step_B.shape)}, got {key.dtype} {list(key.shape)}. Pass "
            "timestep.key, or one made from it."
        )
    stream_B = random.stream(key.to(step_B.device), "floor")
    agents_N = torch.arange(num_agents, device=step_B.device)
    if bounds is None and mask_BNA is None:
        return random.integers(stream_B[:, None], num_actions, step_B[:, None], agents_N)
    numbers_A = torch.arange(num_actions, device=step_B.device)
    share_BNA = random.uniform(stream_B[:, None, None], step_B[:, None, None], agents_N[:, None], numbers_A)
    if bounds is not None:
        low, high = bounds
        return low + (high - low) * share_BNA
    assert mask_BNA is not None  # as was asked above
    return torch.where(mask_BNA, share_BNA, -1.0).argmax(-1)


def no_ceiling(id: str) -> StateError:
    """What ``ceiling_action`` of such an environment says."""
    return StateError(
        f"ceiling_action: {id!r} comes from another library, and nobody knows its best policy here. Compare "
        "with floor_action and with other trained teams."
    )
