"""``comparison_figure``: every seed, what seeds come to, and who is better than the first method."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gnncomm.compare.comparison import Comparison
from gnncomm.compare.text import plain, shortened, title
from gnncomm.recording.figure import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def comparison_figure(comparison: Comparison, path: str | Path | None = None, dpi: int = 160) -> Figure:
    """A row for each method: its seeds as dots, the interquartile mean with its 95 % bootstrap interval over them, and
    beside it the probability that it improves on the first.

    Raises:
        MissingExtraError: matplotlib is not installed (``gnncomm[viz]``).
        ConfigError: ``path`` is no name of a figure.
    """
    return drawn(partial(_figure, comparison), path, dpi)


def _figure(comparison: Comparison) -> Figure:
    from matplotlib.figure import Figure

    from gnncomm.recording.drawing.style import HEADING, NOTE

    rows = len(comparison.methods)
    height = 1.3 + 0.42 * rows
    figure = Figure(figsize=(7.2, height), facecolor="white")
    bottom, tall = 0.55 / height, (0.42 * rows + 0.05) / height
    scores = figure.add_axes((0.26, bottom, 0.42 if comparison.against else 0.68, tall))
    _scores(scores, comparison)
    if comparison.against:
        _improves(figure.add_axes((0.74, bottom, 0.23, tall)), comparison)
    figure.text(0.03, 1 - 0.28 / height, f"{comparison.metric} of every seed", **HEADING)
    figure.text(0.03, 1 - 0.48 / height, title(comparison).partition(" in ")[2], **NOTE)
    return figure


def _scores(ax: Axes, comparison: Comparison) -> None:
    from gnncomm.recording.drawing.style import INK, NOTE, bare, colour

    percent = 100 if comparison.metric == "success" else 1
    for row, method in enumerate(comparison.methods):
        shade = colour(row)
        spread = [row + 0.09 * (place % 5 - 2) for place in range(len(method.teams))]
        ax.scatter(method.scores * percent, spread, s=16, color=shade, alpha=0.55, linewidth=0, zorder=2)
        low, point, high = (percent * getattr(method.iqm, end) for end in ("low", "mean", "high"))
        if len(method.teams) > 1:
            ax.plot([low, high], [row, row], color=shade, linewidth=5, alpha=0.35, solid_capstyle="butt", zorder=1)
        ax.plot([point, point], [row - 0.27, row + 0.27], color=shade, linewidth=2.2, zorder=3)
    ax.set_yticks(range(len(comparison.methods)))
    names = [shortened(f"{plain(method.group.label)} (n={len(method.teams)})", 30) for method in comparison.methods]
    ax.set_yticklabels(names, fontsize=8.5, color=INK, parse_math=False)
    unit = ", %" if percent == 100 else ", fewer are better" if comparison.fewer_is_better else ""
    ax.set_xlabel(f"{comparison.metric}{unit}: seeds, IQM, 95 % bootstrap", **NOTE)
    ax.set_ylim(len(comparison.methods) - 0.5, -0.5)
    bare(ax, "x")


def _improves(ax: Axes, comparison: Comparison) -> None:
    from gnncomm.recording.drawing.style import GREY, NOTE, bare, colour

    ax.axvline(0.5, color=GREY, linewidth=0.8, linestyle=(0, (3, 3)), zorder=0)
    for row, each in enumerate(comparison.against, start=1):
        chance, shade = each.improves, colour(row)
        ax.plot([chance.low, chance.high], [row, row], color=shade, linewidth=5, alpha=0.35, solid_capstyle="butt")
        ax.plot([chance.mean] * 2, [row - 0.27, row + 0.27], color=shade, linewidth=2.2)
    ax.set_xlim(-0.03, 1.03)
    ax.set_xticks([0, 0.5, 1])
    ax.set_yticks([])
    ax.set_xlabel("P(better than the first)", **NOTE)
    ax.set_ylim(len(comparison.methods) - 0.5, -0.5)
    bare(ax, "x")
