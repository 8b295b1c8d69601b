"""The whole page: places in inches, headings, legend."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import ColorType

from gnncomm.recording.drawing import plain, style
from gnncomm.recording.drawing.frames import draw_frame, key_steps
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


def draw_page(episode: Episode, path: Path | None, dpi: int) -> Figure:
    with plain():
        figure = _page(episode)
        if path is not None:
            figure.savefig(path, dpi=dpi)
    return figure


def _page(episode: Episode) -> Figure:
    rows, columns = episode.size
    steps = key_steps(episode, 6 if max(rows, columns) <= 12 else 4)
    lines, across = {1: (1, 1), 2: (2, 1), 3: (2, 2), 4: (2, 2), 5: (3, 2), 6: (3, 2)}[len(steps)]
    scale = SIDE / max(rows, columns)
    map_width, map_height = max(columns * scale, 2.4), max(rows * scale, 1.9)
    frame_height = (map_height - (lines - 1) * 0.14) / lines - FRAME_TITLE
    frame_width = frame_height * columns / rows if columns <= rows else min(3.0, frame_height * columns / rows)
    strip = 0.34 * episode.num_agents
    strip_top = HEAD + map_height + LEGEND + 0.62
    frames_left = MARGIN + map_width + GAP
    width = max(frames_left + across * (frame_width + 0.18) - 0.18 + MARGIN, 9.0)
    sheet = Sheet(width, strip_top + strip + 0.55)
    _headings(sheet, episode, frames_left, strip_top)
    draw_paths(sheet.axes(MARGIN, HEAD, map_width, map_height), episode, 72 * scale)
    _legend(sheet, episode, HEAD + map_height)
    cell = 72 * min(frame_width / columns, frame_height / rows)
    for number, step in enumerate(steps):
        line, place = divmod(number, across)
        x = frames_left + place * (frame_width + 0.18)
        y = HEAD + FRAME_TITLE + line * (frame_height + FRAME_TITLE + 0.14)
        draw_frame(sheet.axes(x, y, frame_width, frame_height), episode, step, cell)
    label = 1.0
    draw_timeline(sheet.axes(MARGIN + label, strip_top, width - 2 * MARGIN - label, strip), episode)
    _row_names(sheet, episode, strip_top, strip)
    return sheet.figure


def _headings(sheet: Sheet, episode: Episode, frames_left: float, strip_top: float) -> None:
    outcome = "solved" if episode.success else "not solved"
    rows, columns = episode.size
    steps = f"{episode.length} step" + ("s" if episode.length > 1 else "")
    facts = [f"{outcome} in {steps}" if episode.success else f"{outcome} within {steps}"]
    facts += [
        f"return {episode.returns:+.2f}".replace("-", "\u2212"),
        f"{episode.num_agents} agents",
        f"{rows} × {columns} cells",
        f"seed {episode.seed}",
    ]
    sheet.text(MARGIN, 0.28, episode.env, fontsize=17, fontweight="bold", color=style.INK)
    sheet.text(MARGIN, 0.6, "   ·   ".join(facts), fontsize=10, color=style.GREY)
    sheet.text(MARGIN, 0.92, "Paths", **style.HEADING)
    sheet.text(frames_left, 0.92, "Messages", **style.HEADING)
    alike = bool((episode.weight == 1).all())
    note = "all messages count alike" if alike else "width: weight of the edge"
    if episode.attention:
        note = "width: attention of the receiver"
    if not len(episode.messages):
        note = "none were sent"
    sheet.text(frames_left + 0.92, 0.94, note, **style.NOTE)
    heading = "Attention received" if episode.attention else "Messages received by others"
    sheet.text(MARGIN, strip_top - 0.42, heading, **style.HEADING)
    if episode.attention and episode.num_agents > 1:
        sheet.text(MARGIN + 1.62, strip_top - 0.4, "mean over the others; dotted: equal shares", **style.NOTE)


def _legend(sheet: Sheet, episode: Episode, y: float) -> None:
    """Handles in one line under the map."""

    def handle(marker: str, face: ColorType, edge: ColorType, size: float, text: str) -> Line2D:
        return Line2D(
            [], [], linestyle="", marker=marker, markerfacecolor=face, markeredgecolor=edge, markersize=size, label=text
        )

    handles = [handle("o", "white", style.GREY, 8, "start"), handle("o", style.GREY, "white", 9, "end")]
    if episode.finished[-1].any():
        handles.append(handle("o", style.GREY, style.INK, 9, "done"))
    for kind, (name, active) in enumerate(episode.active.items()):
        marker = style.ENTITY_MARKERS[kind % len(style.ENTITY_MARKERS)]
        if active[-1].any():
            handles.append(handle(marker, style.INK, "white", 11, name))
        if not active[-1].all():
            handles.append(handle(marker, style.GOLD, style.INK, 11, f"{name} ✓"))
    handles.append(handle("$3$", style.GREY, style.GREY, 5, "step"))
    if episode.field is not None:
        handles.append(handle("s", style.FIELD(0.9), style.FIELD(0.9), 9, "field at step 0"))
    sheet.figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=((MARGIN - 0.1) / sheet.width, 1 - (y + 0.05) / sheet.height),
        ncols=len(handles),
        frameon=False,
        fontsize=8.5,
        labelcolor=style.GREY,
        handletextpad=0.3,
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
