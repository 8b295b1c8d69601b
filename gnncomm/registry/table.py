"""What scripts and installed packages add to the names of the house: ``register`` and entry points, one table."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar, overload

from gnncomm.errors import ConfigError
from gnncomm.registry.kinds import KINDS, kind_of_word

S = TypeVar("S")

STRANGERS_FAULTS: tuple[type[BaseException], ...] = (BaseException,)
"""What code of somebody else may raise, but for the user's own word to stop: whatever it is, the rest stays usable."""


@dataclass(frozen=True)
class Added:
    """What somebody else called ``name``: one thing, or several that cannot all have it."""

    kind: str
    name: str
    origins: tuple[str, ...]
    """Who says so."""
    sources: tuple[str, ...]
    """``module:attribute``, of each."""
    load: Callable[[], Any]
    """The thing itself; for one of a package this imports the package."""

    @property
    def thing(self) -> Any:
        """The thing, loaded once.

        Raises:
            ConfigError: there is none, or more than one.
        """
        found = _outcome(self.kind, self.name)
        if isinstance(found, _Broken):
            raise ConfigError(
                f"The {self.kind} {self.name!r} of {' and '.join(self.origins)} cannot be used: {found.reason}"
            ) from found.cause
        return found

    def stands_for(self, maker: Any) -> bool:
        """Whether it is the name of this class, function or object, and of nothing else."""
        if hasattr(maker, "__qualname__"):
            return self.sources == (source_of(maker),)
        return not self.trouble and self.thing is maker

    @property
    def trouble(self) -> str:
        """Why it cannot be used; empty if it can."""
        found = _outcome(self.kind, self.name)
        return found.reason if isinstance(found, _Broken) else ""


@dataclass(frozen=True)
class _Broken:
    reason: str
    cause: BaseException | None = None


_NAME, _RULE = r"[A-Za-z][A-Za-z0-9_-]*", "a name of letters, digits, underscores and hyphens"

_registered: dict[str, dict[str, Added]] = {}


@overload
def register(kind: str, name: str) -> Callable[[S], S]: ...
@overload
def register(kind: str, name: str, thing: S) -> S: ...
def register(kind: str, name: str, thing: Any = None) -> Any:
    """Give a thing of your own a name, for this process: it can then be named wherever one of the house can.

    .. code-block:: python

        gnncomm.register("layer", "gated_sum", GatedSum)

        @gnncomm.register("topology", "ahead")
        @dataclass(frozen=True)
        class Ahead(Topology): ...

    The parameters of its constructor are those of its text, ``gated_sum:heads=2``, read by their annotated types; sizes
    that the house knows (``in_channels``, ``num_agents``, ...) are filled in where the text leaves them out. A package
    does the same for all who install it, with an entry point in the group ``gnncomm.layers``, ``gnncomm.envs``, ...

    Args:
        kind: ``layer``, ``topology``, ``scheduler``, ... (``gnncomm.registry.KINDS``).
        name: letters, digits, underscores and hyphens.
        thing: a class, or a function that makes one; may be left out for use as a decorator.

    Raises:
        ConfigError: no such kind, no such thing, no such name, or a name that is taken by another thing. The same class
            once more (a notebook cell that is run again) replaces the old one.
    """
    if thing is None:
        return functools.partial(register, kind, name)
    known = registry_of(kind)
    if not re.fullmatch(_NAME, name):
        raise ConfigError(f"Expected {_RULE} for the {known.kind}, got {name!r}.")
    known.require_one(thing, f"register({known.kind!r}, {name!r})")
    source = source_of(thing)
    taken = [f"{of} ({by})" for by, of in _claims(known, name) if of != source]
    if taken:
        raise ConfigError(
            f"Expected a new name for the {known.kind} {source}, got {name!r}, which is {' and '.join(taken)}. Choose "
            "another."
        )
    _registered.setdefault(known.kind, {})[name] = Added(
        known.kind, name, ("register()",), (source,), functools.partial(_same, thing)
    )
    _outcome.cache_clear()
    return thing


def added(kind: str) -> dict[str, Added]:
    """What was registered and what installed packages bring, by name, sorted. Loads none of it."""
    found = {**_installed().get(kind, {}), **_registered.get(kind, {})}
    return dict(sorted(found.items()))


def of_this_process() -> list[str]:
    """Names that ``register`` gave here, and that another process does not know."""
    return sorted({name for by_name in _registered.values() for name in by_name})


def strangers() -> dict[str, str]:
    """Top-level module -> who brings it, of what installed packages name here."""
    added = [one for by_name in _installed().values() for one in by_name.values()]
    pairs = [
        (source.partition(":")[0].partition(".")[0], by)
        for one in added
        for source, by in zip(one.sources, one.origins, strict=True)
    ]
    return {module: by for module, by in pairs if module != "gnncomm"}


def reread() -> None:
    """Look again at what is installed, for instance after ``pip install`` in a notebook that is running."""
    _installed.cache_clear()
    _outcome.cache_clear()


def registry_of(kind: str) -> Any:
    """The ``Registry`` of a kind; its room is imported.

    Raises:
        ConfigError: there is no such kind.
    """
    return load(KINDS[kind_of_word(kind)].home)


def make(kind: str, value: Any, **sizes: Any) -> Any:
    """The thing of that kind that ``value`` names: ``make("layer", "attention:heads=2", in_channels=64, ...)``.

    A thing is returned as it is. ``sizes`` are arguments of its constructor that the text may leave out.

    Raises:
        ConfigError: an unknown kind, name or parameter (with a suggestion), or a value of the wrong type or range.
    """
    return registry_of(kind).resolve(value, **sizes)


@functools.cache
def _installed() -> dict[str, dict[str, Added]]:
    """Kind -> name -> what packages bring, from one look at what is installed. Imports none of it."""
    found: dict[str, dict[str, Added]] = {}
    everything = entry_points()
    for kind in KINDS.values():
        by_name: dict[str, dict[str, EntryPoint]] = {}
        for entry in everything.select(group=kind.group):
            by_name.setdefault(entry.name, {}).setdefault(f"{entry.module}:{entry.attr}", entry)
        found[kind.name] = {
            name: Added(
                kind.name,
                name,
                tuple(map(_origin, entries.values())),
                tuple(entries),
                next(iter(entries.values())).load,
            )
            for name, entries in by_name.items()
        }
    return found


@functools.cache
def _outcome(kind: str, name: str) -> Any:
    """The thing, or why there is none: asked once in a process."""
    one = added(kind)[name]
    known = registry_of(kind)
    claims = _claims(known, name)
    if not re.fullmatch(_NAME, name):
        return _Broken(f"expected {_RULE}, got {name!r}. Rename the entry point.")
    if len({of for _, of in claims}) > 1:
        return _Broken(
            f"expected one {kind} {name!r}, got {' and '.join(f'{of} ({by})' for by, of in claims)}. Rename "
            f"the entry point in the group {KINDS[kind].group!r} of one of the packages, or uninstall it."
        )
    try:
        thing = one.load()
    except KeyboardInterrupt:
        raise
    except STRANGERS_FAULTS as error:
        return _Broken(f"{one.sources[0]} cannot be imported ({type(error).__name__}: {str(error)[:300]}).", error)
    try:
        known.require_one(thing, one.sources[0])
    except ConfigError as error:
        return _Broken(str(error))
    return thing


def _claims(known: Any, name: str) -> list[tuple[str, str]]:
    """Who has that name, and what they call so."""
    found = [("gnncomm", source_of(known.house[name]))] if name in known.house else []
    if name in known.aliases:
        found.append(("gnncomm", f"another name of {source_of(known.aliases[name])}"))
    if known.long_name(name) != name:
        found.append(("gnncomm", f"short for {known.long_name(name)}"))
    for table in (_installed().get(known.kind, {}), _registered.get(known.kind, {})):
        if name in table:
            found += zip(table[name].origins, table[name].sources, strict=True)
    return found


def _origin(entry: EntryPoint) -> str:
    if entry.dist is None:
        return f"the entry point {entry.value}"
    return "gnncomm" if entry.dist.name == "gnncomm" else f"the package {entry.dist.name} {entry.dist.version}"


def source_of(thing: Any) -> str:
    """``module:attribute`` of a class or function."""
    if hasattr(thing, "__qualname__"):
        return f"{thing.__module__}:{thing.__qualname__}"
    return f"{type(thing).__name__} {getattr(thing, 'name', '')}"  # a method


def _same(thing: S) -> S:
    return thing


def load(source: str) -> Any:
    """What lies at ``module:attribute``, which no file may name."""
    module, _, attribute = source.partition(":")
    found: Any = importlib.import_module(module)
    for part in filter(None, attribute.split(".")):
        found = getattr(found, part)
    return found
