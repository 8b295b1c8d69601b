"""Episodes that can be kept and looked at."""

from gnncomm.errors import MissingExtraError
from gnncomm.recording.curves import learning_curves
from gnncomm.recording.episode import Episode, EpisodeError
from gnncomm.recording.figure import VIEWS, attention_figure, figure_suffixes, graph_figure, trajectory_figure
from gnncomm.recording.page import compare_page, page_html, replay_page
from gnncomm.recording.recorder import record
from gnncomm.recording.video import VideoError, episode_video

__all__ = [
    "VIEWS",
    "Episode",
    "EpisodeError",
    "MissingExtraError",
    "VideoError",
    "attention_figure",
    "compare_page",
    "episode_video",
    "figure_suffixes",
    "graph_figure",
    "learning_curves",
    "page_html",
    "record",
    "replay_page",
    "trajectory_figure",
]
