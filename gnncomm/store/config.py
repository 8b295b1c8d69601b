"""Configurations: frozen dataclasses in Python, JSON on disk, and nothing lost or guessed in between.

No value names code: there is no import by dotted path, so a configuration from a stranger is data only.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from gnncomm.errors import ConfigError, UnsafeContentError, UnsafePathError, did_you_mean
from gnncomm.store import strict_json
from gnncomm.store.files import EX_DATAERR, EX_NOINPUT, read_regular, with_exit_code, write_atomic

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ConfigT = TypeVar("ConfigT", bound="DataclassInstance")

_SCALARS = (bool, int, float, str, types.NoneType)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def to_json(config: DataclassInstance) -> dict[str, Any]:
    """The JSON object of a configuration, checked to read back equal.

    Raises:
        ConfigError: a field whose value is not of its declared type, or NaN or infinite.
    """
    data = {item.name: _encode(getattr(config, item.name)) for item in fields(config) if item.init}
    again = from_json(type(config), data)
    if again != config:
        changed = [item.name for item in fields(config) if getattr(again, item.name) != getattr(config, item.name)]
        raise ConfigError(
            f"{type(config).__name__} does not survive JSON: {', '.join(changed)} would come back changed. "
            "Use the declared types (a tuple where a tuple is declared)."
        )
    return data


def from_json(cls: type[ConfigT], data: Any) -> ConfigT:
    """The configuration of class ``cls`` that a JSON object describes. Absent keys take their defaults.

    Fields may be bool, int, float, str, ``Literal``, ``Enum``, ``tuple``, ``Mapping[str, ...]``, nested dataclasses,
    and unions of these with None. An int is accepted for a float; a bool is not an int.

    Raises:
        ConfigError: unknown or missing key, wrong type, number that is not finite; names the dotted path.
        TypeError: a field is annotated with a type that is not listed above.
    """
    decoded: ConfigT = _decode_dataclass(cls, data, "")
    return decoded


def read_json(path: str | Path, max_bytes: int = 1 << 20) -> dict[str, Any]:
    """The JSON object in a file of at most ``max_bytes``. A byte order mark and CRLF are accepted.

    Raises:
        ConfigError: no such file (exit code 66); no regular file, too large, empty, not UTF-8, not JSON, duplicate
            keys, NaN, or not an object (exit code 65).
    """
    try:
        raw = read_regular(Path(path), max_bytes, follow_symlinks=True).removeprefix(_BYTE_ORDER_MARK)
        if not raw.strip():
            raise with_exit_code(ConfigError(f"{path} is empty: expected a JSON object."), EX_DATAERR)
        data = strict_json.parse(raw)
    except (UnsafePathError, UnsafeContentError) as error:
        raise with_exit_code(ConfigError(str(error)), EX_DATAERR) from error
    except (strict_json.MalformedJsonError, strict_json.ForbiddenJsonError) as error:
        raise with_exit_code(ConfigError(f"{path} is not valid JSON: {error}."), EX_DATAERR) from error
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise with_exit_code(ConfigError(f"Could not read {path}: {reason}."), EX_NOINPUT) from error
    if not isinstance(data, dict):
        raise with_exit_code(ConfigError(f"{path}: expected a JSON object, got {_name(data)}."), EX_DATAERR)
    return data


def write_json_atomic(path: str | Path, data: Mapping[str, Any]) -> None:
    """Write a JSON object so that ``path`` always holds the old or the new one, whole.

    Raises:
        ConfigError: NaN, infinity, or a value that JSON does not know; nothing is written.
        OSError: the file could not be written; the old one is untouched.
    """
    try:
        raw = strict_json.dump(dict(data))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{path}: {error}. Expected objects, lists, text, finite numbers, booleans and null."
        ) from error
    write_atomic(Path(path), raw)


def _encode(value: Any) -> Any:
    if isinstance(value, Enum):
        return _encode(value.value)
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _encode(getattr(value, item.name)) for item in fields(value) if item.init}
    if isinstance(value, Mapping):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_encode(item) for item in value]
    return value


def _decode(annotation: Any, value: Any, path: str) -> Any:
    origin = get_origin(annotation)
    if annotation is Any:
        return _decode_any(value, path)
    if origin in (Union, types.UnionType):
        return _decode_union(get_args(annotation), value, path)
    if origin is Literal:
        return _choose(get_args(annotation), value, path)
    if origin is tuple:
        return _decode_tuple(get_args(annotation), value, path)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _decode_mapping(get_args(annotation), value, path)
    if isinstance(annotation, type):
        if is_dataclass(annotation):
            return _decode_dataclass(annotation, value, path)
        if issubclass(annotation, Enum):
            return annotation(_choose(tuple(member.value for member in annotation), value, path))
        if annotation in _SCALARS:
            return _decode_scalar(annotation, value, path)
    raise TypeError(f"{path}: the annotation {annotation} has no JSON form. See gnncomm.store.from_json.")


def _decode_dataclass(cls: type[Any], value: Any, path: str) -> Any:
    where = path or cls.__name__
    known: dict[str, Field[Any]] = {item.name: item for item in fields(cls) if item.init}
    given = _require_object(value, where)
    for key in given:
        if key not in known:
            raise ConfigError(f"Unknown key {key!r} in {where}. {did_you_mean(key, known)}")
    for name, item in known.items():
        if name not in given and item.default is MISSING and item.default_factory is MISSING:
            raise ConfigError(f"Missing key {name!r} in {where}: it has no default.")
    hints = get_type_hints(cls)
    prefix = f"{path}." if path else ""
    return cls(**{key: _decode(hints[key], item, prefix + key) for key, item in given.items()})


def _decode_union(members: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and types.NoneType in members:
        return None
    rest = [member for member in members if member is not types.NoneType]
    if sum(is_dataclass(member) for member in rest) > 1:
        raise TypeError(f"{path}: JSON cannot tell the dataclasses of {members} apart. Give each its own field.")
    if len(rest) == 1:
        return _decode(rest[0], value, path)
    exact = [member for member in rest if type(value) is member]
    reasons: list[str] = []
    for member in exact or rest:
        try:
            return _decode(member, value, path)
        except ConfigError as error:
            reasons.append(str(error))
    raise ConfigError(" Or: ".join(reasons))


def _decode_tuple(members: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{path}: expected a list, got {_name(value)} {value!r}.")
    if len(members) == 2 and members[1] is Ellipsis:
        members = (members[0],) * len(value)
    if len(members) != len(value):
        raise ConfigError(f"{path}: expected {len(members)} items, got {len(value)}.")
    return tuple(
        _decode(member, item, f"{path}[{i}]") for i, (member, item) in enumerate(zip(members, value, strict=True))
    )


def _decode_mapping(members: tuple[Any, ...], value: Any, path: str) -> dict[str, Any]:
    if members[0] is not str:
        raise TypeError(f"{path}: a JSON object has text keys, the annotation says {members[0]}.")
    return {key: _decode(members[1], item, f"{path}.{key}") for key, item in _require_object(value, path).items()}


def _decode_any(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _decode_any(item, f"{path}.{key}") for key, item in _require_object(value, path).items()}
    if isinstance(value, list):
        return [_decode_any(item, f"{path}[{i}]") for i, item in enumerate(value)]
    if type(value) not in _SCALARS:
        raise ConfigError(f"{path}: expected a JSON value, got {_name(value)}.")
    return _decode_scalar(type(value), value, path)


def _decode_scalar(cls: type, value: Any, path: str) -> Any:
    if cls is float and type(value) is int:
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    if type(value) is not cls:
        raise ConfigError(f"{path}: expected {cls.__name__}, got {_name(value)} {value!r}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{path}: expected a finite number, got {value}.")
    return value


def _choose(choices: tuple[Any, ...], value: Any, path: str) -> Any:
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return choice
    hint = (
        did_you_mean(value, map(str, choices)) if isinstance(value, str) else f"Known: {', '.join(map(repr, choices))}."
    )
    raise ConfigError(f"{path}: {value!r} is not a choice. {hint}")


def _require_object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected an object with keys, got {_name(value)} {value!r}.")
    for key in value:
        if not isinstance(key, str):
            raise ConfigError(f"{where}: expected text keys, got {_name(key)} {key!r}.")
        if key == "_target_":
            raise ConfigError(f"Key '_target_' in {where} is not allowed: a configuration cannot name code to run.")
    return value


def _name(value: Any) -> str:
    return "null" if value is None else type(value).__name__
