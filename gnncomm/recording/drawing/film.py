"""One picture for each state of an episode, all of one size."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gnncomm.recording.drawing import plain, style
from gnncomm.recording.drawing.frames import draw_frame, events_of
from gnncomm.recording.episode import Episode

WIDTH, HEIGHT, DPI = 640, 704, 100
"""In pixels; multiples of 16, which video codecs like."""
SIDE = 592


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
    ax.set_title("", loc="left")
    happened = ", ".join(text for when, text in events_of(episode) if when == state)
    figure.text(left / WIDTH, 0.955, episode.env, fontsize=14, fontweight="bold", color=style.INK)
    figure.text(left / WIDTH, 0.918, f"step {state} of {episode.length}", fontsize=10, color=style.GREY)
    figure.text(1 - left / WIDTH, 0.918, happened, fontsize=10, color=style.INK, ha="right")
    canvas.draw()  # type: ignore[no-untyped-call]  # of matplotlib
    rgba = canvas.buffer_rgba()  # type: ignore[no-untyped-call]  # of matplotlib
    picture: NDArray[np.uint8] = np.asarray(rgba)[..., :3].copy()
    return picture
