"""How each episode of an evaluation went, kept in a file: what comparisons of teams on the same episodes need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnncomm.compare.statistics import Floats
from gnncomm.errors import CheckpointCorruptError
from gnncomm.evaluation import Report
from gnncomm.recording import npz
from gnncomm.store import strict_json
from gnncomm.store.files import read_regular, write_atomic

FILE = "eval.npz"
"""In a run, beside ``eval.json``: of its last evaluation as it was trained."""
FORMAT, VERSION = "gnncomm.outcomes", 1
METRICS = ("success", "return", "steps")
"""Of a team, as the mean over episodes; of ``steps`` fewer are better."""
MAX_BYTES = 1 << 28


@dataclass(frozen=True)
class Kept:
    """What is in such a file."""

    report: Mapping[str, Any]
    """See ``Report.to_json``."""
    settings: Mapping[str, Any]
    """Settings of the environment that it was made with."""
    env_steps: int
    """How far the team was trained."""
    episodes: Mapping[str, Mapping[str, Floats]]
    """By policy and metric, ``[E]``."""

    def of(self, metric: str, arm: str = "trained") -> Floats:
        """``[E]``: how each episode went."""
        return self.episodes[arm][metric]


def keep(report: Report, file: Path, settings: Mapping[str, Any], env_steps: int) -> None:
    """Write the episodes of ``report``, see ``Kept``. Equal evaluations give equal bytes.

    Raises:
        OSError: it could not be written.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for arm, outcomes in report.outcomes.items():
        arrays[f"{arm}_success"] = outcomes.success.numpy()
        arrays[f"{arm}_return"] = outcomes.returns.numpy()
        arrays[f"{arm}_steps"] = outcomes.length.numpy().astype(np.int32)
    head = {
        "format": FORMAT,
        "version": VERSION,
        "report": report.to_dict(),
        "settings": dict(settings),
        "env_steps": env_steps,
    }
    write_atomic(file, npz.packed(arrays, head))


def read(file: Path) -> Kept:
    """What ``keep`` wrote. Never unpickles.

    Raises:
        FileNotFoundError: nothing there. UnsafePathError, UnsafeContentError: no regular file, or a huge one.
        CheckpointCorruptError: something else than episodes of an evaluation.
    """
    raw = read_regular(file, MAX_BYTES)
    try:
        arrays = npz.read(raw, MAX_BYTES)
        head = strict_json.parse(arrays["head"].tobytes())
        if (head["format"], head["version"]) != (FORMAT, VERSION):
            raise ValueError(f"expected {FORMAT} of version {VERSION}, got {str(head['format'])[:40]!r}")
        report, settings, env_steps = head["report"], head["settings"], head["env_steps"]
        for name, kind in _TOLD.items():
            if type(report[name]) is not kind:
                raise ValueError(f"expected {kind.__name__} for {name}, got {str(report[name])[:40]!r}")
        if not isinstance(report["trained"]["success"]["mean"], float | None):
            raise ValueError("expected a share of successes")
        if not isinstance(settings, dict) or type(env_steps) is not int:
            raise ValueError("expected settings and steps")
        arms = [name.removesuffix("_success") for name in arrays if name.endswith("_success")]
        episodes = {arm: {metric: _numbers(arrays, arm, metric, report) for metric in METRICS} for arm in arms}
        return Kept(report, settings, env_steps, {"trained": episodes["trained"], **episodes})
    except (npz.BadNpzError, KeyError, TypeError, ValueError) as error:
        raise CheckpointCorruptError(
            f"{file}: no episodes of an evaluation ({error}). Make them again with gnncomm eval."
        ) from error


_TOLD = {
    "env": str,
    "episodes": int,
    "seed": int,
    "greedy": bool,
    "communication_gain": float,
    "channel_used": bool,
}
"""What a comparison reads of a report."""


def _numbers(arrays: Mapping[str, NDArray[Any]], arm: str, metric: str, report: Mapping[str, Any]) -> Floats:
    array = arrays[f"{arm}_{metric}"].astype(np.float64)
    if array.shape != (report["episodes"],) or not np.isfinite(array).all():
        raise ValueError(f"expected {report['episodes']} finite numbers in {arm}_{metric}, got {array.shape}")
    return array
