"""JSON without its loopholes.

No duplicate keys, no NaN, no infinity (also not as 1e999), no integers beyond 64 bits, no bottomless nesting.
"""

from __future__ import annotations

import json
import math
from typing import Any

MAX_DEPTH = 64
"""Objects and lists within each other; whoever walks over what was read may do so by recursion."""


class MalformedJsonError(ValueError):
    """The bytes are no JSON text in UTF-8."""


class ForbiddenJsonError(ValueError):
    """The bytes are JSON to a lenient reader, but two readers may understand them differently."""


def parse(raw: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        MalformedJsonError: no UTF-8, or no JSON.
        ForbiddenJsonError: duplicate key, number that is not finite, integer outside of [-2^63, 2^63), more than
            ``MAX_DEPTH`` levels.
    """
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_int=_int64,
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
    _require_shallow(value)
    return value


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


def _int64(text: str) -> int:
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ForbiddenJsonError(f"integer {text[:24]} has more than 64 bits")
    return value


def _require_shallow(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        nested = [item for item in level if isinstance(item, (dict, list))]
        if not nested:
            return
        level = [child for item in nested for child in (item.values() if isinstance(item, dict) else item)]
    raise ForbiddenJsonError("nested too deeply")


def _refuse_constant(text: str) -> float:
    raise ForbiddenJsonError(f"{text} is not JSON")
