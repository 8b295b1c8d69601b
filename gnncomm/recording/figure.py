"""``trajectory_figure``: one page that shows what happened in an episode and what was said."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gnncomm.errors import ConfigError, require_extra
from gnncomm.recording.episode import Episode, EpisodeError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FARTHEST = 20
"""Sides of the grid from its origin that are drawn."""
HEAVIEST = 1_000_000
"""Weight that is drawn."""


def trajectory_figure(episode: Episode, path: str | Path | None = None, dpi: int = 160) -> Figure:
    """Draw an episode: paths on the grid, messages at key moments, and who was listened to when.

    Left, the grid with the path of each agent from its start (hollow) to its end (filled), paler when earlier, with
    step numbers, over the field at step 0 where the environment has one. Right, up to six moments with the messages
    that flow then, in the colour of the sender and as wide as the receiver's attention to them; rounds have panels of
    their own, or lines of their own kind; a broken line with a cross is a message that got lost. Below, for each agent
    and step the attention that its messages got, averaged over all receivers that could listen, and what happened.
    Where an environment of another library drew itself (``Episode.pictures``), its pictures take the place of grids.

    The figure is drawn off-screen; pyplot's state is not touched.

    Args:
        path: where to save it, in the format of its suffix (png, pdf, svg, ...).
        dpi: dots per inch of the saved file.

    Raises:
        MissingExtraError: matplotlib is not installed (``gnncomm[viz]``).
        ConfigError: matplotlib cannot write files of this suffix.
    """
    return _drawn("page:draw_page", episode, path, dpi)


def attention_figure(episode: Episode, path: str | Path | None = None, dpi: int = 160) -> Figure:
    """Draw who listened to whom: a matrix of senders and receivers for each round, and below it every pair over time.

    Numbers are the weights of messages, averaged over the steps of the episode at which the receiver lives; where the
    layer has no attention, the share of these steps at which it read a message. For arguments and errors see
    ``trajectory_figure``.
    """
    return _drawn("matrix:draw_attention", episode, path, dpi)


def graph_figure(episode: Episode, path: str | Path | None = None, dpi: int = 160) -> Figure:
    """Draw the graph of who read messages of whom, one for each round, laid out and drawn by networkx.

    An edge is as wide as its mean weight and as strong as the share of steps at which a message came over it; a disc
    grows with what its agent sent out. For arguments and errors see ``trajectory_figure``.
    """
    return _drawn("network:draw_graph", episode, path, dpi)


VIEWS: dict[str, Callable[..., Figure]] = {
    "paths": trajectory_figure,
    "attention": attention_figure,
    "graph": graph_figure,
}
"""Pictures of an episode, by name."""


def _drawn(what: str, episode: Episode, path: str | Path | None, dpi: int) -> Figure:
    """What ``module:function`` of ``drawing`` makes of the episode, saved where there is a path."""

    def draw() -> Figure:
        require_drawable(episode)
        module, _, name = what.partition(":")
        figure: Figure = getattr(importlib.import_module(f"gnncomm.recording.drawing.{module}"), name)(episode)
        return figure

    return drawn(draw, path, dpi)


def drawn(draw: Callable[[], Figure], path: str | Path | None, dpi: int) -> Figure:
    """What ``draw`` makes, whatever matplotlib was set to; saved where there is a path, which is looked at first.

    Raises:
        MissingExtraError, ConfigError: see ``figure_path``.
    """
    checked = figure_path(path)
    from gnncomm.recording.drawing import plain

    with plain():
        figure = draw()
        if checked is not None:
            figure.savefig(checked, dpi=dpi)
    return figure


def require_drawable(episode: Episode) -> None:
    """Refuse numbers at which matplotlib overflows, or takes minutes.

    Raises:
        EpisodeError: says which.
    """
    numbers = {"weights": (episode.weight, HEAVIEST)}
    for name, places in {"places of agents": episode.agents, **episode.entities}.items():
        numbers[name] = places, FARTHEST * max(episode.size)
    for name, (array, most) in numbers.items():
        if (largest := np.abs(array).max(initial=0.0)) > most:
            raise EpisodeError(f"Expected {name!r:.80} up to {most:,} to draw, got {largest:g}.")


def figure_suffixes() -> tuple[str, ...]:
    """The ends of names that figures can be written under: ``.png``, ``.pdf``, ``.svg``, ...

    Raises:
        MissingExtraError: matplotlib is not installed (``gnncomm[viz]``).
    """
    require_extra("matplotlib")
    from gnncomm.recording.drawing.surroundings import import_matplotlib

    import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    return tuple(sorted(f".{suffix}" for suffix in FigureCanvasAgg.filetypes))


def figure_path(path: str | Path | None) -> Path | None:
    """``path``, checked: matplotlib would write ``DIR.png`` for ``DIR``, without a word.

    Raises:
        MissingExtraError: matplotlib is not installed. ConfigError: a directory, or a suffix of no known format.
    """
    known = figure_suffixes()
    if path is None:
        return None
    if Path(path).suffix.lower() not in known or Path(path).is_dir():
        what = "the directory " if Path(path).is_dir() else ""
        raise ConfigError(f"Expected a figure path that ends in one of {', '.join(known)}, got {what}{str(path)!r}.")
    return Path(path)
