"""What stands below the time axis: one number for each step of an episode."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gnncomm.recording.episode import Episode

Line = NDArray[np.float32]


def measures(episode: Episode) -> dict[str, Line]:
    """``[T]`` each: ``return`` so far, ``messages`` read, and where they are known ``lost``, ``bits`` and ``entropy``.

    ``return`` is the mean over agents of the rewards up to this step. ``entropy`` is that of attention in bits, the
    mean over the inboxes of the step (a receiver in a round) that hold two messages or more: 0 where each listens to
    one sender only, ``log2 n`` where to n alike; NaN where there is no such inbox.
    """
    steps = episode.length
    found = {
        "return": episode.rewards.mean(1, dtype=np.float64).cumsum(),
        "messages": np.bincount(episode.messages[:, 0], minlength=steps),
    }
    if episode.lost is not None:
        found["lost"] = np.bincount(episode.lost[:, 0], minlength=steps)
    if episode.bits is not None:
        found["bits"] = episode.bits.sum((1, 2), dtype=np.float64)
    if episode.attention:
        found["entropy"] = _entropy(episode)
    most = np.finfo(np.float32).max
    return {name: line.clip(-most, most).astype(np.float32) for name, line in found.items()}


def _entropy(episode: Episode) -> NDArray[np.float64]:
    step_E, round_E, _, receiver_E = episode.messages.T
    inbox_E = (step_E * max(episode.num_rounds, 1) + round_E) * episode.num_agents + receiver_E
    inbox_I, inbox_E, count_I = np.unique(inbox_E, return_inverse=True, return_counts=True)
    weight_E = np.abs(episode.weight.astype(np.float64))
    total_I = np.bincount(inbox_E, weight_E, minlength=len(inbox_I))
    share_E = weight_E / np.maximum(total_I[inbox_E], np.finfo(np.float64).tiny)
    surprise_E = -np.log2(np.where(share_E > 0, share_E, 1.0))
    entropy_I = np.bincount(inbox_E, share_E * surprise_E, minlength=len(inbox_I))
    step_I = inbox_I // (max(episode.num_rounds, 1) * episode.num_agents)
    full_I = count_I > 1
    total_T = np.bincount(step_I[full_I], entropy_I[full_I], minlength=episode.length)
    inboxes_T = np.bincount(step_I[full_I], minlength=episode.length)
    return np.where(inboxes_T > 0, total_T / np.maximum(inboxes_T, 1), np.nan)
