"""The table of names of one package, and the texts made of them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Generic, TypeVar

from gnncomm.errors import ConfigError, did_you_mean
from gnncomm.registry.parser import Grammar, parse
from gnncomm.registry.values import format_value, parameters_of, parse_value, snake_case

T = TypeVar("T")


@dataclass(frozen=True)
class Registry(Generic[T]):
    """The concrete subclasses of ``kind`` that the module ``package`` holds, and the classes that combine them.

    ``operators`` maps symbols to classes that join two things (fields ``left`` and ``right``), loosest first. They
    group to the left; parentheses override. ``prefixes`` maps symbols to classes around one thing (field ``inner``);
    they bind tighter. ``suffixes`` maps words to classes around one thing (field ``inner``, then parameters), written
    ``thing.word(value)``; they bind tightest. ``sequence`` is the class of ``[a; b]:parameter=value`` (field ``parts``,
    then parameters).
    """

    kind: type[T]
    package: str
    operators: Mapping[str, type[T]] = field(default_factory=dict)
    prefixes: Mapping[str, type[T]] = field(default_factory=dict)
    suffixes: Mapping[str, type[T]] = field(default_factory=dict)
    sequence: type[T] | None = None

    def listing(self) -> dict[str, type[T]]:
        """Every class by its name, sorted; without aliases and without the classes that combine others."""
        combining = {*self.operators.values(), *self.prefixes.values(), *self.suffixes.values(), self.sequence}
        found = {
            snake_case(value.__name__): value
            for value in vars(sys.modules[self.package]).values()
            if isinstance(value, type)
            and issubclass(value, self.kind)
            and value is not self.kind
            and not inspect.isabstract(value)
            and value not in combining
        }
        return dict(sorted(found.items()))

    def names(self) -> list[str]:
        """The names of ``listing``."""
        return list(self.listing())

    def resolve(self, value: str | T) -> T:
        """The thing that ``value`` describes; a thing is returned as it is.

        The text is ``name`` or ``name:parameter=value,...``, combined as the class says. ``spec_of`` is the inverse.

        Raises:
            ConfigError: an unknown name or parameter (with a suggestion), or a value of the wrong type or range.
        """
        if isinstance(value, self.kind):
            return value
        if not isinstance(value, str):
            raise ConfigError(
                f"Expected a {self._noun} or its name, got {type(value).__name__}. Known: {', '.join(self.names())}."
            )
        return parse(value, self._grammar())

    def spec_of(self, thing: T) -> str:
        """The text that ``resolve`` turns into an equal thing; parameters at their defaults are left out.

        Raises:
            ConfigError: the class is not listed, or a parameter has no text form (a graph, a function).
        """
        return self._spec(thing, tightness=0)

    def _spec(self, thing: Any, tightness: int) -> str:
        kind, tightest = type(thing), len(self.operators)
        for level, (symbol, operator) in enumerate(self.operators.items()):
            if kind is operator:
                text = f"{self._spec(thing.left, level)} {symbol} {self._spec(thing.right, level + 1)}"
                return text if level >= tightness else f"({text})"
        for symbol, prefix in self.prefixes.items():
            if kind is prefix:
                text = f"{symbol}{self._spec(thing.inner, tightest)}"
                return text if tightest >= tightness else f"({text})"
        for word, suffix in self.suffixes.items():
            if kind is suffix:
                values = [format_value(word, *item) for item in _settings(thing, skip=1)]
                return f"{self._spec(thing.inner, tightest + 1)}.{word}({', '.join(values)})"
        if kind is self.sequence:
            text = "; ".join(self._spec(part, 0) for part in thing.parts)
            return f"[{text}]{self._settings_text(thing, skip=1)}"
        name = snake_case(kind.__name__)
        if self.listing().get(name) is not kind:
            raise ConfigError(f"{kind.__name__} has no name: expected one of {', '.join(self.names())}.")
        return f"{name}{self._settings_text(thing)}"

    def _settings_text(self, thing: T, skip: int = 0) -> str:
        """``:parameter=value,...`` for what is not at its default."""
        name = snake_case(type(thing).__name__)
        defaults = {parameter: default for parameter, _, default in parameters_of(type(thing))}
        given = [
            f"{parameter}={format_value(name, parameter, value, hint)}"
            for parameter, value, hint in _settings(thing, skip)
            if defaults[parameter] is inspect.Parameter.empty or value != defaults[parameter]
        ]
        return f":{','.join(given)}" if given else ""

    def make(self, name: str, settings: Mapping[str, str]) -> T:
        """The class called ``name`` built with ``settings``, all as text."""
        listing = self.listing()
        known: dict[str, type[T]] = listing | {
            alias: cls for cls in listing.values() for alias in getattr(cls, "aliases", ())
        }
        if name not in known:
            raise ConfigError(f"Unknown {self._noun} {name!r}. {did_you_mean(name, known)}")
        return self._build(known[name], name, settings)

    def _build(self, cls: type[T], name: str, settings: Mapping[str, str], **parts: Any) -> T:
        """``cls(**parts, **settings)``, with the settings read from text."""
        parameters = {item: (hint, default) for item, hint, default in parameters_of(cls) if item not in parts}
        for setting in settings:
            if setting not in parameters:
                hint = did_you_mean(setting, parameters) if parameters else "It has no parameters."
                raise ConfigError(f"Unknown parameter {setting!r} of {self._noun} {name!r}. {hint}")
        for parameter, (_, default) in parameters.items():
            if default is inspect.Parameter.empty and parameter not in settings:
                raise ConfigError(
                    f"{self._noun} {name!r} needs {parameter!r}: expected {name}:{parameter}=VALUE, got no value."
                )
        values = {key: parse_value(name, key, text, parameters[key][0]) for key, text in settings.items()}
        return cls(**parts, **values)

    def _grammar(self) -> Grammar[T]:
        def join(symbol: str, left: T, right: T) -> T:
            return self.operators[symbol](left, right)  # type: ignore[call-arg]  # operators join two things

        def wrap(symbol: str, inner: T) -> T:
            return self.prefixes[symbol](inner)  # type: ignore[call-arg]  # prefixes take one thing

        def call(word: str, inner: T, values: list[str]) -> T:
            names = [name for name, _, _ in parameters_of(self.suffixes[word])][1:]
            if len(values) != len(names):
                raise ConfigError(f".{word}({', '.join(names)}) takes {len(names)} value(s), got {len(values)}.")
            return self._build(self.suffixes[word], word, dict(zip(names, values, strict=True)), inner=inner)

        def line_up(parts: list[T], settings: Mapping[str, str]) -> T:
            assert self.sequence is not None
            return self._build(self.sequence, "[...]", settings, parts=tuple(parts))

        return Grammar(
            levels=tuple(self.operators),
            prefixes=tuple(self.prefixes),
            suffixes=tuple(self.suffixes),
            brackets=self.sequence is not None,
            known=self.names(),
            make=self.make,
            join=join,
            wrap=wrap,
            call=call,
            line_up=line_up,
        )

    @property
    def _noun(self) -> str:
        return self.kind.__name__.lower()


class CallableModule(ModuleType):
    """A package that is called like a function: ``gnncomm.topology("ring")`` resolves a name."""

    def __call__(self, value: Any) -> Any:
        return vars(self)["resolve"](value)


def _settings(thing: Any, skip: int) -> list[tuple[str, Any, Any]]:
    """Name, value and type of each constructor parameter after the first ``skip``."""
    return [(name, getattr(thing, name), hint) for name, hint, _ in parameters_of(type(thing))[skip:]]
