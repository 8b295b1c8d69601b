"""Episodes that can be kept and looked at."""

from gnncomm.errors import MissingExtraError
from gnncomm.recording.curves import learning_curves
from gnncomm.recording.episode import Episode, EpisodeError
from gnncomm.recording.figure import figure_suffixes, trajectory_figure
from gnncomm.recording.recorder import record
from gnncomm.recording.video import VideoError, episode_video

__all__ = [
    "Episode",
    "EpisodeError",
    "MissingExtraError",
    "VideoError",
    "episode_video",
    "figure_suffixes",
    "learning_curves",
    "record",
    "trajectory_figure",
]
