"""One picture for each state of an episode, all of one size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gnncomm.recording.drawing import plain, style
from gnncomm.recording.drawing.frames import draw_frame, events_of
from gnncomm.recording.episode import Episode

WIDTH, HEIGHT, DPI = 640, 704, 100
"""In pixels; multiples of 16, which video codecs like."""
SIDE = 592
TRAIL = 12
"""Steps that a path is seen for."""


def pictures(episode: Episode) -> Iterator[NDArray[np.uint8]]:
    """``[HEIGHT, WIDTH, 3]`` for states 0 ... T, with the messages sent in each; none are sent in the last."""
    for state in range(episode.length + 1):
        with plain():
            yield _picture(episode, state)


def _picture(episode: Episode, state: int) -> NDArray[np.uint8]:
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    left = (WIDTH - SIDE) / 2
    ax = figure.add_axes((left / WIDTH, left / HEIGHT, SIDE / WIDTH, SIDE / HEIGHT))
    draw_frame(ax, episode, state, 72 / DPI * SIDE / max(episode.size), largest=26)
    if episode.pictures is None:
        _draw_trails(ax, episode, state)
    ax.set_title("", loc="left")
    happened = ", ".join(text for when, text in events_of(episode) if when == state)
    title = " · ".join(style.shown(text) for text in (episode.env, episode.title) if text)
    figure.text(left / WIDTH, 0.955, title, fontsize=14, fontweight="bold", color=style.INK, parse_math=False)
    figure.text(left / WIDTH, 0.918, f"step {state} of {episode.length}", fontsize=10, color=style.GREY)
    figure.text(1 - left / WIDTH, 0.918, happened, fontsize=10, color=style.INK, ha="right")
    canvas.draw()  # type: ignore[no-untyped-call]  # of matplotlib
    rgba = canvas.buffer_rgba()  # type: ignore[no-untyped-call]  # of matplotlib
    picture: NDArray[np.uint8] = np.asarray(rgba)[..., :3].copy()
    return picture


def _draw_trails(ax: Axes, episode: Episode, state: int) -> None:
    """Where each agent was in the steps before, paler the longer ago."""
    first = max(0, state - TRAIL)
    lanes = 0.45 * style.lanes(episode.num_agents)
    for agent in range(episode.num_agents):
        track = episode.agents[first : state + 1, agent, ::-1] + lanes[agent]
        if episode.alive[state, agent] and len(track) > 1:
            share = 1 - (state - np.arange(first + 1, state + 1)) / TRAIL
            ax.add_collection(
                LineCollection(
                    list(np.stack([track[:-1], track[1:]], 1)),
                    colors=[style.mixed(style.colour(agent), 0.15 + 0.6 * float(each)) for each in share],
                    linewidths=(1.0 + 2.2 * share).tolist(),
                    capstyle="round",
                    zorder=2,
                    gid=f"trail-{agent}",
                ),
                autolim=False,
            )
