"""``learning_curves``: how trainings went, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gnncomm.errors import ConfigError, ShapeError
from gnncomm.recording.figure import figure_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[Sequence[float], Sequence[float]]
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
    dpi: int = 160,
) -> Figure:
    """Draw curves over a common axis, each with its name at its end.

    Args:
        curves: name -> (x, y), x rising.
        path: where to save it; None draws only.
        title, xlabel, ylabel: texts.
        percent: y is a share, drawn from 0 to 100 %.
        dpi: dots per inch of the saved file.

    Raises:
        MissingExtraError: matplotlib is not installed (``gnncomm[viz]``).
        ConfigError: there is no curve, or ``path`` is no name of a figure. ShapeError: x and y of a curve differ in
            length, or it has no points.
    """
    checked = figure_path(path)
    if not curves:
        raise ConfigError("Expected at least one curve to draw, got none.")
    from gnncomm.recording.drawing import plain

    with plain():
        figure = _figure(curves, title, xlabel, ylabel, percent)
        if checked is not None:
            figure.savefig(checked, dpi=dpi)
    return figure


def _figure(curves: Mapping[str, Curve], title: str, xlabel: str, ylabel: str, percent: bool) -> Figure:
    from matplotlib.figure import Figure

    from gnncomm.recording.drawing.style import GREY, HEADING, INK, NOTE, PALE, colour

    figure = Figure(figsize=(7.2, 3.8))
    ax = figure.add_axes((0.09, 0.14, 0.74, 0.72))
    ends = []
    for number, (name, (x, y)) in enumerate(curves.items()):
        if len(x) != len(y) or not len(x):
            raise ShapeError(f"Curve {name!r}: expected x and y of one length >= 1, got {len(x)} and {len(y)}.")
        xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float) * (100 if percent else 1)
        if len(xs) > POINTS:
            ax.plot(xs, ys, color=colour(number), alpha=0.18, linewidth=0.7)
            xs, ys = _means(xs), _means(ys)
        ax.plot(xs, ys, color=colour(number), linewidth=1.8, solid_capstyle="round")
        ends.append((float(xs[-1]), float(ys[-1]), name, colour(number)))
    _name(ax, ends)
    if percent:
        ax.set_ylim(-2, 102)
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0f} %")
    ax.set_xlim(0, None)
    ax.xaxis.set_major_formatter(lambda value, _: _short(value))
    ax.grid(axis="y", color=PALE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(PALE)
    ax.tick_params(colors=GREY, labelsize=8.5, length=0)
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
    low, high = min(end[1] for end in ends), max(end[1] for end in ends)
    gap, last = max(high - low, 100 * (high > 1) or 1.0) * 0.055, -np.inf
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
