"""``gnncomm list``: what there is, one line each."""

from __future__ import annotations

import inspect
import re

from rich.table import Table

from gnncomm import channel, codec, environments, schedule, topology
from gnncomm.cli.console import make_console
from gnncomm.cli.parse import parse
from gnncomm.layers import LAYERS, NONE
from gnncomm.methods import METHODS


def run(words: list[str]) -> int:
    parse(_nothing, words, "gnncomm list")
    console = make_console()
    layers = {name: line for name, (_, line) in LAYERS.items()} | {NONE: "nothing is sent"}
    console.print(
        _table(
            "environments (gnncomm train ENV)", {name: plain(text) for name, text in environments.summaries().items()}
        )
    )
    methods = {name: method.line for name, method in METHODS.items()}
    console.print(_table("methods (--comm): ready combinations, all trained by one PPO here", methods))
    console.print(_table("layers (--comm): to combine by hand", layers))
    console.print(
        _table(
            "topologies (--topology); combine: A | B, A & B, ~A, A.every(2), [A; B]:period=5",
            _summaries(topology.listing()),
        )
    )
    console.print(_table("schedulers (--scheduler)", _summaries(schedule.listing())))
    console.print(_table("codecs (--codec); int4 is quantise:bits=4", _summaries(codec.listing())))
    console.print(_table("channels (--channel); join with +", _summaries(channel.listing())))
    return 0


def _nothing() -> None:
    """What there is to choose from."""


def _summaries(classes: dict[str, type]) -> dict[str, str]:
    return {name: first_line(value) for name, value in classes.items()}


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
