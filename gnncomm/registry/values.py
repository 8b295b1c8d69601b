"""Settings as text: read by the annotated type of a constructor parameter, and written back."""

from __future__ import annotations

import functools
import inspect
import re
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from gnncomm.errors import ConfigError

_WORD = re.compile(r"[\w.+#-]+")
"""What a text can say of a setting that is text: no path, as a stranger's file may say it."""


def snake_case(name: str) -> str:
    """``KNearest`` -> ``k_nearest``, ``Grid2D`` -> ``grid2d``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def parameters_of(maker: Any) -> list[tuple[str, Any, Any]]:
    """Name, type and default of each parameter of a constructor or function; without a type it is text.

    Raises:
        ConfigError: there is no telling: no signature, or annotations that name what is not there at run time.
    """
    try:
        hints, parameters = _hints_of(maker), inspect.signature(maker).parameters
    except (AttributeError, NameError, SyntaxError, TypeError, ValueError) as error:
        raise ConfigError(
            f"Expected parameters with types that can be read, got {error} in {maker!r}. Import its types at run time."
        ) from error
    return [
        (name, hints.get(name) or _annotated(parameter), parameter.default)
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]


def _annotated(parameter: inspect.Parameter) -> Any:
    """What a signature says that was made by hand, as that of an environment."""
    return str if parameter.annotation is parameter.empty else parameter.annotation


def _hints_of(maker: Any) -> dict[str, Any]:
    """A dataclass may inherit a field from another module, where its type is known and here is not."""
    if isinstance(maker, functools.partial):
        return _hints_of(maker.func)
    if not isinstance(maker, type):
        return get_type_hints(maker if inspect.isroutine(maker) else type(maker).__call__)
    owner = next(cls for cls in maker.__mro__ if "__init__" in vars(cls))
    made = vars(owner).get("__dataclass_params__")  # of this class, not of one that it comes from
    return get_type_hints(owner if made is not None and made.init else vars(owner)["__init__"])


def plain_number(text: str, kind: type[int] | type[float]) -> Any:
    """``int(text)`` or ``float(text)`` of plain digits only: no other scripts, no underscores, no spaces.

    Raises:
        ValueError: no such number, or one of too many digits.
    """
    try:
        if text.isascii() and "_" not in text and text == text.strip():
            return kind(text)
    except ValueError:
        pass
    got = repr(text) if len(text) <= 40 else f"{text[:40]!r} and {len(text) - 40:,} letters more"
    raise ValueError(f"expected a {'whole number' if kind is int else 'number'} in plain digits, got {got}")


def scalar(text: str) -> bool | int | float | str:
    """What ``text`` says where nothing says of what type it is: true or false, a number, or itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            number: int | float = plain_number(text, kind)
        except ValueError:
            continue
        return number
    return text


def _options(hint: Any) -> list[Any]:
    """The members of a union, or the hint alone."""
    return list(get_args(hint)) if get_origin(hint) in (Union, UnionType) else [hint]


def _read(text: str, hint: Any) -> Any:
    """``text`` as a value of type ``hint``; ValueError when it is none."""
    if hint is NoneType and text.lower() == "none":
        return None
    if hint is bool and text.lower() in ("true", "false", "1", "0"):
        return text.lower() in ("true", "1")
    if hint in (int, float):
        return plain_number(text, hint)
    if hint is str and _WORD.fullmatch(text):
        return text
    if get_origin(hint) is Literal and text in get_args(hint):
        return text
    if get_origin(hint) is tuple and get_args(hint)[1:] == (...,):
        return tuple(_read(part, get_args(hint)[0]) for part in text.split("x"))
    raise ValueError(text)


def parse_value(name: str, parameter: str, text: str, hint: Any) -> Any:
    for option in sorted(_options(hint), key=lambda option: option is str):  # str reads every word: last
        try:
            return _read(text, option)
        except ValueError:
            continue
    example = _example(hint)
    if example is None:
        raise ConfigError(f"{name}:{parameter} has no text form, got {text!r}. Build it in Python.")
    raise ConfigError(f"{name}:{parameter} is {say(hint)}: expected {parameter}={example}, got {text!r}.")


def format_value(name: str, parameter: str, value: Any, hint: Any) -> str:
    text = "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
    text = text.lower() if value is None or isinstance(value, bool) else text
    try:
        if _WORD.fullmatch(text) and parse_value(name, parameter, text, hint) == value:
            return text
    except ConfigError:
        pass
    raise ConfigError(
        f"{name}:{parameter} has no text form: expected a number, word or tuple, got {type(value).__name__}. "
        "Build it in Python."
    )


def say(hint: Any) -> str:
    """A type as a person would read it."""
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
