"""Evaluation with controls: what a team achieves, and what its communication is worth."""

from gnncomm.evaluation.controls import evaluate, muted
from gnncomm.evaluation.play import Outcomes, play
from gnncomm.evaluation.report import Arm, Report
from gnncomm.evaluation.selection import Selection, Standing
from gnncomm.evaluation.shuffle import Overheard, Partners, Shuffled
from gnncomm.evaluation.statistics import (
    Difference,
    Interval,
    mean_interval,
    paired_difference,
    sign_flip,
    t_quantile,
    wilson,
)
from gnncomm.evaluation.traffic import Traffic, WireUse
from gnncomm.learn.config import DEFAULT_SEED

__all__ = [
    "DEFAULT_SEED",
    "Arm",
    "Difference",
    "Interval",
    "Outcomes",
    "Overheard",
    "Partners",
    "Report",
    "Selection",
    "Shuffled",
    "Standing",
    "Traffic",
    "WireUse",
    "evaluate",
    "mean_interval",
    "muted",
    "paired_difference",
    "play",
    "sign_flip",
    "t_quantile",
    "wilson",
]
