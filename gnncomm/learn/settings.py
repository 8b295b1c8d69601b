"""Settings are of the type they declare, whoever makes them: the command line, a file or Python."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin, get_type_hints

from gnncomm.errors import ConfigError, did_you_mean

_NAMES = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}


def require_types(settings: object, prefix: str = "") -> None:
    """Check the fields of a dataclass that are bool, int, float, str or ``Literal``; an int is a float, too.

    Raises:
        ConfigError: names the field as ``prefix`` + name, and the nearest choice of a ``Literal``.
    """
    for name, hint in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        if get_origin(hint) is Literal:
            if value not in get_args(hint):
                hint_text = did_you_mean(str(value), get_args(hint))
                raise ConfigError(f"{prefix}{name}: expected a known choice, got {value!r}. {hint_text}")
        elif hint in _NAMES and not _fits(value, hint):
            raise ConfigError(f"{prefix}{name} must be {_NAMES[hint]}, got {value!r} ({type(value).__name__}).")


def _fits(value: Any, hint: type) -> bool:
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    return isinstance(value, (int, float) if hint is float else hint)
