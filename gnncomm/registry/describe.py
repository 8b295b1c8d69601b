"""What there is to choose from, in words: for ``gnncomm list`` and for programs."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

from gnncomm.registry.table import added, registry_of
from gnncomm.registry.values import parameters_of, say


@dataclass(frozen=True)
class Parameter:
    """One parameter of a thing that has a name."""

    name: str
    type: str
    default: str | None
    """As a text would say it; None where a value is needed."""
    line: str = ""


@dataclass(frozen=True)
class Description:
    """One thing that has a name."""

    name: str
    line: str
    """First paragraph of its docstring."""
    origin: str = "gnncomm"
    """Who brings it."""
    trouble: str = ""
    """Why it cannot be used."""
    aliases: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    given: tuple[str, ...] = ()
    """Arguments that a text need not say: the policy or the training gives them."""
    protocols: tuple[str, ...] = ()
    """Of an environment: what may follow its name and a slash."""


def described(kind: str) -> list[Description]:
    """Everything of that kind, sorted by name; what cannot be loaded says why."""
    return [_describe(registry_of(kind), name) for name in registry_of(kind).names()]


def describe(kind: str, name: str) -> Description:
    """What is called so; also by another of its names.

    Raises:
        ConfigError: nothing is called so.
    """
    known = registry_of(kind)
    name = known.long_name(name).partition(":")[0]
    if name in known.aliases:
        name = known.name_of(known.aliases[name])
    if name not in known.names():
        known.find(name)  # says what there is
    return _describe(known, name)


def first_line(value: object) -> str:
    """The first paragraph of a docstring as plain text."""
    return plain(" ".join((inspect.getdoc(value) or "").split("\n\n")[0].split()))


def plain(text: str) -> str:
    """``text`` without the marks of reStructuredText."""
    text = re.sub(r"`([^`<]+) <[^>]+>`_", r"\1", text)
    text = re.sub(r":math:`([^`]*)`", r"\1", text).replace("``", "")
    return re.sub(r"\\math\w+\{(\w+)\}", r"\1", text)


def _describe(known: Any, name: str) -> Description:
    one = added(known.kind).get(name)
    origin = "gnncomm" if one is None else " and ".join(one.origins)
    if one is not None and one.trouble:
        return Description(name, "", origin, one.trouble)
    maker = known.find(name)
    if known.is_thing(maker):
        parts = [Parameter(item, type(value).__name__, _default(value)) for item, value in maker.settings.items()]
        return Description(name, maker.summary, origin, parameters=tuple(parts))
    words = _argument_lines(maker)
    parameters = parameters_of(maker)
    return Description(
        name,
        first_line(maker),
        origin,
        aliases=tuple(getattr(maker, "aliases", ())) if one is None else (),
        parameters=tuple(
            Parameter(item, say(hint), _default(default), words.get(item, ""))
            for item, hint, default in parameters
            if item not in known.sizes
        ),
        given=tuple(item for item, _, _ in parameters if item in known.sizes),
        protocols=tuple(getattr(maker, "protocols", ())) if known.kind == "env" else (),
    )


def _default(value: Any) -> str | None:
    if value is inspect.Parameter.empty:
        return None
    if isinstance(value, tuple) and value:
        return "x".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _argument_lines(maker: Any) -> dict[str, str]:
    """Parameter -> what the section ``Args:`` of its docstring says, in one line."""
    found: dict[str, str] = {}
    text = inspect.getdoc(maker) or ""
    section = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)+)", text, re.MULTILINE)
    for entry in re.finditer(
        r"^[ ]{4}([\w, *]+):((?:.*)(?:\n[ ]{5,}.*)*)", section[1] if section else "", re.MULTILINE
    ):
        line = plain(" ".join(entry[2].split()))
        found |= {name.strip(" *"): line for name in entry[1].split(",")}
    return found
