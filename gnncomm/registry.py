"""Things by name: ``"ring"``, ``"knn:k=4"``, ``"full & radius:r=3"``.

A name is a class name in snake_case or one of the class's ``aliases``; parameters are those of its constructor, read by
their annotated types. Every concrete class that a package's ``__init__`` imports is listed: there is no other table.
Nothing outside that table can be reached by a name, so a configuration file from a stranger builds listed things only.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType, NoneType, UnionType
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

from gnncomm.errors import ConfigError, did_you_mean

__all__ = ["CallableModule", "Registry"]

T = TypeVar("T")


@dataclass(frozen=True)
class Registry(Generic[T]):
    """The concrete subclasses of ``kind`` that the module ``package`` holds.

    ``operators`` maps symbols to classes that join two things (fields ``left`` and ``right``), loosest first. They
    group to the left; parentheses override.
    """

    kind: type[T]
    package: str
    operators: Mapping[str, type[T]] = field(default_factory=dict)

    def listing(self) -> dict[str, type[T]]:
        """Every class by its name, sorted; without aliases and operators."""
        found = {
            snake_case(value.__name__): value
            for value in vars(sys.modules[self.package]).values()
            if isinstance(value, type)
            and issubclass(value, self.kind)
            and value is not self.kind
            and not inspect.isabstract(value)
            and value not in self.operators.values()
        }
        return dict(sorted(found.items()))

    def names(self) -> list[str]:
        """The names of ``listing``."""
        return list(self.listing())

    def resolve(self, value: str | T) -> T:
        """The thing that ``value`` describes; a thing is returned as it is.

        The text is ``name`` or ``name:parameter=value,...``, joined by ``operators``. ``spec_of`` is the inverse.

        Raises:
            ConfigError: an unknown name or parameter (with a suggestion), or a value of the wrong type or range.
        """
        if isinstance(value, self.kind):
            return value
        if not isinstance(value, str):
            raise ConfigError(
                f"Expected a {self._noun} or its name, got {type(value).__name__}. Known: {', '.join(self.names())}."
            )
        return _Parser(self, value).whole()

    def spec_of(self, thing: T) -> str:
        """The text that ``resolve`` turns into an equal thing; parameters at their defaults are left out.

        Raises:
            ConfigError: the class is not listed, or a parameter has no text form (a graph, a function).
        """
        return self._spec(thing, tightness=0)

    def _spec(self, thing: T, tightness: int) -> str:
        for level, (symbol, operator) in enumerate(self.operators.items()):
            if type(thing) is operator:
                left, right = (getattr(thing, side) for side in ("left", "right"))
                text = f"{self._spec(left, level)} {symbol} {self._spec(right, level + 1)}"
                return text if level >= tightness else f"({text})"
        name = snake_case(type(thing).__name__)
        if self.listing().get(name) is not type(thing):
            raise ConfigError(f"{type(thing).__name__} has no name: expected one of {', '.join(self.names())}.")
        given = []
        for parameter, hint, default in _parameters(type(thing)):
            value = getattr(thing, parameter)
            if default is inspect.Parameter.empty or value != default:
                given.append(f"{parameter}={_format(name, parameter, value, hint)}")
        return f"{name}:{','.join(given)}" if given else name

    def make(self, name: str, settings: Mapping[str, str]) -> T:
        """The class called ``name`` built with ``settings``, all as text."""
        listing = self.listing()
        known: dict[str, type[T]] = listing | {
            alias: cls for cls in listing.values() for alias in getattr(cls, "aliases", ())
        }
        if name not in known:
            raise ConfigError(f"Unknown {self._noun} {name!r}. {did_you_mean(name, known)}")
        parameters = {parameter: (hint, default) for parameter, hint, default in _parameters(known[name])}
        for setting in settings:
            if setting not in parameters:
                hint = did_you_mean(setting, parameters) if parameters else "It has no parameters."
                raise ConfigError(f"Unknown parameter {setting!r} of {self._noun} {name!r}. {hint}")
        for parameter, (_, default) in parameters.items():
            if default is inspect.Parameter.empty and parameter not in settings:
                raise ConfigError(
                    f"{self._noun} {name!r} needs {parameter!r}: expected {name}:{parameter}=VALUE, got no value."
                )
        values = {key: _parse(name, key, text, parameters[key][0]) for key, text in settings.items()}
        return known[name](**values)

    @property
    def _noun(self) -> str:
        return self.kind.__name__.lower()


class _Parser(Generic[T]):
    """Recursive descent over ``name:a=1,b=2``, the operators and parentheses."""

    def __init__(self, registry: Registry[T], text: str) -> None:
        self.registry = registry
        self.text = text
        symbols = "".join(re.escape(symbol) for symbol in registry.operators)
        self.tokens = [token.strip() for token in re.split(rf"([(){symbols}])", text) if token.strip()]
        self.levels = list(registry.operators.items())

    def whole(self) -> T:
        thing = self.joined(0)
        if self.tokens:
            raise self.error(self.tokens[0])
        return thing

    def joined(self, level: int) -> T:
        if level == len(self.levels):
            return self.single()
        symbol, operator = self.levels[level]
        thing = self.joined(level + 1)
        while self.tokens and self.tokens[0] == symbol:
            self.tokens.pop(0)
            thing = operator(thing, self.joined(level + 1))  # type: ignore[call-arg]  # operators join two things
        return thing

    def single(self) -> T:
        token = self.tokens.pop(0) if self.tokens else ""
        if token == "(":
            thing = self.joined(0)
            if not self.tokens or self.tokens.pop(0) != ")":
                raise self.error("a missing ')'")
            return thing
        if not token or token == ")" or token in self.registry.operators:
            raise self.error(token or "nothing")
        name, colon, rest = token.partition(":")
        settings: dict[str, str] = {}
        for part in rest.split(",") if colon else []:
            key, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals or not key or not value or key in settings:
                raise self.error(part)
            settings[key] = value
        return self.registry.make(name.strip(), settings)

    def error(self, found: str) -> ConfigError:
        joins = "".join(f", or A {symbol} B" for symbol in self.registry.operators)
        return ConfigError(
            f"Cannot read {self.text!r}: expected name or name:parameter=value,...{joins}, got {found!r}. "
            f"Known: {', '.join(self.registry.names())}."
        )


class CallableModule(ModuleType):
    """A package that is called like a function: ``gnncomm.topology("ring")`` resolves a name."""

    def __call__(self, value: Any) -> Any:
        return vars(self)["resolve"](value)


def snake_case(name: str) -> str:
    """``KNearest`` -> ``k_nearest``, ``Grid2D`` -> ``grid2d``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _parameters(cls: type) -> list[tuple[str, Any, Any]]:
    """Name, type and default of each constructor parameter."""
    return [
        (name, str if parameter.annotation is parameter.empty else parameter.annotation, parameter.default)
        for name, parameter in inspect.signature(cls, eval_str=True).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]


def _options(hint: Any) -> list[Any]:
    """The members of a union, or the hint alone."""
    return list(get_args(hint)) if get_origin(hint) in (Union, UnionType) else [hint]


def _read(text: str, hint: Any) -> Any:
    """``text`` as a value of type ``hint``; ValueError when it is none."""
    if hint is NoneType and text.lower() == "none":
        return None
    if hint is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if hint in (int, float, str):
        return hint(text)
    if get_origin(hint) is Literal and text in get_args(hint):
        return text
    if get_origin(hint) is tuple and get_args(hint)[1:] == (...,):
        return tuple(_read(part, get_args(hint)[0]) for part in text.split("x"))
    raise ValueError(text)


def _parse(name: str, parameter: str, text: str, hint: Any) -> Any:
    for option in sorted(_options(hint), key=lambda option: option is str):  # str reads everything: last
        try:
            return _read(text, option)
        except ValueError:
            continue
    example = _example(hint)
    if example is None:
        raise ConfigError(f"{name}:{parameter} has no text form, got {text!r}. Build it in Python.")
    raise ConfigError(f"{name}:{parameter} is {_say(hint)}: expected {parameter}={example}, got {text!r}.")


def _format(name: str, parameter: str, value: Any, hint: Any) -> str:
    text = "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
    text = text.lower() if value is None or isinstance(value, bool) else text
    try:
        if text and not re.search(r"[|&(),=:\s]", text) and _parse(name, parameter, text, hint) == value:
            return text
    except ConfigError:
        pass
    raise ConfigError(
        f"{name}:{parameter} has no text form: expected a number, word or tuple, got {type(value).__name__}. "
        "Build it in Python."
    )


def _say(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _example(hint: Any) -> str | None:
    for option in _options(hint):
        if get_origin(option) is Literal:
            return " or ".join(map(str, get_args(option)))
        if get_origin(option) is tuple:
            return "3x4"
        if option in (bool, int, float, str):
            return str({bool: "true", int: 4, float: 0.5, str: "word"}[option])
    return None
