"""Evaluation with controls: what a team achieves, and what its communication is worth."""

import sys
from types import ModuleType
from typing import Any

from gnncomm.evaluate.controls import DEFAULT_SEED, evaluate
from gnncomm.evaluate.play import Outcomes, play
from gnncomm.evaluate.report import Arm, Report
from gnncomm.evaluate.shuffle import Overheard, Partners, Shuffled
from gnncomm.evaluate.statistics import (
    Difference,
    Interval,
    mean_interval,
    paired_difference,
    sign_flip,
    t_quantile,
    wilson,
)
from gnncomm.evaluate.traffic import Traffic, WireUse

__all__ = [
    "DEFAULT_SEED",
    "Arm",
    "Difference",
    "Interval",
    "Outcomes",
    "Overheard",
    "Partners",
    "Report",
    "Shuffled",
    "Traffic",
    "WireUse",
    "evaluate",
    "mean_interval",
    "paired_difference",
    "play",
    "sign_flip",
    "t_quantile",
    "wilson",
]


class _CallableModule(ModuleType):
    """``gnncomm.evaluate`` is this package and the function of its name at once."""

    def __call__(self, *args: Any, **kwargs: Any) -> Report:
        return evaluate(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
