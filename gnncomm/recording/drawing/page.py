"""The whole page: places in inches, headings, legend."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import ColorType

from gnncomm.recording.drawing import style
from gnncomm.recording.drawing.frames import draw_frame, lost_at, moments, weighed
from gnncomm.recording.drawing.paths import draw_paths
from gnncomm.recording.drawing.timeline import draw_timeline
from gnncomm.recording.episode import Episode

SIDE = 6.2
MARGIN, GAP = 0.45, 0.5
HEAD, LEGEND, FRAME_TITLE = 1.12, 0.42, 0.24


class Sheet:
    """A figure on which axes are placed in inches from the upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width, height), facecolor="white")
        FigureCanvasAgg(self.figure)
        self.width, self.height = width, height

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        bottom = self.height - y - height
        return self.figure.add_axes((x / self.width, bottom / self.height, width / self.width, height / self.height))

    def text(self, x: float, y: float, text: str, **kwargs: object) -> None:
        self.figure.text(x / self.width, 1 - y / self.height, text, va="top", **kwargs)  # type: ignore[arg-type]


def draw_page(episode: Episode) -> Figure:
    rows, columns = style.extent(episode)
    shown = moments(episode, 6 if max(episode.size) <= 12 or episode.pictures is not None else 4)
    lines, across = {1: (1, 1), 2: (2, 1), 3: (2, 2), 4: (2, 2), 5: (3, 2), 6: (3, 2)}[len(shown)]
    if columns >= 3 * rows:
        lines, across = len(shown), 1
    scale = SIDE / max(rows, columns)
    map_width, map_height = (
        max(columns * scale, 2.4),
        max(rows * scale, 1.9, 0.95 * lines if columns >= 3 * rows else 0),
    )
    frame_height = (map_height - (lines - 1) * 0.14) / lines - FRAME_TITLE
    frame_width = frame_height * columns / rows if columns <= rows else min(3.0, frame_height * columns / rows)
    strip = 0.34 * episode.num_agents
    strip_top = HEAD + map_height + LEGEND + 0.62
    frames_left = MARGIN + map_width + GAP
    width = max(frames_left + across * (frame_width + 0.18) - 0.18 + MARGIN, frames_left + 3.6, 9.0)
    sheet = Sheet(width, strip_top + strip + 0.55)
    draw_title(sheet, episode)
    _headings(sheet, episode, frames_left, strip_top)
    whole = sheet.axes(MARGIN, HEAD, map_width, map_height)
    if episode.pictures is None:
        draw_paths(whole, episode, 72 * scale)
        _legend(sheet, _handles(episode), MARGIN, HEAD + map_height)
        _legend(sheet, _message_handles(episode, shown), frames_left, HEAD + map_height)
    else:
        style.draw_picture(whole, episode, episode.length)
    cell = 72 * min(frame_width / columns, frame_height / rows)
    for number, (step, only) in enumerate(shown):
        line, place = divmod(number, across)
        x = frames_left + place * (frame_width + 0.18)
        y = HEAD + FRAME_TITLE + line * (frame_height + FRAME_TITLE + 0.14)
        draw_frame(sheet.axes(x, y, frame_width, frame_height), episode, step, cell, only=only)
    label = 1.0
    draw_timeline(sheet.axes(MARGIN + label, strip_top, width - 2 * MARGIN - label, strip), episode)
    _row_names(sheet, episode, strip_top, strip)
    return sheet.figure


def draw_title(sheet: Sheet, episode: Episode) -> None:
    """What was played, and how it ended."""
    outcome = "solved" if episode.success else "not solved"
    rows, columns = episode.size
    steps = f"{episode.length} step" + ("s" if episode.length > 1 else "")
    facts = [f"{outcome} in {steps}" if episode.success else f"{outcome} within {steps}"]
    facts += [style.shown(episode.title)] if episode.title else []
    facts += [
        f"return {episode.returns:+.2f}".replace("-", "\u2212"),
        f"{episode.num_agents} agents",
        *([f"{rows} × {columns} cells"] if episode.pictures is None else []),
        f"seed {episode.seed}",
    ]
    sheet.text(
        MARGIN, 0.28, style.shown(episode.env), fontsize=17, fontweight="bold", color=style.INK, parse_math=False
    )
    sheet.text(MARGIN, 0.6, "   ·   ".join(facts), fontsize=10, color=style.GREY, parse_math=False)


def _headings(sheet: Sheet, episode: Episode, frames_left: float, strip_top: float) -> None:
    moved = bool((episode.agents != episode.agents[0]).any())
    if episode.pictures is None:
        sheet.text(MARGIN, 0.92, "Paths" if moved else "At the end", **style.HEADING)
        sheet.text(frames_left, 0.92, "Messages", **style.HEADING)
        sheet.text(frames_left + 0.92, 0.94, _note(episode), **style.NOTE)
    else:
        sheet.text(MARGIN, 0.92, "At the end", **style.HEADING)
        sheet.text(MARGIN + 1.05, 0.94, "as the environment draws itself", **style.NOTE)
        sheet.text(frames_left, 0.92, "On the way", **style.HEADING)
    heading = "Attention received" if episode.attention else "Messages received by others"
    sheet.text(MARGIN, strip_top - 0.42, heading, **style.HEADING)
    if episode.attention and episode.num_agents > 1:
        sheet.text(MARGIN + 1.75, strip_top - 0.4, "mean over the others; dotted: equal shares", **style.NOTE)
    elif not weighed(episode):
        sheet.text(MARGIN + 2.5, strip_top - 0.4, "share of the others that read what an agent said", **style.NOTE)


def _note(episode: Episode) -> str:
    """What the width of an arrow says."""
    if not len(episode.messages):
        return "left out, they were too many" if "messages" in episode.left_out else "none arrived"
    if episode.attention:
        return "width: attention of the receiver"
    return f"{'width: weight of the edge' if weighed(episode) else 'all equal'}: this layer has no attention"


def _handle(marker: str, face: ColorType, edge: ColorType, size: float, text: str) -> Line2D:
    return Line2D(
        [], [], linestyle="", marker=marker, markerfacecolor=face, markeredgecolor=edge, markersize=size, label=text
    )


def _handles(episode: Episode) -> list[Line2D]:
    """What is on the map."""
    handles = [_handle("o", style.GREY, "white", 9, "agent")]
    if (episode.agents != episode.agents[0]).any():
        handles = [_handle("o", "white", style.GREY, 8, "start"), _handle("o", style.GREY, "white", 9, "end")]
        handles.append(_handle("$3$", style.GREY, style.GREY, 5, "step"))
    if episode.finished[-1].any():
        handles.append(_handle("o", style.GREY, style.INK, 9, "done"))
    for kind, (name, active) in enumerate(episode.active.items()):
        marker = style.ENTITY_MARKERS[kind % len(style.ENTITY_MARKERS)]
        if active[-1].any():
            handles.append(_handle(marker, style.INK, "white", 11, name))
        if not active[-1].all():
            handles.append(_handle(marker, style.GOLD, style.INK, 11, f"{name} ✓"))
    handles += [
        _handle("s", "white", style.GREY, 9, name) for name, marks in episode.marks.items() if (marks >= 0).any()
    ]
    if episode.field is not None:
        handles.append(_handle("s", style.FIELD(0.9), style.FIELD(0.9), 9, "field at step 0"))
    return handles


def _message_handles(episode: Episode, shown: list[tuple[int, int | None]]) -> list[Line2D]:
    """How rounds are told apart, and what got lost."""
    rounds = episode.num_rounds if shown[0][1] is None else 1
    handles = [
        Line2D([], [], color=style.GREY, linewidth=1.3, linestyle=style.line_of(number), label=f"round {number + 1}")
        for number in range(rounds if 1 < rounds <= len(style.LINES) else 0)
    ]
    if any(len(lost_at(episode, step)) for step, _ in shown):
        handles.append(
            Line2D([], [], color=style.GREY, linewidth=0.8, marker="x", markeredgecolor=style.INK, label="lost")
        )
    return handles


def _legend(sheet: Sheet, handles: list[Line2D], x: float, y: float) -> None:
    """Handles in one line under a picture."""
    sheet.figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=((x - 0.1) / sheet.width, 1 - (y + 0.05) / sheet.height),
        ncols=max(len(handles), 1),
        frameon=False,
        fontsize=8.5,
        labelcolor=style.GREY,
        handletextpad=0.4,
        columnspacing=1.2,
        borderpad=0.2,
    )


def _row_names(sheet: Sheet, episode: Episode, y: float, height: float) -> None:
    ax = sheet.axes(MARGIN, y, 1.0, height)
    ax.set(xlim=(0, 1), ylim=(episode.num_agents + 0.02, -0.12))
    ax.axis("off")
    for agent in range(episode.num_agents):
        style.disc(ax, (0.12, agent + 0.55), agent, 12, z=3)
        ax.text(0.28, agent + 0.55, f"agent {agent}", fontsize=8.5, color=style.INK, va="center_baseline")
