"""Settings are of the type they declare, whoever makes them: the command line, a file or Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gnncomm.errors import ConfigError, did_you_mean

MAX_LETTERS = 1000
"""Of a setting that is text."""

_NAMES = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}


def require_types(settings: object, prefix: str = "", instead: str = "") -> None:
    """Check the fields of a dataclass that are bool, int, float, str or ``Literal``; an int is a float, too.

    ``instead`` says what to do with an object that is not text, with ``{name}`` for the field.

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
            more = f" {instead.format(name=name)}" if hint is str and instead else ""
            raise ConfigError(f"{prefix}{name} must be {_NAMES[hint]}, got {value!r} ({type(value).__name__}).{more}")
        elif hint is str and len(value) > MAX_LETTERS:
            raise ConfigError(
                f"{prefix}{name} must be at most {MAX_LETTERS} letters, got {len(value):,}: {value[:40]}..."
            )


def require_ranges(settings: object, ranges: Mapping[str, tuple[int, int]], prefix: str = "") -> None:
    """Whole numbers within ``ranges``, both ends included.

    Raises:
        ConfigError: names the field as ``prefix`` + name.
    """
    for name, (low, high) in ranges.items():
        value = getattr(settings, name)
        if not low <= value <= high:
            got = value if abs(value) < 10**30 else f"a number of {value.bit_length():,} bits"
            raise ConfigError(f"{prefix}{name} must be a whole number from {low} to {high:,}, got {got}.")


def _fits(value: Any, hint: type) -> bool:
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    return isinstance(value, (int, float) if hint is float else hint) and not (
        hint is float and isinstance(value, int) and abs(value) >= 10**300  # which no float holds
    )
