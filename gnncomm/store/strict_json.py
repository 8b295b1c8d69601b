"""JSON without its loopholes: no duplicate keys, no NaN, no infinity (also not as 1e999), no bottomless nesting."""

from __future__ import annotations

import json
import math
from typing import Any


class MalformedJsonError(ValueError):
    """The bytes are no JSON text in UTF-8."""


class ForbiddenJsonError(ValueError):
    """The bytes are JSON to a lenient reader, but two readers may understand them differently."""


def parse(raw: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        MalformedJsonError: no UTF-8, or no JSON.
        ForbiddenJsonError: duplicate key, number that is not finite, nesting beyond the recursion limit.
    """
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
    except UnicodeDecodeError as error:
        raise MalformedJsonError(f"byte {error.start} is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise MalformedJsonError(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise ForbiddenJsonError("nested too deeply") from error
    except (MalformedJsonError, ForbiddenJsonError):
        raise
    except ValueError as error:  # an integer of thousands of digits
        raise ForbiddenJsonError(str(error)) from error


def dump(value: Any, indent: int | None = 2) -> bytes:
    """JSON text of ``value`` in ASCII with sorted keys: equal values give equal bytes.

    Raises:
        ValueError: NaN or infinity.
        TypeError: a value that JSON does not know.
    """
    return (json.dumps(value, indent=indent, sort_keys=True, allow_nan=False) + "\n").encode("ascii")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ForbiddenJsonError(f"duplicate key {key!r}")
        found[key] = value
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ForbiddenJsonError(f"number {text[:20]} is not finite")
    return value


def _refuse_constant(text: str) -> float:
    raise ForbiddenJsonError(f"{text} is not JSON")
