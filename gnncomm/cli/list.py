"""``gnncomm list``: what there is, one line each."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Literal

import tyro
from rich.table import Table

from gnncomm import channel, codec, environments, schedule, topology
from gnncomm.cli.console import make_console
from gnncomm.cli.parse import parse
from gnncomm.layers import LAYERS, NONE
from gnncomm.methods import METHODS

KINDS = ("environments", "methods", "layers", "topologies", "schedulers", "codecs", "channels")


@dataclass(frozen=True)
class ListArgs:
    """What there is to choose from."""

    kinds: tyro.conf.Positional[tuple[Literal[KINDS], ...]] = ()  # type: ignore[valid-type]  # a Literal of a tuple
    """Which lists; none shows all."""


def run(words: list[str]) -> int:
    args = parse(ListArgs, words, "gnncomm list")
    console = make_console()
    for kind in args.kinds or KINDS:
        title, lines = _list_of(kind)
        console.print(_table(title, lines))
    return 0


def _list_of(kind: str) -> tuple[str, dict[str, str]]:
    """The heading of a list, and its names with what they are."""
    if kind == "environments":
        summaries = environments.summaries()
        return "environments (gnncomm train ENV)", {name: plain(text) for name, text in summaries.items()}
    if kind == "methods":
        title = "methods (--comm): ready combinations, all trained by one PPO here, without losses of their own"
        return title, {
            name: f"{method.line} (in the paper: {method.trained})" if method.trained else method.line
            for name, method in METHODS.items()
        }
    if kind == "layers":
        layers = {name: line for name, (_, line) in LAYERS.items()}
        return "layers (--comm): to combine by hand", layers | {NONE: "nothing is sent"}
    combine = "topologies (--topology); combine: A | B, A & B, ~A, A.every(2), [A; B]:period=5"
    title, room = {
        "topologies": (combine, topology),
        "schedulers": ("schedulers (--scheduler)", schedule),
        "codecs": ("codecs (--codec); int4 is quantise:bits=4", codec),
        "channels": ("channels (--channel); join with +", channel),
    }[kind]
    return title, {name: first_line(value) for name, value in room.listing().items()}


def first_line(value: object) -> str:
    """The first paragraph of a docstring as plain text."""
    return plain(" ".join((inspect.getdoc(value) or "").split("\n\n")[0].split()))


def plain(text: str) -> str:
    """``text`` without the marks of reStructuredText."""
    text = re.sub(r"`([^`<]+) <[^>]+>`_", r"\1", text)
    return re.sub(r":math:`([^`]*)`", r"\1", text).replace("``", "")


def _table(title: str, lines: dict[str, str]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, line in lines.items():
        table.add_row(name, line)
    return table
