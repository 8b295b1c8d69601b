"""Small panels: single moments, with the messages that flow then."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch
from numpy.typing import NDArray

from gnncomm.recording.drawing import style
from gnncomm.recording.episode import Episode


def key_steps(episode: Episode, count: int) -> list[int]:
    """At most ``count`` steps: the first and the last decision, those around events, and others in between."""
    last = episode.length - 1
    chosen = {0, last}
    events = sorted({state for state, _ in events_of(episode) if state <= last})
    room = max(count - len(chosen), 0)
    if len(events) > room:
        events = [events[round(k)] for k in np.linspace(0, len(events) - 1, room)]
    chosen |= set(events)
    while len(chosen) < min(count, episode.length):
        steps = sorted(chosen)
        gap = max(range(len(steps) - 1), key=lambda k: steps[k + 1] - steps[k])
        chosen.add((steps[gap] + steps[gap + 1]) // 2)
    return sorted(chosen)


def events_of(episode: Episode) -> list[tuple[int, str]]:
    """(state, what happened), in order of time: agents that finish or fall, entities that are done."""
    found = []
    for agent in range(episode.num_agents):
        if state := _first_turn(episode.finished[:, agent], True):
            found.append((state, f"agent {agent} arrives"))
        if state := _first_turn(episode.alive[:, agent], False):
            found.append((state, f"agent {agent} is out"))
    for name, active in episode.active.items():
        for number in range(active.shape[1]):
            if state := _first_turn(active[:, number], False):
                found.append((state, f"{name} ✓" if active.shape[1] == 1 else f"{name} {number} ✓"))
    return sorted(found)


def _first_turn(flags: np.ndarray, to: bool) -> int:
    """The first state after state 0 where the flag is ``to`` and was not before; 0 if there is none."""
    turned = (flags[1:] == to) & (flags[:-1] != to)
    return int(np.argmax(turned)) + 1 if turned.any() else 0


def moments(episode: Episode, count: int) -> list[tuple[int, int | None]]:
    """(step, round) of at most ``count`` panels: all rounds in one (None), or each apart where there is room."""
    steps, rounds = key_steps(episode, count), episode.num_rounds
    if rounds > 1 and episode.pictures is None and episode.length * rounds <= count:
        return [(step, number) for step in steps for number in range(rounds)]
    return [(step, None) for step in steps]


def draw_frame(
    ax: Axes, episode: Episode, step: int, cell: float, largest: float = 14, only: int | None = None
) -> None:
    """State ``step`` and the messages sent in it, of all rounds or ``only`` of one.

    Args:
        cell: the side of a grid cell in points.
        largest: size of an agent's disc in points at which it grows no more with the cell.
    """
    title = f"step {step}" if only is None else f"step {step}, round {only + 1}"
    ax.set_title(title, loc="left", pad=3.5, fontsize=8.5, color=style.INK)
    if episode.pictures is not None:
        style.draw_picture(ax, episode, step)
        return
    style.draw_ground(ax, episode, step)
    points = float(np.clip(0.42 * cell, 7, largest))
    entity = float(np.clip(0.5 * cell, 8.5, 1.1 * largest))
    style.draw_entities(ax, episode, step, entity)
    place = style.seats_at(episode, step, points / cell, entity / cell)
    _draw_messages(ax, episode, step, place, points, cell, only)
    for agent in range(episode.num_agents):
        if episode.alive[step, agent]:
            ring = style.INK if episode.finished[step, agent] else "white"
            style.disc(ax, place[agent], agent, points, ring=ring, z=5)
    style.draw_marks(ax, episode, step, place, points, cell)


def _draw_messages(
    ax: Axes, episode: Episode, step: int, place: style.Places, points: float, cell: float, only: int | None
) -> None:
    """An arrow for each edge and round that a message came over, a broken one where it got lost."""
    # Attention is a share of 1; weights of edges have no unit, and the largest is drawn half as wide.
    unit = 1.0 if episode.attention else 0.5 / max(float(np.abs(episode.weight).max(initial=0.0)), 1e-12)
    room = _room(episode, step, place, points, cell)
    for number, weight_NN in enumerate(np.abs(episode.weights_at(step))):
        if only not in (None, number):
            continue
        for sender, receiver in np.argwhere((weight_NN > 0) & room):
            share = float(weight_NN[sender, receiver]) * unit
            arrow = _arrow(place, sender, receiver, number if only is None else 0, points)
            arrow.set(
                arrowstyle="-|>" if weighed(episode) else "->",
                mutation_scale=3 + 6 * share,
                linewidth=0.35 + 2.6 * share if weighed(episode) else 0.9,
                color=style.colour(sender),
                alpha=0.1 + 0.85 * min(1.0, share) ** 0.8 if weighed(episode) else 0.7,
                gid=f"message-{sender}-{receiver}",
            )
            ax.add_patch(arrow)
    for _, number, sender, receiver in lost_at(episode, step):
        if room[sender, receiver] and only in (None, number):
            _draw_lost(ax, place, int(sender), int(receiver), int(number) if only is None else 0, points)


def weighed(episode: Episode) -> bool:
    """Whether messages count unlike, so that a width says something."""
    return episode.attention or bool((episode.weight != 1).any())


def lost_at(episode: Episode, step: int) -> NDArray[np.int64]:
    """Rows (step, round, sender, receiver)."""
    return np.zeros((0, 4), np.int64) if episode.lost is None else episode.lost[episode.lost[:, 0] == step]


def _room(episode: Episode, step: int, place: style.Places, points: float, cell: float) -> NDArray[np.bool_]:
    """``[N, N]``: between whom there is room for an arrow: not in one cell, nor with discs that nearly touch."""
    cells = style.cells_at(episode, step)
    same = (cells[:, None] == cells[None]).all(-1)
    far = np.linalg.norm(place[:, None] - place[None], axis=-1) * cell >= 1.45 * points
    room: NDArray[np.bool_] = far & ~same
    return room


def _arrow(place: style.Places, sender: int, receiver: int, number: int, points: float) -> FancyArrowPatch:
    """Rounds have lines and bends of their own."""
    return FancyArrowPatch(
        tuple(place[sender]),
        tuple(place[receiver]),
        connectionstyle=f"arc3,rad={0.2 + 0.16 * number}",
        linestyle=style.line_of(number),
        shrinkA=points / 2 + 0.5,
        shrinkB=points / 2 + 1,
        zorder=4,
        clip_on=False,
    )


def _draw_lost(ax: Axes, place: style.Places, sender: int, receiver: int, number: int, points: float) -> None:
    """A thin line with a cross in its middle."""
    arrow = _arrow(place, sender, receiver, number, points)
    arrow.set(arrowstyle="-", linewidth=0.8, color=style.GREY, alpha=0.8, gid=f"lost-{sender}-{receiver}")
    ax.add_patch(arrow)
    along = place[receiver] - place[sender]
    bend = np.array([along[1], -along[0]]) * (0.2 + 0.16 * number) / 2
    x, y = (place[sender] + place[receiver]) / 2 - bend
    ax.scatter(x, y, marker="x", s=16, color=style.INK, linewidth=1.0, zorder=4.2, clip_on=False)
