"""The names of one kind of things, and the texts made of them."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any, Generic, TypeVar

from gnncomm.errors import ConfigError, did_you_mean
from gnncomm.registry import table
from gnncomm.registry.arguments import made_by, remember
from gnncomm.registry.parser import Grammar, parse
from gnncomm.registry.values import format_value, parameters_of, parse_value, snake_case

T = TypeVar("T")


def listed(package: str, base: type) -> dict[str, type]:
    """Every concrete subclass of ``base`` that the module ``package`` holds, by its class name in snake_case."""
    return {
        snake_case(value.__name__): value
        for value in vars(sys.modules[package]).values()
        if isinstance(value, type) and issubclass(value, base) and value is not base and not inspect.isabstract(value)
    }


@dataclass(frozen=True)
class Registry(Generic[T]):
    """The things of one kind that have names: those of the house, and those that ``gnncomm.registry.table`` adds.

    ``house`` maps names to classes (or functions that make things); a class may have more names, its ``aliases``.

    ``operators`` maps symbols to classes that join two things (fields ``left`` and ``right``), loosest first. They
    group to the left; parentheses override. ``prefixes`` maps symbols to classes around one thing (field ``inner``);
    they bind tighter. ``suffixes`` maps words to classes around one thing (field ``inner``, then parameters), written
    ``thing.word(value)``; they bind tightest. ``sequence`` is the class of ``[a; b]:parameter=value`` (field ``parts``,
    then parameters).
    """

    kind: str
    """What an error calls them."""
    base: type[T]
    """What all of them are; ``object`` where they have no common base."""
    house: Mapping[str, Any]
    operators: Mapping[str, type[T]] = field(default_factory=dict)
    prefixes: Mapping[str, type[T]] = field(default_factory=dict)
    suffixes: Mapping[str, type[T]] = field(default_factory=dict)
    sequence: type[T] | None = None
    sizes: tuple[str, ...] = ()
    """Arguments that the policy or the training gives, so that a text need not."""
    own_sizes: bool = False
    """Whether a text may say others: rounds of unequal widths do."""
    shorts: Mapping[str, str] = field(default_factory=dict)
    """Regular expression of a short name -> the text it stands for: ``int(\\d+)`` -> ``quantise:bits=\\1``."""
    most: int | None = None
    """Where whole numbers are heads and widths: the largest. The smallest is 1, or the default where that is less."""

    def __post_init__(self) -> None:
        combining = [*self.operators.values(), *self.prefixes.values(), *self.suffixes.values(), self.sequence]
        house = {name: maker for name, maker in self.house.items() if maker not in combining}
        object.__setattr__(self, "house", dict(sorted(house.items())))

    @property
    def aliases(self) -> dict[str, Any]:
        """Other names of the things of the house."""
        return {alias: maker for maker in self.house.values() for alias in getattr(maker, "aliases", ())}

    def listing(self) -> dict[str, Any]:
        """What can be named, sorted; without aliases, the classes that combine others, and what cannot be loaded."""
        found = {name: one.thing for name, one in table.added(self.kind).items() if not one.trouble}
        return dict(sorted({**found, **self.house}.items()))

    def names(self) -> list[str]:
        """All names, without aliases. Imports nothing."""
        return sorted({*self.house, *table.added(self.kind)})

    def find(self, name: str) -> Any:
        """The class or function that is called ``name``.

        Raises:
            ConfigError: nothing is called so (with a suggestion), or more than one thing, or it cannot be loaded.
        """
        one = table.added(self.kind).get(name)
        if one is not None:
            return one.thing
        known = {**self.house, **self.aliases}
        if name not in known:
            hint = did_you_mean(name, {*known, *table.added(self.kind)})
            raise ConfigError(f"Unknown {self.kind} {name!r}. {hint} If a package brings it, install that.")
        return known[name]

    def name_of(self, maker: Any) -> str | None:
        """What ``maker`` is called, None where it has no name. Imports nobody's package for a class or function."""
        found = [name for name, value in self.house.items() if value is maker]
        for name, one in table.added(self.kind).items():
            found += [name] if one.stands_for(maker) else []
        return next(iter(found), None)

    def require_one(self, thing: Any, source: str) -> None:
        """Refuse what is neither a class of this kind nor a function that could make one, with types that can be read.

        Raises:
            ConfigError: says what it is.
        """
        if isinstance(thing, type) and not issubclass(thing, self.base):
            raise ConfigError(
                f"Expected {source} to be a {self.base.__name__}, got the class {thing.__name__}, which is none. "
                "Derive it from that class, or mend the name."
            )
        if not callable(thing) and not self.is_thing(thing):
            raise ConfigError(
                f"Expected {source} to be a class or a function that makes a {self.kind}, got {type(thing).__name__}. "
                "Mend it."
            )
        if not self.is_thing(thing):
            parameters_of(thing)

    def is_thing(self, maker: Any) -> bool:
        """Whether a name is that of a thing itself (a method, with its ``summary``), not of what makes one."""
        return self.base is not object and not isinstance(maker, type) and isinstance(maker, self.base)

    def resolve(self, value: str | T, **sizes: Any) -> T:
        """The thing that ``value`` describes; a thing is returned as it is.

        The text is ``name`` or ``name:parameter=value,...``, combined as the class says. ``spec_of`` is the inverse.
        ``sizes`` are arguments that a text may leave out and that are given where a constructor takes them.

        Raises:
            ConfigError: an unknown name or parameter (with a suggestion), a value of the wrong type or range, or other
                ``sizes`` in the text than are given.
        """
        if isinstance(value, str):
            return parse(value, self._grammar({name: size for name, size in sizes.items() if size is not None}))
        if isinstance(value, self.base) and not isinstance(value, type):
            return value
        raise ConfigError(
            f"Expected a {self.kind} or its name, got {type(value).__name__}. Known: {', '.join(self.names())}."
        )

    def make(self, name: str, settings: Mapping[str, str], sizes: Mapping[str, Any] | None = None) -> T:
        """What is called ``name``, built with ``settings``, all as text, and with those of ``sizes`` that it takes."""
        name, _, rest = self.long_name(name).partition(":")
        more = dict(part.split("=") for part in rest.split(",")) if rest else {}
        return self._build(self.find(name), name, more | dict(settings), sizes or {})

    def long_name(self, name: str) -> str:
        """What a short name stands for, ``quantise:bits=4`` for ``int4``; other names stay."""
        for pattern, text in self.shorts.items():
            found = re.fullmatch(pattern, name)
            if found is not None:
                return found.expand(text)
        return name

    def _build(self, maker: Any, name: str, settings: Mapping[str, str], sizes: Mapping[str, Any], **parts: Any) -> T:
        """``maker(**parts, **settings)``, with the settings read from text; a thing that has a name is that thing."""
        if self.is_thing(maker):
            if settings:
                raise ConfigError(f"The {self.kind} {name!r} has no parameters, got {next(iter(settings))!r}.")
            thing: T = maker
            return thing
        parameters = {item: (hint, default) for item, hint, default in parameters_of(maker) if item not in parts}
        for setting in settings:
            if setting not in parameters:
                hint = did_you_mean(setting, parameters) if parameters else "It has no parameters."
                raise ConfigError(f"Unknown parameter {setting!r} of {self.kind} {name!r}. {hint}")
        known = {item: size for item, size in sizes.items() if item in parameters and item not in settings}
        for parameter, (_, default) in parameters.items():
            if default is inspect.Parameter.empty and parameter not in settings and parameter not in known:
                raise ConfigError(
                    f"{self.kind} {name!r} needs {parameter!r}: expected {name}:{parameter}=VALUE, got no value."
                )
        values = {key: parse_value(name, key, text, parameters[key][0]) for key, text in settings.items()}
        for key, value in values.items():
            self._require_size(name, key, value, parameters[key][1])
            if key in sizes and sizes[key] != value and not self.own_sizes:
                raise ConfigError(f"{name}:{key} is {sizes[key]} here, got {value}. Leave it out.")
        made = maker(**parts, **known, **values)
        if not isinstance(made, self.base):
            raise ConfigError(
                f"Expected a {self.kind} from the function called {name!r}, got {type(made).__name__}. Mend it."
            )
        if not isinstance(maker, type) or not (is_dataclass(made) or made_by(made)):
            remember(made, maker, (), {**parts, **known, **values})
        return made

    def _require_size(self, name: str, parameter: str, value: Any, default: Any) -> None:
        if self.most is None or type(value) is not int:
            return
        low = min(1, default) if type(default) is int else 1
        if not low <= value <= self.most:
            got = value if abs(value) < 10**20 else f"one of {value.bit_length()} bits"
            raise ConfigError(f"{name}:{parameter} must be a whole number from {low} to {self.most:,}, got {got}.")

    def spec_of(self, thing: T, **sizes: Any) -> str:
        """The text that ``resolve`` turns into an equal thing.

        Parameters at their defaults are left out, and so are those that equal ``sizes``, which ``resolve`` gets, too.

        Raises:
            ConfigError: the class has no name, or a parameter has no text form (a graph, a function).
        """
        return self._spec(thing, 0, {name: size for name, size in sizes.items() if size is not None})

    def _spec(self, thing: Any, tightness: int, sizes: Mapping[str, Any]) -> str:
        kind, tightest = type(thing), len(self.operators)
        for level, (symbol, operator) in enumerate(self.operators.items()):
            if kind is operator:
                text = f"{self._spec(thing.left, level, sizes)} {symbol} {self._spec(thing.right, level + 1, sizes)}"
                return text if level >= tightness else f"({text})"
        for symbol, prefix in self.prefixes.items():
            if kind is prefix:
                text = f"{symbol}{self._spec(thing.inner, tightest, sizes)}"
                return text if tightest >= tightness else f"({text})"
        for word, suffix in self.suffixes.items():
            if kind is suffix:
                values = [format_value(word, *item[:3]) for item in _settings(kind, thing, skip=1)]
                return f"{self._spec(thing.inner, tightest + 1, sizes)}.{word}({', '.join(values)})"
        if kind is self.sequence:
            text = "; ".join(self._spec(part, 0, sizes) for part in thing.parts)
            return f"[{text}]{self._settings_text('[...]', kind, thing, sizes, skip=1)}"
        maker = (made_by(thing) or (kind,))[0]
        name = self.name_of(maker)
        if name is not None:
            return f"{name}{self._settings_text(name, maker, thing, sizes)}"
        name = self.name_of(thing)
        if name is None:
            raise ConfigError(f"{kind.__name__} has no name: expected one of {', '.join(self.names())}.")
        return name

    def _settings_text(self, name: str, maker: Any, thing: T, sizes: Mapping[str, Any], skip: int = 0) -> str:
        """``:parameter=value,...`` for what is neither at its default nor in ``sizes``."""
        given = [
            f"{parameter}={format_value(name, parameter, value, hint)}"
            for parameter, value, hint, default in _settings(maker, thing, skip)
            if value != sizes.get(parameter, default)
        ]
        return f":{','.join(given)}" if given else ""

    def _grammar(self, sizes: Mapping[str, Any]) -> Grammar[T]:
        def join(symbol: str, left: T, right: T) -> T:
            return self.operators[symbol](left, right)  # type: ignore[call-arg]  # operators join two things

        def wrap(symbol: str, inner: T) -> T:
            return self.prefixes[symbol](inner)  # type: ignore[call-arg]  # prefixes take one thing

        def call(word: str, inner: T, values: list[str]) -> T:
            names = [name for name, _, _ in parameters_of(self.suffixes[word])][1:]
            if len(values) != len(names):
                raise ConfigError(f".{word}({', '.join(names)}) takes {len(names)} value(s), got {len(values)}.")
            return self._build(self.suffixes[word], word, dict(zip(names, values, strict=True)), {}, inner=inner)

        def line_up(parts: list[T], settings: Mapping[str, str]) -> T:
            return self._build(self.sequence, "[...]", settings, {}, parts=tuple(parts))

        return Grammar(
            levels=tuple(self.operators),
            prefixes=tuple(self.prefixes),
            suffixes=tuple(self.suffixes),
            brackets=self.sequence is not None,
            known=self.names(),
            make=lambda name, settings: self.make(name, settings, sizes),
            join=join,
            wrap=wrap,
            call=call,
            line_up=line_up,
        )


def _settings(maker: Any, thing: Any, skip: int) -> list[tuple[str, Any, Any, Any]]:
    """Name, value, type and default of each constructor parameter after the first ``skip``."""
    parameters = parameters_of(maker)[skip:]
    made = made_by(thing)
    if made is None:
        for name, _, _ in parameters:
            if not hasattr(thing, name):
                raise ConfigError(
                    f"{type(thing).__name__} does not say what its {name!r} was: keep it in an attribute of that name, "
                    "or derive the class from gnncomm.registry.Remembers."
                )
        return [(name, getattr(thing, name), hint, default) for name, hint, default in parameters]
    said = inspect.signature(maker).bind(*made[1], **made[2]).arguments
    return [(name, said.get(name, default), hint, default) for name, hint, default in parameters]
