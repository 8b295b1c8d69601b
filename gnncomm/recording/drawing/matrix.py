"""Who listened to whom: matrices of senders and receivers, and every pair over time."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gnncomm.recording.drawing import style
from gnncomm.recording.drawing.page import MARGIN, Sheet, draw_title
from gnncomm.recording.episode import Episode

SHADES = LinearSegmentedColormap.from_list("weight", ["#FBFAF7", "#CFE0EA", "#7FB2D0", "#2F7FB5", "#0B3C61"])
PAIRS = 6
"""Up to so many agents every pair has a line over time; beyond, every sender has one."""
WRITTEN = 10
"""Up to so many agents the numbers stand in the matrix."""
SIDE, TOP = 2.75, 1.85


def mean_weights(episode: Episode) -> NDArray[np.float64]:
    """``[K, N, N]`` (round, sender, receiver): averaged over the steps at which the receiver lives."""
    total = np.zeros((max(episode.num_rounds, 1), episode.num_agents, episode.num_agents))
    np.add.at(total, tuple(episode.messages[:, 1:].T), np.abs(episode.weight))
    lived_N = episode.alive[:-1].sum(0)
    mean: NDArray[np.float64] = total / np.maximum(lived_N, 1)
    return mean


def over_time(episode: Episode) -> tuple[NDArray[np.float64], list[tuple[int, int | None]]]:
    """``[L, T]``, and the sender and receiver of each line; None: the mean over all others that live."""
    count, steps = episode.num_agents, episode.length
    weights = np.zeros((count, count, steps))
    sender, receiver = episode.messages[:, 2], episode.messages[:, 3]
    np.add.at(weights, (sender, receiver, episode.messages[:, 0]), np.abs(episode.weight))
    weights /= max(episode.num_rounds, 1)
    if 1 < count <= PAIRS:
        pairs = [(j, i) for i in range(count) for j in range(count) if i != j]
        return np.stack([weights[pair] for pair in pairs]), list(pairs)
    weights[np.arange(count), np.arange(count)] = 0
    others = np.maximum(episode.alive[:-1].sum(1) - 1, 1)
    return weights.sum(1) / others, [(j, None) for j in range(count)]


def draw_attention(episode: Episode) -> Figure:
    mean_KNN, (lines_LT, pairs) = mean_weights(episode), over_time(episode)
    rounds = len(mean_KNN)
    side = SIDE if episode.num_agents <= WRITTEN else 3.6 if rounds > 1 else 5.4
    width = max(2 * MARGIN + 0.5 + rounds * (side + 0.55), 9.0)
    strip = min(max(0.2 * len(pairs), 0.5), 6.5)
    below = TOP + side + 1.05
    sheet = Sheet(width, below + strip + 0.75)
    draw_title(sheet, episode)
    sheet.text(MARGIN, 0.92, "Who listened to whom", **style.HEADING)
    sheet.text(MARGIN + 2.15, 0.94, _told(episode), **style.NOTE)
    top = max(float(mean_KNN.max(initial=0.0)), 1e-12) if not episode.attention else 1.0
    for number, mean_NN in enumerate(mean_KNN):
        ax = sheet.axes(MARGIN + 0.45 + number * (side + 0.55), TOP, side, side)
        _draw_matrix(ax, mean_NN, top, f"round {number + 1}" if rounds > 1 else "")
    sheet.text(MARGIN, below - 0.42, "Over time", **style.HEADING)
    told = (
        "one line for each sender → receiver" if len(pairs) and pairs[0][1] is not None else "one line for each sender"
    )
    sheet.text(MARGIN + 1.05, below - 0.4, told + (", mean over rounds" if rounds > 1 else ""), **style.NOTE)
    _draw_lines(sheet.axes(MARGIN + 0.6, below, width - 2 * MARGIN - 0.6, strip), lines_LT, pairs, episode.attention)
    return sheet.figure


def _told(episode: Episode) -> str:
    if episode.attention:
        return "share of the receiver's attention, mean over its steps: a full column sums to 1"
    if (episode.weight != 1).any():
        return "weight of the edge, mean over the receiver's steps: this layer has no attention"
    return "share of the receiver's steps with a message: this layer has no attention"


def _draw_matrix(ax: Axes, mean_NN: NDArray[np.float64], top: float, title: str) -> None:
    count = len(mean_NN)
    ax.imshow(mean_NN, cmap=SHADES, vmin=0, vmax=top, aspect="equal")
    ax.set_title(title, fontsize=9, color=style.INK, pad=7)
    ax.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
    ax.spines[:].set_visible(False)
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    every = max(1, count // 20)
    ticks = np.arange(0, count, every)
    ax.set_xticks(ticks, [str(n) for n in ticks], fontsize=8)
    ax.set_yticks(ticks, [str(n) for n in ticks], fontsize=8)
    ax.tick_params(length=0, colors=style.INK, pad=2)
    ax.set_xlabel("receiver", fontsize=8, color=style.GREY, labelpad=3)
    ax.set_ylabel("sender", fontsize=8, color=style.GREY, labelpad=3)
    for edge in np.arange(0.5, count - 1):
        ax.axhline(edge, color="white", linewidth=1.2 if count <= WRITTEN else 0.3)
        ax.axvline(edge, color="white", linewidth=1.2 if count <= WRITTEN else 0.3)
    if count > WRITTEN:
        return
    for sender, receiver in np.ndindex(count, count):
        value = mean_NN[sender, receiver]
        if sender != receiver or value > 0:
            shade = "white" if value > 0.55 * top else style.INK
            text = f"{value:.2f}".removeprefix("0") if 0 < value < 1 else f"{value:.3g}"
            ax.text(receiver, sender, text, ha="center", va="center", fontsize=8.5, color=shade, gid="share")
        else:
            ax.text(receiver, sender, "·", ha="center", va="center", fontsize=8, color=style.PALE)


def _draw_lines(ax: Axes, lines_LT: NDArray[np.float64], pairs: list[tuple[int, int | None]], attention: bool) -> None:
    count, steps = lines_LT.shape
    top = max(float(lines_LT.max(initial=0.0)), 1e-12)
    ax.imshow(
        lines_LT,
        cmap=SHADES,
        vmin=0,
        vmax=1.0 if attention and pairs and pairs[0][1] is not None else top,
        aspect="auto",
        interpolation="nearest",
        extent=(0, steps, count, 0),
    )
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, colors=style.GREY, labelsize=8)
    every = max(1, count // 30)
    names = [f"{j} → {i}" if i is not None else f"{j} →" for j, i in pairs]
    ax.set_yticks(np.arange(0, count, every) + 0.5, names[::every], fontsize=7.5)
    ax.set_xticks(np.arange(0, steps + 1, next(k for k in (1, 2, 5, 10, 20, 50, 100, 500, 10**9) if steps / k <= 25)))
    ax.set_xlabel("step", fontsize=8.5, color=style.GREY, labelpad=1)
    for line in range(1, count):
        apart = pairs[line][1] != pairs[line - 1][1]
        ax.axhline(line, color="white", linewidth=3 if apart else 0.8 if count <= 40 else 0)
