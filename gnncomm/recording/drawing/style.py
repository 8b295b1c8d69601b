"""Colours, sizes and places shared by all parts of the page. Places are (column, row): x before y."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from gnncomm.recording.episode import Episode

Places = NDArray[np.float64]

INK, GREY, PALE = "#26282B", "#74787E", "#C9CCCF"
GROUND = "#F4F3EF"
GOLD = "#F2B701"
FIELD = LinearSegmentedColormap.from_list("field", [GROUND, "#DFE7EA", "#B5CBD6", "#7FA6BA"])
# Okabe and Ito 2008 without its yellow, then wine, indigo and olive of Tol's "muted": told apart by all kinds of sight.
AGENTS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#AA4499",
    "#E69F00",
    "#56B4E9",
    "#882255",
    "#5B5F66",
    "#999933",
    "#332288",
)
ENTITY_MARKERS = ("*", "D", "P", "X")
LINES: tuple[Any, ...] = ("-", (0, (4.5, 1.8)), (0, (1.2, 1.4)), (0, (6, 1.5, 1.2, 1.5)))
"""Of the rounds of communication: solid, dashed, dotted, dashes and dots; then again."""
LONGEST = 100
"""Letters of a line of text that comes with an episode."""
HALO = [withStroke(linewidth=2.2, foreground="white")]

HEADING: dict[str, Any] = {"fontsize": 10.5, "fontweight": "bold", "color": INK, "parse_math": False}
NOTE: dict[str, Any] = {"fontsize": 8.5, "color": GREY, "parse_math": False}
"""Names of users are in these texts; a ``$`` in one is a letter."""


def shown(text: str) -> str:
    """Text of whoever made the episode as fonts draw it in a moment: one short line of what can be printed."""
    line = " ".join(text[: 2 * LONGEST].split())[:LONGEST]
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def bare(ax: Axes, lines: Literal["x", "y"]) -> None:
    """Of a chart: no box and no ticks, pale lines across ``lines``."""
    ax.grid(axis=lines, color=PALE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(PALE)
    ax.tick_params(colors=GREY, labelsize=8.5, length=0)


def colour(agent: int) -> str:
    return AGENTS[agent % len(AGENTS)]


def line_of(number: int) -> Any:
    """The line of a round."""
    return LINES[number % len(LINES)]


def mixed(colours: str, share: float, other: str = GROUND) -> tuple[float, float, float]:
    """``share`` of a colour, the rest of another."""
    red, green, blue = share * np.array(to_rgb(colours)) + (1 - share) * np.array(to_rgb(other))
    return float(red), float(green), float(blue)


def lanes(count: int, reach: float = 0.22) -> Places:
    """An offset within a cell for each agent, no two in the same column or row: paths side by side stay apart."""
    if count == 1:
        return np.zeros((1, 2))
    level: Places = (2 * np.arange(count) / (count - 1) - 1) * reach
    options = [step for step in range(1, count) if math.gcd(step, count) == 1]
    layouts: list[Places] = [np.stack([level, level[np.arange(count) * step % count]], 1) for step in options]
    best: Places = max(layouts, key=_nearest)
    return best


def _nearest(points: Places) -> float:
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(len(points))
    return round(float(gaps.min()), 9)


def seats(cells: Places, approach: Places, taken: Places, rest: Places, diameter: float, clearance: float) -> Places:
    """Where to draw agents so that those in one cell do not hide each other: alone at rest, else in a ring.

    Args:
        cells: ``[N, 2]`` where the agents are.
        approach: ``[N, 2]`` the direction each came from, or zeros; it sits on that side.
        taken: ``[M, 2]`` cells whose middle is in use.
        rest: ``[N, 2]`` offset from the middle of the cell for an agent that is alone in it.
        diameter: of an agent's disc, in cells.
        clearance: of a ring from a middle that is in use, in cells.
    """
    place: Places = cells + rest
    for cell in np.unique(cells, axis=0):
        members = np.flatnonzero((cells == cell).all(1))
        busy = bool(len(taken)) and bool((taken == cell).all(1).any())
        if len(members) == 1 and not busy:
            continue
        radius = clearance if busy else 0.0
        if len(members) > 1:
            radius = max(radius, 0.56 * diameter / math.sin(math.pi / len(members)))
        place[members] = cell + radius * _ring(approach[members])
    return place


def _ring(approach: Places) -> Places:
    """Evenly spread unit vectors, one for each row, as near to the directions of approach as a turn makes them."""
    count = len(approach)
    slots = 2 * np.pi * np.arange(count) / count
    wish = np.where(np.abs(approach).sum(1) > 0, np.arctan2(approach[:, 1], approach[:, 0]), slots)
    order = np.argsort(wish)
    angle = slots + np.angle(np.exp(1j * (wish[order] - slots)).sum())
    unit = np.empty((count, 2))
    unit[order] = np.stack([np.cos(angle), np.sin(angle)], 1)
    return unit


def cells_at(episode: Episode, state: int) -> Places:
    cells: Places = episode.agents[state][:, ::-1].astype(np.float64)
    return cells


def approach_at(episode: Episode, state: int) -> Places:
    """The direction from which each agent entered its cell, ``[N, 2]``; zeros where it never moved."""
    path = episode.agents[: state + 1, :, ::-1].astype(np.float64)
    found = np.zeros((episode.num_agents, 2))
    for agent in range(episode.num_agents):
        moved = np.flatnonzero((path[:, agent] != path[-1, agent]).any(1))
        if len(moved):
            found[agent] = path[moved[-1], agent] - path[-1, agent]
    return found


def entities_at(episode: Episode, state: int) -> Places:
    places = [array[state][:, ::-1] for array in episode.entities.values()]
    return np.concatenate(places).astype(np.float64) if places else np.zeros((0, 2))


def seats_at(episode: Episode, state: int, disc: float, entity: float, rest: Places | float = 0.0) -> Places:
    """``seats`` in one state; ``disc`` and ``entity`` are the sizes of what is drawn, in cells."""
    cells = cells_at(episode, state)
    clearance = max(0.3, 0.52 * (disc + 0.8 * entity))
    offset = np.zeros_like(cells) + rest
    return seats(cells, approach_at(episode, state), entities_at(episode, state), offset, disc, clearance)


def disc(
    ax: Axes,
    place: Places | tuple[float, float],
    agent: int,
    points: float,
    *,
    hollow: bool = False,
    ring: str = "white",
    z: float,
) -> None:
    """An agent: a numbered disc of a diameter in points."""
    x, y = float(place[0]), float(place[1])
    face, text = ("white", colour(agent)) if hollow else (colour(agent), "white")
    edge = colour(agent) if hollow else ring
    width = max(0.8, points / 14)
    ax.scatter(x, y, s=points**2, facecolor=face, edgecolor=edge, linewidth=width, zorder=z, clip_on=False)
    if points >= 7:
        ax.text(
            x,
            y,
            str(agent),
            ha="center",
            va="center_baseline",
            fontsize=0.58 * points,
            fontweight="bold",
            color=text,
            zorder=z + 0.01,
        )


def draw_marks(ax: Axes, episode: Episode, state: int, place: Places, points: float, cell: float) -> None:
    """Numbers at agents, as what one sees or names, in boxes above their discs."""
    for height, marks in enumerate(episode.marks.values()):
        for agent in np.flatnonzero(marks[state] >= 0).tolist():
            x, y = place[agent]
            ax.text(
                x,
                y - (0.5 * points + 0.75 * points * (height + 0.75)) / cell,
                str(marks[state, agent]),
                ha="center",
                va="center_baseline",
                fontsize=0.58 * points,
                fontweight="bold",
                color=colour(agent),
                gid=f"mark-{agent}",
                zorder=6.5,
                bbox={"boxstyle": "round,pad=0.28", "facecolor": "white", "edgecolor": colour(agent), "linewidth": 0.9},
            )


def draw_entities(ax: Axes, episode: Episode, state: int, points: float) -> None:
    """Prey, sources and the like: dark while they are there, golden when done."""
    for kind, (name, places) in enumerate(episode.entities.items()):
        for place, active in zip(places[state], episode.active[name][state], strict=True):
            ax.scatter(
                place[1],
                place[0],
                marker=ENTITY_MARKERS[kind % len(ENTITY_MARKERS)],
                s=points**2,
                facecolor=INK if active else GOLD,
                edgecolor="white" if active else INK,
                linewidth=0.5 if active else 0.9,
                zorder=3.5,
                clip_on=False,
            )


def extent(episode: Episode) -> tuple[int, int]:
    """Height and width of what is drawn: cells, or points where the environment drew itself."""
    if episode.pictures is None:
        return episode.size
    height, width = episode.pictures.shape[1:3]
    return int(height), int(width)


def draw_picture(ax: Axes, episode: Episode, state: int) -> None:
    """As the environment drew itself."""
    assert episode.pictures is not None  # only called where it did
    ax.imshow(episode.pictures[state], interpolation="antialiased")
    ax.set(xticks=[], yticks=[])
    ax.set_anchor("N")
    ax.spines[:].set(color=PALE, linewidth=0.8)


def draw_ground(ax: Axes, episode: Episode, state: int) -> None:
    """The grid, over the field where there is one."""
    rows, columns = episode.size
    ax.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5), xticks=[], yticks=[], facecolor=GROUND, aspect="equal")
    if episode.field is not None:
        shade = np.sqrt(np.clip(episode.field, 0, None))
        ax.imshow(
            shade[state],
            cmap=FIELD,
            vmin=0,
            vmax=float(shade.max()) or 1.0,
            interpolation="bilinear",
            extent=(-0.5, columns - 0.5, rows - 0.5, -0.5),
            zorder=0,
        )
    line: dict[str, Any] = {"color": "white", "linewidth": 1.1 if max(rows, columns) <= 12 else 0.6, "zorder": 0.5}
    for x in np.arange(0.5, columns - 1):
        ax.axvline(x, **line)
    for y in np.arange(0.5, rows - 1):
        ax.axhline(y, **line)
    ax.spines[:].set_visible(False)
