"""The strip below: for each agent and step, how much its messages were listened to, and what happened."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from gnncomm.recording.drawing import style
from gnncomm.recording.drawing.frames import events_of
from gnncomm.recording.episode import Episode


def heard(episode: Episode) -> NDArray[np.float64]:
    """``[T, N]``: weights of an agent's messages, summed over the others and divided by their number."""
    others = max(episode.num_agents - 1, 1)
    weights = np.abs(np.stack([episode.attention_at(step) for step in range(episode.length)])).astype(np.float64)
    weights[:, np.arange(episode.num_agents), np.arange(episode.num_agents)] = 0
    total: NDArray[np.float64] = weights.sum(2) / others
    return total


def draw_timeline(ax: Axes, episode: Episode) -> None:
    """Bars between the states before and after a step; events stand at the state they lead to."""
    share_TN = heard(episode)
    count, steps = episode.num_agents, episode.length
    top = max(float(share_TN.max()), 1.7 / max(count - 1, 1) if episode.attention else 1.0)
    ax.set(xlim=(-0.02 * steps, steps * 1.02), ylim=(count + 0.02, -0.12), yticks=[])
    ax.spines[["left", "right", "top"]].set_visible(False)
    ax.spines["bottom"].set_color(style.PALE)
    ax.tick_params(axis="x", colors=style.GREY, labelsize=8, length=2.5)
    ax.set_xticks(np.arange(0, steps + 1, next(k for k in (1, 2, 5, 10, 20, 50, 100, 10**9) if steps / k <= 25)))
    ax.set_xlabel("step", fontsize=8.5, color=style.GREY, labelpad=1)
    for agent in range(count):
        base = agent + 0.92
        height = 0.8 * share_TN[:, agent] / top
        later = np.arange(steps) >= _end(episode, agent)
        faces = [style.mixed(style.colour(agent), 0.4 if late else 0.82, "white") for late in later]
        ax.bar(np.arange(steps) + 0.5, -height, 0.84, bottom=base, color=faces, zorder=2)
        ax.plot([0, steps], [base, base], color=style.PALE, linewidth=0.8, zorder=2.5)
        if episode.attention and count > 1:
            level = base - 0.8 / (count - 1) / top
            ax.plot([0, steps], [level, level], color=style.GREY, linewidth=0.6, linestyle=(0, (1, 2.5)), zorder=3)
    _draw_events(ax, episode)


def _end(episode: Episode, agent: int) -> int:
    """The first state from which on the agent has finished for good; beyond the last if there is none."""
    undone = np.flatnonzero(~episode.finished[:, agent])
    return int(undone[-1]) + 1 if len(undone) else 0


def _draw_events(ax: Axes, episode: Episode) -> None:
    labels: dict[int, list[str]] = {}
    for state, text in events_of(episode):
        if text.startswith("agent "):
            agent = int(text.split()[1])
            mark, face = ("✓", style.colour(agent)) if text.endswith("arrives") else ("×", style.INK)
            ax.scatter(state, agent + 0.55, s=118, facecolor=face, edgecolor="white", linewidth=1.2, zorder=5)
            ax.text(state, agent + 0.55, mark, color="white", fontsize=7.5, ha="center", va="center_baseline", zorder=6)
        else:
            labels.setdefault(state, []).append(text)
    for state, texts in labels.items():
        ax.axvline(state, color=style.INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1.5)
        ax.text(state, -0.16, ", ".join(texts), fontsize=8, color=style.INK, ha="center", va="bottom")
