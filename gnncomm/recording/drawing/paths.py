"""The large panel: where everybody went."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from gnncomm.recording.drawing import style
from gnncomm.recording.drawing.style import Places
from gnncomm.recording.episode import Episode

LABELS = 40
"""Step numbers on a page, shared by the agents."""


def draw_paths(ax: Axes, episode: Episode, cell: float) -> None:
    """``cell`` is the side of a grid cell in points."""
    style.draw_ground(ax, episode, 0)
    ax.set_anchor("N")
    points, entity = float(np.clip(0.32 * cell, 9, 21)), float(np.clip(0.42 * cell, 9, 24))
    style.draw_entities(ax, episode, episode.length, entity)
    tracks = _tracks(episode, points / cell, entity / cell)
    for agent in range(episode.num_agents):
        _draw_path(ax, agent, tracks[:, agent], float(np.clip(0.045 * cell, 1.2, 2.8)))
    for agent in range(episode.num_agents):
        if (tracks[0, agent] != tracks[-1, agent]).any():
            style.disc(ax, tracks[0, agent], agent, 0.9 * points, hollow=True, z=5)
    for agent in range(episode.num_agents):
        ring = style.INK if episode.finished[-1, agent] else "white"
        style.disc(ax, tracks[-1, agent], agent, points, ring=ring, z=6)
    style.draw_marks(ax, episode, episode.length, tracks[-1], points, cell)
    _draw_step_numbers(ax, episode, tracks, cell, points)


def _tracks(episode: Episode, disc: float, entity: float) -> Places:
    """``[T + 1, N, 2]``: start and end on their seats, in between in lanes that shift where a path turns back."""
    count, steps = episode.num_agents, episode.length
    tracks: Places = episode.agents[..., ::-1].astype(np.float64)
    moves = (tracks != tracks[0]).any((0, 2))
    lane = np.where(moves[:, None], style.lanes(count), 0.0) + _reversals(tracks)[..., None] * min(0.09, 0.3 / count)
    tracks = tracks + lane
    first = style.seats_at(episode, 0, disc, entity, lane[0])
    last = style.seats_at(episode, steps, disc, entity, lane[-1])
    for agent in range(count):
        leave = _run(episode.agents[:, agent])
        stay = _run(episode.agents[::-1, agent])
        tracks[:leave, agent] = first[agent]
        tracks[steps + 1 - stay :, agent] = last[agent]
    return tracks


def _reversals(cells: Places) -> Places:
    """``[T + 1, N]``: 0, 1 or -1, another one after each return along the way an agent came."""
    shift = np.zeros(cells.shape[:2])
    for agent in range(cells.shape[1]):
        before, turns = np.zeros(2), 0
        for state in range(1, len(cells)):
            move = cells[state, agent] - cells[state - 1, agent]
            if move.any():
                turns += bool((move == -before).all())
                before = move
            shift[state, agent] = (0.0, 1.0, -1.0)[turns % 3]
    return shift


def _run(places: NDArray[np.float32]) -> int:
    """How many states from the first on are in the same place."""
    still = (places == places[0]).all(1)
    return len(still) if still.all() else int(np.argmin(still))


def _draw_path(ax: Axes, agent: int, track: Places, width: float) -> None:
    """A line that grows wider and stronger with time, on a white casing."""
    points, time = _rounded(track)
    later = (time[:-1] + time[1:]) / 2
    colours = [style.mixed(style.colour(agent), 0.4 + 0.6 * share) for share in later]
    ax.add_line(
        Line2D(
            points[:, 0], points[:, 1], color="white", linewidth=1.5 * width + 1.6, zorder=2 + 0.01 * agent, alpha=0.8
        )
    )
    ax.add_collection(
        LineCollection(
            [np.stack(pair) for pair in pairwise(points)],
            colors=colours,
            linewidths=width * (0.7 + 0.8 * later),
            capstyle="round",
            zorder=2.005 + 0.01 * agent,
            gid=f"path-{agent}",
            snap=False,
        ),
        autolim=False,
    )


def _rounded(track: Places, pieces: int = 16) -> tuple[Places, Places]:
    """Points along the track with its corners rounded off, and their times from 0 to 1."""
    moved = np.append(True, (track[1:] != track[:-1]).any(1))
    vertex, time = track[moved], np.flatnonzero(moved) / max(len(track) - 1, 1)
    points, times = [vertex[:1]], [time[:1]]
    share = np.linspace(0, 1, pieces)[:, None]
    for k in range(1, len(vertex) - 1):
        before, here, after = vertex[k - 1 : k + 2]
        start, end = here + 0.3 * (before - here), here + 0.3 * (after - here)
        points.append((1 - share) ** 2 * start + 2 * share * (1 - share) * here + share**2 * end)
        times.append(
            np.linspace(time[k] - 0.3 * (time[k] - time[k - 1]), time[k] + 0.3 * (time[k + 1] - time[k]), pieces)
        )
    points.append(vertex[-1:])
    times.append(time[-1:])
    return _dense(np.concatenate(points), np.concatenate(times))


def _dense(points: Places, times: Places, longest: float = 0.12) -> tuple[Places, Places]:
    """Straight parts in short pieces, so that the colour flows."""
    if len(points) < 2:
        return points, times
    at = np.append(0.0, np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum())
    fine = np.union1d(at, np.arange(0, at[-1], longest))
    return np.stack([np.interp(fine, at, points[:, axis]) for axis in (0, 1)], 1), np.interp(fine, at, times)


def _draw_step_numbers(ax: Axes, episode: Episode, tracks: Places, cell: float, disc: float) -> None:
    """Step numbers beside the paths, as many as there is room for."""
    clear, gap = (disc / 2 + 5.5) / cell, 10 / cell
    discs = np.concatenate([tracks[0], tracks[-1], style.entities_at(episode, episode.length)])
    labels: list[Places] = []
    for agent in range(episode.num_agents):
        drawn = 0
        for step in _steps_by_worth(tracks[:, agent]):
            for side in _sides(tracks[:, agent], step):
                place = tracks[step, agent] + side * 7.5 / cell
                if (
                    drawn < max(LABELS // episode.num_agents, 2)
                    and np.linalg.norm(discs - place, axis=1).min() > clear
                    and min((float(np.linalg.norm(place - other)) for other in labels), default=gap) >= gap
                    and _inside(place, episode.size)
                ):
                    labels.append(place)
                    _number(ax, place, step, agent)
                    drawn += 1
                    break


def _steps_by_worth(track: Places) -> list[int]:
    """The steps in which the agent moved: multiples of a round number first, then turns, then the others."""
    moved = (np.flatnonzero((track[1:] != track[:-1]).any(1)) + 1).tolist()
    stride = 5 if len(moved) <= 40 else 10
    return sorted(moved, key=lambda step: (step % stride != 0, _outward(track, step) is None, step))


def _sides(track: Places, step: int) -> list[Places]:
    """Where a number may stand: outside of a turn, else on either side of the path."""
    outward = _outward(track, step)
    if outward is not None:
        return [0.6 * outward]
    along = track[step] - track[step - 1]
    side = np.array([-along[1], along[0]]) / np.linalg.norm(along)
    return [side, -side]


def _number(ax: Axes, place: Places, step: int, agent: int) -> None:
    ax.text(
        float(place[0]),
        float(place[1]),
        str(step),
        fontsize=6.8,
        color=style.colour(agent),
        ha="center",
        va="center",
        zorder=4,
        path_effects=style.HALO,
    )


def _outward(track: Places, step: int) -> Places | None:
    """Where the path turns, the unit vector to the outside of the corner."""
    if step + 1 >= len(track):
        return None
    into, out = track[step] - track[step - 1], track[step + 1] - track[step]
    bend = into / (np.linalg.norm(into) or 1.0) - out / (np.linalg.norm(out) or 1.0)
    size = np.linalg.norm(bend)
    turned: Places = bend / (size or 1.0)
    return turned if size > 0.7 and out.any() else None


def _inside(place: Places, size: tuple[int, int]) -> bool:
    return bool(-0.45 < place[0] < size[1] - 0.55 and -0.45 < place[1] < size[0] - 0.55)
