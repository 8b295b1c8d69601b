"""``learning_curves``: how trainings went, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gnncomm.errors import ConfigError, ShapeError
from gnncomm.recording.figure import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Numbers = Sequence[float] | NDArray[np.float64]
Curve = tuple[Numbers, Numbers]
"""Where, and how much: two sequences of one length."""

POINTS = 60
"""A long curve is drawn as so many means; its single values stay behind them, pale."""


def learning_curves(
    curves: Mapping[str, Curve],
    path: str | Path | None = None,
    *,
    title: str = "",
    xlabel: str = "environment steps",
    ylabel: str = "success",
    percent: bool = True,
    bands: Mapping[str, Curve] | None = None,
    behind: Mapping[str, Sequence[Curve]] | None = None,
    dpi: int = 160,
) -> Figure:
    """Draw curves over a common axis, each with its name at its end.

    Args:
        curves: name -> (x, y), x rising.
        path: where to save it; None draws only.
        title, xlabel, ylabel: texts.
        percent: y is a share, drawn from 0 to 100 %.
        bands: name -> (low, high) at the places of its curve, drawn as an area.
        behind: name -> curves that are drawn pale behind it, such as those of single seeds.
        dpi: dots per inch of the saved file.

    Raises:
        MissingExtraError: matplotlib is not installed (``gnncomm[viz]``).
        ConfigError: there is no curve, or ``path`` is no name of a figure. ShapeError: x and y of a curve differ in
            length, or it has no points.
    """
    draw = partial(_figure, curves, bands or {}, behind or {}, title, xlabel, ylabel, percent)
    return drawn(draw, path, dpi)


def _figure(
    curves: Mapping[str, Curve],
    bands: Mapping[str, Curve],
    behind: Mapping[str, Sequence[Curve]],
    title: str,
    xlabel: str,
    ylabel: str,
    percent: bool,
) -> Figure:
    from matplotlib.figure import Figure

    from gnncomm.recording.drawing.style import HEADING, INK, NOTE, bare, colour

    if not curves:
        raise ConfigError("Expected at least one curve to draw, got none.")

    figure = Figure(figsize=(7.2, 3.8))
    room = min(0.4, 0.02 + 0.0115 * max(map(len, curves)))  # of the names at the ends
    ax = figure.add_axes((0.09, 0.14, 0.91 - max(room, 0.17), 0.72))
    ends = []
    for number, (name, (x, y)) in enumerate(curves.items()):
        if len(x) != len(y) or not len(x):
            raise ShapeError(f"Curve {name!r}: expected x and y of one length >= 1, got {len(x)} and {len(y)}.")
        scale = 100 if percent else 1
        pale: dict[str, Any] = {"color": colour(number), "linewidth": 0.7}
        xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float) * scale
        for seed_x, seed_y in behind.get(name, ()):
            ax.plot(seed_x, np.asarray(seed_y, dtype=float) * scale, alpha=0.35, **pale)
        if name in bands:
            low, high = (np.asarray(edge, dtype=float) * scale for edge in bands[name])
            ax.fill_between(xs, low, high, color=colour(number), alpha=0.16, linewidth=0)
        if len(xs) > POINTS:
            ax.plot(xs, ys, alpha=0.18, **pale)
            xs, ys = _means(xs), _means(ys)
        ax.plot(xs, ys, color=colour(number), linewidth=1.8, solid_capstyle="round")
        ends.append((float(xs[-1]), float(ys[-1]), name, colour(number)))
    if percent:
        ax.set_ylim(-2, 102)
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
    _name(ax, ends)
    ax.set_xlim(0, None)
    ax.xaxis.set_major_formatter(lambda value, _: _short(value))
    bare(ax, "y")
    ax.set_xlabel(xlabel, **NOTE)
    figure.text(0.09, 0.93, title or ylabel, **HEADING)
    if title:
        figure.text(0.09, 0.88, ylabel, **NOTE)
    figure.patch.set_facecolor("white")
    ax.xaxis.label.set_color(INK)
    return figure


def _means(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([part.mean() for part in np.array_split(values, POINTS)])


def _short(value: float) -> str:
    """12000 -> 12k, 2400000 -> 2.4M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _name(ax: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write the name of each curve beside its end, none over another."""
    bottom, top = ax.get_ylim()
    gap, last = (top - bottom) * 0.055, -np.inf
    for x, y, name, shade in sorted(ends, key=lambda end: end[1]):
        height = max(y, last + gap)
        last = height
        ax.annotate(
            name,
            (x, height),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=shade,
            annotation_clip=False,
            parse_math=False,
        )
