"""Settings are of the type they declare, whoever makes them: the command line, a file or Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_origin, get_type_hints

from gnncomm.config.data import SCALARS, decode
from gnncomm.errors import ConfigError

MAX_LETTERS = 1000
"""Of a setting that is text."""


def require_types(settings: object, prefix: str = "", instead: str = "") -> None:
    """Check the fields of a dataclass that are bool, int, float, str or ``Literal``, as ``from_json`` reads them.

    ``instead`` says what to do with an object that is not text, with ``{name}`` for the field.

    Raises:
        ConfigError: names the field as ``prefix`` + name, and the nearest choice of a ``Literal``.
    """
    for name, hint in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        if hint is str and instead and not isinstance(value, str):
            raise ConfigError(f"{prefix}{name}: expected str, got {value!r}. {instead.format(name=name)}")
        if hint in SCALARS or get_origin(hint) is Literal:
            decode(hint, value, prefix + name)
        if hint is str and len(value) > MAX_LETTERS:
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
