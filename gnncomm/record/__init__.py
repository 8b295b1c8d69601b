"""Episodes that can be kept and looked at."""

import sys
from types import ModuleType
from typing import Any

from gnncomm.record.curves import learning_curves
from gnncomm.record.episode import Episode, EpisodeError
from gnncomm.record.figure import MissingExtraError, figure_suffixes, trajectory_figure
from gnncomm.record.recorder import record
from gnncomm.record.video import episode_video

__all__ = [
    "Episode",
    "EpisodeError",
    "MissingExtraError",
    "episode_video",
    "figure_suffixes",
    "learning_curves",
    "record",
    "trajectory_figure",
]


class _CallableModule(ModuleType):
    """``gnncomm.record`` is this package and the function of its name at once."""

    def __call__(self, *args: Any, **kwargs: Any) -> Episode:
        return record(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
