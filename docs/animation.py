"""One episode twice, as one animated SVG: the team, and the same team muted.

    python docs/animation.py runs/first docs/img/talk.svg --seed 34

Every frame is drawn from the two recorded episodes; the picture plays in any browser, without a script in it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

from gnncomm import Episode, load, record

CELL, TOP, GAP, SECONDS, REST = 62, 66, 56, 0.8, 2.4
"""Pixels of a cell, above the grid, and around it; seconds of a step, and of the pause at the end."""
SAY, GO = 0.5, 0.92
"""Shares of a step: until here agents talk, until there they go."""
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLE = """
.card{fill:#fbfaf7;stroke:#dedad0}.cell{fill:#f1eee6;stroke:#fbfaf7;stroke-width:3}
text{font:600 17px system-ui,sans-serif;fill:#26282b}.small{font-weight:400;font-size:14px;fill:#6b6d70}
.number{font-size:13px;fill:#fff;text-anchor:middle}.prey{fill:none;stroke:#b8860b;stroke-width:3}.heart{fill:#d4a017}
.said{fill:none;stroke-linecap:round;opacity:0}.way{stroke-width:3;stroke-linecap:round;opacity:0}.once{opacity:0}
@media(prefers-color-scheme:dark){.card{fill:#1d1f22;stroke:#34373b}.cell{fill:#292c30;stroke:#1d1f22}
text{fill:#ececec}.small{fill:#a5a8ad}.number{fill:#fff}}
@media(prefers-reduced-motion:reduce){*{animation:none!important}.way{opacity:.5}.last{opacity:1}}
"""


class Panel:
    """The elements of one episode, and the key frames that they move by, all of the same ``length`` in seconds."""

    def __init__(self, name: str, episode: Episode, left: float, length: float) -> None:
        self.name, self.episode, self.left, self.length = name, episode, left, length
        self.frames: list[str] = []

    def share(self, step: float) -> str:
        return f"{100 * step * SECONDS / self.length:.2f}%"

    def at(self, step: int, agent: int) -> tuple[float, float]:
        """Where an agent stands: in the middle of its cell, and around it where others are there, too."""
        row, column = self.episode.agents[step, agent]
        shift = 13 * bool((self.episode.agents[step] == (row, column)).all(1).sum() > 1)
        turn = 2 * math.pi * agent / self.episode.num_agents - math.pi / 2
        x, y = self.left + (column + 0.5) * CELL, TOP + (row + 0.5) * CELL
        return round(x + shift * math.cos(turn), 1), round(y + shift * math.sin(turn), 1)

    def shown(self, step: float, until: float | None = None, strength: float = 1.0) -> str:
        """The name of key frames that show something from ``step`` on, to the end or ``until``."""
        name = f"{self.name}{len(self.frames)}"
        over = f"{self.share(until)},100%{{opacity:0}}" if until is not None else f"100%{{opacity:{strength}}}"
        since = f"{self.share(step)}{{opacity:0}}{self.share(step + 0.04)}"
        before = f",{self.share(until - 0.1)}" if until is not None else ""
        self.frames.append(f"@keyframes {name}{{0%,{since}{before}{{opacity:{strength}}}{over}}}")
        return f'style="animation:{name} {self.length}s infinite"'

    def grid(self) -> Iterator[str]:
        rows, columns = self.episode.size
        for cell in range(rows * columns):
            x, y = self.left + cell % columns * CELL, TOP + cell // columns * CELL
            yield f'<rect class="cell" x="{x}" y="{y}" width="{CELL}" height="{CELL}" rx="9"/>'
        for places in self.episode.entities.values():
            for row, column in places[0]:
                x, y = self.left + (column + 0.5) * CELL, TOP + (row + 0.5) * CELL
                yield f'<circle class="prey" cx="{x}" cy="{y}" r="26"/><circle class="heart" cx="{x}" cy="{y}" r="5"/>'

    def said(self) -> Iterator[str]:
        """What was heard: as wide as the attention it got, in the colour of its sender."""
        for (step, _, sender, receiver), weight in zip(self.episode.messages, self.episode.weight, strict=True):
            (x, y), (u, v) = self.at(step, sender), self.at(step, receiver)
            bend = f"{(x + u) / 2 + (v - y) * 0.16:.0f} {(y + v) / 2 - (u - x) * 0.16:.0f}"
            look = f'stroke="{COLORS[sender]}" stroke-width="{1 + 6 * float(weight):.1f}"'
            yield f'<path class="said" d="M{x} {y}Q{bend} {u} {v}" {look} {self.shown(step, step + SAY, 0.85)}/>'

    def ways(self) -> Iterator[str]:
        for step in range(self.episode.length):
            for agent in range(self.episode.num_agents):
                (x, y), (u, v) = self.at(step, agent), self.at(step + 1, agent)
                if (x, y) != (u, v):
                    ends = f'x1="{x}" y1="{y}" x2="{u}" y2="{v}" stroke="{COLORS[agent]}"'
                    yield f'<line class="way" {ends} {self.shown(step + GO, None, 0.3)}/>'

    def agents(self) -> Iterator[str]:
        for agent in range(self.episode.num_agents):
            name, stops = f"{self.name}go{agent}", []
            for step in range(self.episode.length + 1):
                place = "translate({}px,{}px)".format(*self.at(step, agent))
                times = [step, step + SAY] if step == 0 else [step - 1 + GO, step + SAY]
                stops.append(f"{self.share(times[0])},{self.share(times[1])}{{transform:{place}}}")
            stops[-1] = stops[-1].replace("{", ",100%{", 1)
            self.frames.append(f"@keyframes {name}{{{''.join(stops)}}}")
            place = "translate({}px,{}px)".format(*self.at(0, agent))
            yield f'<g style="transform:{place};animation:{name} {self.length}s infinite">'
            yield f'<circle r="12" fill="{COLORS[agent]}"/><text class="number" y="4.5">{agent + 1}</text></g>'

    def words(self, title: str) -> Iterator[str]:
        low = TOP + self.episode.size[0] * CELL + 28
        yield f'<text x="{self.left}" y="{TOP - 22}">{title}</text>'
        for step in range(self.episode.length):
            shown = self.shown(step, step + 1)
            yield f'<text class="small once" x="{self.left}" y="{low}" {shown}>step {step + 1}</text>'
        end = "all met" if self.episode.success else "not met"
        text = f"{end} after {self.episode.length} steps"
        yield f'<text class="once last" x="{self.left}" y="{low}" {self.shown(self.episode.length)}>{text}</text>'


def draw(panels: list[tuple[str, Episode]]) -> str:
    length = round(max(episode.length for _, episode in panels) * SECONDS + REST, 2)
    body, frames, left = [], [], GAP
    for number, (title, episode) in enumerate(panels):
        panel = Panel("ab"[number], episode, left, length)
        for part in (panel.grid(), panel.ways(), panel.said(), panel.agents(), panel.words(title)):
            body += part
        frames += panel.frames
        left += episode.size[1] * CELL + GAP
    height = TOP + panels[0][1].size[0] * CELL + 52
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left} {height}" role="img" aria-label="{panels[0][0]}">'
    )
    card = f'<rect class="card" x=".5" y=".5" width="{left - 1}" height="{height - 1}" rx="16"/>'
    return "\n".join([head, f"<style>{STYLE}{''.join(frames)}</style>", card, *body, "</svg>", ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    trained = load(given.run)
    teams = {"talking": trained, "the same team, muted": trained.with_wire(topology="empty")}
    episodes = [(title, record(team.policy, trained.make_env(1), seed=given.seed)) for title, team in teams.items()]
    given.file.write_text(draw(episodes), encoding="utf-8")
