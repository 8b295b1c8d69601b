"""Small panels: single moments, with the messages that flow then."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch

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


def draw_frame(ax: Axes, episode: Episode, step: int, cell: float, largest: float = 14) -> None:
    """State ``step`` and the messages sent in it.

    Args:
        cell: the side of a grid cell in points.
        largest: size of an agent's disc in points at which it grows no more with the cell.
    """
    style.draw_ground(ax, episode, step)
    points = float(np.clip(0.42 * cell, 7, largest))
    entity = float(np.clip(0.5 * cell, 8.5, 1.1 * largest))
    style.draw_entities(ax, episode, step, entity)
    place = style.seats_at(episode, step, points / cell, entity / cell)
    _draw_messages(ax, episode, step, place, points, cell)
    for agent in range(episode.num_agents):
        if episode.alive[step, agent]:
            ring = style.INK if episode.finished[step, agent] else "white"
            style.disc(ax, place[agent], agent, points, ring=ring, z=5)
    ax.set_title(f"step {step}", loc="left", pad=3.5, fontsize=8.5, color=style.INK)


def _draw_messages(ax: Axes, episode: Episode, step: int, place: style.Places, points: float, cell: float) -> None:
    weight_NN = np.abs(episode.attention_at(step))
    # Attention is a share of 1; weights of edges have no unit, and the largest is drawn half as wide.
    unit = 1.0 if episode.attention else 0.5 / max(float(np.abs(episode.weight).max(initial=0.0)), 1e-12)
    cells = style.cells_at(episode, step)
    same = (cells[:, None] == cells[None]).all(-1)
    for sender, receiver in np.argwhere(weight_NN > 0):
        distance = float(np.linalg.norm(place[sender] - place[receiver])) * cell
        if sender == receiver or same[sender, receiver] or distance < 1.45 * points:
            continue  # no room for an arrow between neighbours in one cell
        share = float(weight_NN[sender, receiver]) * unit
        ax.add_patch(
            FancyArrowPatch(
                tuple(place[sender]),
                tuple(place[receiver]),
                connectionstyle="arc3,rad=0.2",
                arrowstyle="-|>",
                mutation_scale=3 + 6 * share,
                linewidth=0.35 + 2.6 * share,
                color=style.colour(sender),
                alpha=0.1 + 0.85 * min(1.0, share) ** 0.8,
                shrinkA=points / 2 + 0.5,
                shrinkB=points / 2 + 1,
                zorder=4,
                gid=f"message-{sender}-{receiver}",
                clip_on=False,
            )
        )
