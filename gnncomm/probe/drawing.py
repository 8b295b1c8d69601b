"""The parts of the probe's picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gnncomm.probe.linear import principal_axes
from gnncomm.probe.report import Cell, ProbeReport
from gnncomm.probe.targets import Target, targets
from gnncomm.recording.drawing import style
from gnncomm.recording.drawing.matrix import SHADES
from gnncomm.recording.drawing.page import MARGIN, Sheet

PANELS, SIDE, TOP = 3, 2.9, 1.72
CORNERS = ("#0072B2", "#E69F00", "#009E73", "#AA4499")
"""Colours of places: upper left, upper right, lower left, lower right."""

Points = NDArray[np.float64]


def draw_probe(report: ProbeReport) -> Figure:
    best = sorted(report.best(), key=lambda cell: (not cell.real, cell.guess - cell.score.value))
    shown = best[:PANELS]
    rows = max(len(best), len(report.senders) if report.num_agents <= len(report.senders) else 1, 2)
    below = TOP + SIDE + 1.2 if shown else TOP + 0.3
    width, height = 2 * MARGIN + PANELS * (SIDE + 0.4) - 0.4, max(0.42 * rows, 1.4)
    sheet = Sheet(width, below + height + 0.75)
    sheet.text(MARGIN, 0.28, f"What do they say?   {report.env}", fontsize=17, fontweight="bold", color=style.INK)
    facts = [
        f"{report.episodes:,} episodes",
        f"{report.num_agents} agents",
        f"{report.wire.rounds} round{'s' * (report.wire.rounds > 1)}",
    ]
    bits = f"{report.wire.bits_per_agent_step:,.0f} bits an agent and step"
    sheet.text(MARGIN, 0.66, "   ·   ".join([*facts, bits]), fontsize=10, color=style.GREY)
    if shown:
        sheet.text(MARGIN, 1.02, "Messages", **style.HEADING)
        note = "each a point on its two principal axes, in the colour of what it tells"
        sheet.text(MARGIN + 0.95, 1.04, note, **style.NOTE)
    known = {target.name: target for target in targets(report.moments)}
    for place, cell in enumerate(shown):
        ax = sheet.axes(MARGIN + place * (SIDE + 0.4), TOP, SIDE, SIDE)
        _draw_messages(ax, report, cell, known[cell.target])
    _draw_scores(sheet, best, below)
    _draw_listening(sheet, report, MARGIN + 2 * (SIDE + 0.4) - 0.3, below, height)
    return sheet.figure


def _draw_messages(ax: Axes, report: ProbeReport, cell: Cell, target: Target) -> None:
    moments, place = report.moments, report.senders.index(cell.sender)
    rows = moments.heard[:, cell.round, place] & moments.alive[:, cell.sender] & target.known[:, place]
    points, share = principal_axes(moments.said[cell.round][rows, place])
    values = target.values[rows, place]
    at, spread = points.numpy(), points.std(0).numpy()
    at = at + np.random.default_rng(0).normal(size=at.shape) * 0.035 * max(float(spread.max()), 1e-9)  # equal ones
    if target.labels:
        colours = [style.colour(int(label)) for label in values]
    else:
        colours = list(_of_places(values.double().numpy()))
        if values.shape[1] == 2:
            _draw_key(ax)
    ax.scatter(at[:, 0], at[:, 1], s=13, c=colours, alpha=0.75, linewidth=0, gid=f"messages-{cell.target}")
    if target.labels:
        for label in values.unique().tolist():
            mine = at[(values == label).numpy()]
            x, y = mine[np.abs(mine - np.median(mine, 0)).sum(1).argmin()]
            text = target.names[label] if label < len(target.names) else str(label)
            name: dict[str, Any] = {
                "color": style.colour(label),
                "fontsize": 9,
                "fontweight": "bold",
                "path_effects": style.HALO,
            }
            ax.text(x, y, text, ha="center", va="center", zorder=5, **name)
    ax.margins(0.12)
    ax.set(xticks=[], yticks=[], facecolor=style.GROUND)
    ax.spines[:].set_visible(False)
    ax.set_xlabel(f"{share[0]:.0%} of the variance →", fontsize=7.5, color=style.GREY, labelpad=3)
    ax.set_ylabel(f"{share[1]:.0%} →", fontsize=7.5, color=style.GREY, labelpad=3)
    ax.set_title(cell.target, loc="left", fontsize=9.5, color=style.INK, pad=17, parse_math=False)
    where = f"agent {cell.sender}" + (f", round {cell.round + 1}" if report.wire.rounds > 1 else "")
    score = (
        f"{cell.score.value:.0%} right, {cell.guess:.0%} by guessing" if cell.labels else f"R² {cell.score.value:.2f}"
    )
    told = f"{where}: {score}" if cell.real else f"{where}: not told"
    ax.text(0, 1.025, told, transform=ax.transAxes, fontsize=8, color=style.GREY, va="bottom")


def _of_places(values: Points) -> Points:
    """``[n, 3]``: places blended from the colours of the corners; of one number, from left to right."""
    low, high = values.min(0), values.max(0)
    share = (values - low) / np.where(high > low, high - low, 1)
    down, right = (share[:, 0], share[:, 1]) if share.shape[1] > 1 else (np.zeros(len(share)), share[:, 0])
    corner = np.array([to_rgb(each) for each in CORNERS])
    weights = np.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], 1)
    blended: Points = weights @ corner
    return blended


def _draw_key(ax: Axes) -> None:
    """Which colour is where."""
    key = ax.inset_axes((0.86, 0.86, 0.12, 0.12))
    down, right = np.mgrid[0:1:24j, 0:1:24j]
    key.imshow(_of_places(np.stack([down.ravel(), right.ravel()], 1)).reshape(24, 24, 3), interpolation="bilinear")
    key.set(xticks=[], yticks=[])
    key.spines[:].set(color="white", linewidth=1.5)


def _draw_scores(sheet: Sheet, best: list[Cell], y: float) -> None:
    sheet.text(MARGIN, y - 0.5, "What can be read", **style.HEADING)
    if not best:
        sheet.text(MARGIN, y - 0.1, "nothing is said often enough to be looked at", **style.NOTE)
        return
    sheet.text(
        MARGIN + 1.6, y - 0.48, "by the best sender and round; line: a guess; pale: no better than chance", **style.NOTE
    )
    left = MARGIN + 1.95
    ax = sheet.axes(left, y, 2 * (SIDE + 0.4) - 0.95 - left + MARGIN, 0.42 * len(best))
    for line, cell in enumerate(best):
        value = max(cell.score.value, 0.0)
        colour = style.AGENTS[0] if cell.real else style.PALE
        ax.barh(line, value, 0.55, color=colour, zorder=2)
        ax.plot([cell.guess] * 2, [line - 0.36, line + 0.36], color=style.INK, linewidth=1.4, zorder=3)
        text = f"{value:.0%}" if cell.labels else f"R² {value:.2f}"
        ax.text(max(value, cell.guess) + 0.015, line, text, fontsize=8.5, color=style.INK, va="center")
    ax.set(xlim=(0, 1.12), ylim=(len(best) - 0.4, -0.6))
    ax.set_yticks(range(len(best)), [cell.target for cell in best], fontsize=8.5)
    ax.tick_params(length=0, colors=style.INK)
    ax.set_xticks([])
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.spines["left"].set_color(style.PALE)


def _draw_listening(sheet: Sheet, report: ProbeReport, x: float, y: float, height: float) -> None:
    sheet.text(x, y - 0.5, "Who listens to whom", **style.HEADING)
    whole = report.exchanged.everyone
    unit = "share of the range" if report.numbers else "change of chances"
    if whole is None or report.num_agents > len(report.senders):
        told = "nothing is read" if whole is None else f"{unit} if all messages are exchanged: {whole.mean:.1%}"
        sheet.text(x, y - 0.1, told, **style.NOTE)
        return
    sheet.text(x, y - 0.24, f"{unit} of the receiver if exchanged; all: {whole.mean:.0%}", **style.NOTE)
    pairs = np.array(report.exchanged.pairs, dtype=float)
    side = min(height - 0.15, 2.4)
    ax = sheet.axes(x + 0.3, y + 0.18, side, side)
    ax.imshow(np.nan_to_num(pairs), cmap=SHADES, vmin=0, vmax=max(float(np.nanmax(pairs, initial=0.0)), 0.01))
    ax.xaxis.tick_top()
    ax.set_xticks(range(report.num_agents), [str(n) for n in range(report.num_agents)], fontsize=8)
    ax.set_yticks(range(len(pairs)), [str(n) for n in report.senders], fontsize=8)
    ax.tick_params(length=0, colors=style.INK, pad=2)
    ax.set_ylabel("sender", fontsize=8, color=style.GREY, labelpad=2)
    ax.set_xlabel("receiver", fontsize=8, color=style.GREY, labelpad=4)
    ax.spines[:].set_visible(False)
    top = max(float(np.nanmax(pairs, initial=0.0)), 0.01)
    for sender, receiver in np.ndindex(*pairs.shape):
        value = pairs[sender, receiver]
        if np.isfinite(value) and report.num_agents <= 6:
            shade = "white" if value > 0.55 * top else style.INK
            ax.text(receiver, sender, f"{value:.0%}", ha="center", va="center", fontsize=7.5, color=shade)
