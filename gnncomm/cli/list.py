"""``gnncomm list [KIND ...] [NAME] [--json]``: what there is, one line each, and what can be said to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar

import tyro
from rich.table import Table

from gnncomm.cli.console import make_console
from gnncomm.cli.parse import parse, print_json
from gnncomm.registry import KINDS, Description, Parameter, describe, described, is_kind, kind_of_word

TITLES = {
    "env": "environments (gnncomm train ENV)",
    "recipe": "recipes: where a training on the environment of that name starts from",
    "method": "methods (--comm): ready combinations, trained as in their papers by default, or by --learner ppo",
    "layer": "layers (--comm): to combine by hand; rounds: A >> B; none sends nothing",
    "topology": "topologies (--topology); combine: A | B, A & B, ~A, A.every(2), [A; B]:period=5",
    "scheduler": "schedulers (--scheduler)",
    "codec": "codecs (--codec); int4 is quantise:bits=4",
    "channel": "channels (--channel); join with +",
    "encoder": "encoders",
    "memory": "memories (--memory)",
    "critic": "critics",
    "mixer": "mixers: the critics of learners of values",
    "learner": "learners",
    "loss": "losses of published methods (--losses); join with +",
    "logger": "loggers",
    "curriculum": "curricula (--curriculum SETTING CURRICULUM)",
}


@dataclass(frozen=True)
class ListArgs:
    """What there is to choose from."""

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "gnncomm list envs topologies",
        "gnncomm list layer attention",
        "gnncomm list channels --json",
    )

    what: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[KIND ...] [NAME]")] = ()
    """Kinds of things, as in: layers topologies; none shows all. Or a kind and a name, as in: layer attention."""
    json: bool = False
    """Print it as JSON."""


def run(words: list[str]) -> int:
    args = parse(ListArgs, words, "gnncomm list")
    if len(args.what) == 2 and not is_kind(args.what[1]):
        kind, name = kind_of_word(args.what[0]), args.what[1]
        known = {word: one for one in described(kind) for word in (*one.aliases, one.name)}
        one = known[name] if name in known else describe(kind, name)
        if args.json:
            return print_json(asdict(one))
        make_console().print(*_page(kind, one), sep="\n", soft_wrap=True)
        return 0
    kinds = list(dict.fromkeys(map(kind_of_word, args.what))) or list(KINDS)
    if args.json:
        return print_json({KINDS[kind].plural: [asdict(one) for one in described(kind)] for kind in kinds})
    console = make_console()
    for kind in kinds:
        console.print(_table(TITLES[kind], [_row(one) for one in described(kind)]))
    return 0


def _row(one: Description) -> tuple[str, str]:
    """The name, and in one line what it is, its parameters and who brings it."""
    if one.trouble:
        return one.name, f"cannot be used ({one.origin}): {one.trouble}"
    also = f"Also {', '.join(one.aliases)}." if one.aliases else ""
    parts = [
        one.line,
        also,
        ", ".join(map(_said, one.parameters)),
        f"(from {one.origin})" if one.origin != "gnncomm" else "",
    ]
    return one.name, " ".join(filter(None, parts))


def _said(parameter: Parameter) -> str:
    return parameter.name + ("" if parameter.default is None else f"={parameter.default}")


def _page(kind: str, one: Description) -> Iterator[Table | str]:
    """All that is known of one thing."""
    yield f"{kind} {one.name}" + (f", also {', '.join(one.aliases)}" if one.aliases else "")
    if one.line:
        yield one.line
    yield f"from {one.origin}" + (f"; cannot be used: {one.trouble}" if one.trouble else "")
    if one.given:
        yield f"given where it is used: {', '.join(one.given)}"
    if one.protocols:
        yield f"protocols: {', '.join(f'{one.name}/{protocol}' for protocol in one.protocols)}"
    if one.parameters:
        rows = [(_said(item), f"{item.type}. {item.line}" if item.line else item.type) for item in one.parameters]
        yield _table("settings" if kind == "env" else "parameters", rows)


def _table(title: str, rows: list[tuple[str, str]]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, line in rows:
        table.add_row(name, line)
    return table
