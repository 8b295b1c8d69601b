"""What codecs share: named noise for every number on the wire."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gnncomm.random import stream
from gnncomm.types import Moment


def noise_like(
    msg: Tensor, draw: Callable[..., Tensor], moment: Moment, name: str, dtype: torch.dtype | None = None
) -> Tensor:
    """One number ``[B, N, M]`` from ``draw(key, step, round, sender, place)`` for each number of ``msg``.

    It depends on nothing else, so a sender alone draws what it draws in its team, and a learner what its rollout drew.
    """
    sender_N1 = torch.arange(msg.shape[-2], device=msg.device).unsqueeze(-1)
    place_M = torch.arange(msg.shape[-1], device=msg.device)
    key_B11, step_B11 = stream(moment.key, name).view(-1, 1, 1), moment.step.view(-1, 1, 1)
    return draw(key_B11, step_B11, moment.round, sender_N1, place_M, dtype=msg.dtype if dtype is None else dtype)
