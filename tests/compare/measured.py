"""Runs that were never trained, with evaluations that were never played: numbers are chosen, files are real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gnncomm import default_config
from gnncomm.compare import keep
from gnncomm.compare.outcomes import FILE
from gnncomm.evaluation import Arm, Outcomes, Report, WireUse, paired_difference
from gnncomm.learn import TrainConfig
from gnncomm.store import RunDir

STEPS = 1000
POINTS = 20
JUDGED = True
"""Whether the environment tells of success."""


def a_run(
    folder: Path,
    seed: int,
    success: float,
    *,
    gain: float = 0.0,
    episodes: int = 100,
    done: int = STEPS,
    **settings: Any,
) -> Path:
    """A run of ``relay`` with that share of successes, whose running success rises to twice that."""
    config = default_config("relay", **{"steps": STEPS, **settings}).replace(seed=seed)
    with RunDir.create(folder, config) as run:
        for number in range(1, POINTS + 1):
            level = min(1.0, 2 * success * number / POINTS)
            steps = number * done // POINTS
            run.log({"env_steps": steps, "success": level, "return": level, "length": 3.0, "update": number})
    evaluate(folder, config, success, gain=gain, episodes=episodes, done=done)
    return folder


def evaluate(folder: Path, config: TrainConfig, success: float, *, gain: float, episodes: int, done: int) -> None:
    won = torch.arange(episodes) < round(success * episodes)
    ours, theirs = _played(won, 0.0), _played(won, gain)
    difference = paired_difference(ours.returns, theirs.returns)
    arm = Arm.of(ours, JUDGED)
    report = Report(
        "relay", episodes, 0, True, arm, arm, Arm.of(theirs), arm, difference, 0.0, WireUse(1.0, 1.0, 1, 1.0),
        outcomes={"trained": ours, "shuffled": theirs},
    )  # fmt: skip
    keep(report, folder / FILE, config.env.settings, done)


def _played(won: torch.Tensor, loss: float) -> Outcomes:
    return Outcomes(won.double() - loss, 4 - won.long(), won)
