"""Settings and data: frozen dataclasses in Python, objects and lists as JSON has them, and nothing lost or guessed.

No value names code: there is no import by dotted path, so a configuration from a stranger is data only.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

from gnncomm.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ConfigT = TypeVar("ConfigT", bound="DataclassInstance")

SCALARS = (bool, int, float, str, types.NoneType)


@runtime_checkable
class HasOwnForm(Protocol):
    """A dataclass that reads and writes its data by itself: what it holds depends on a name in it."""

    def to_data(self) -> dict[str, Any]: ...

    @classmethod
    def of_data(cls, data: Mapping[str, Any], path: str) -> Any: ...


def to_json(config: DataclassInstance) -> dict[str, Any]:
    """The JSON object of a configuration, checked to read back equal.

    Raises:
        ConfigError: a field whose value is not of its declared type, or NaN or infinite.
    """
    data: dict[str, Any] = _encode(config)
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
    decoded: ConfigT = decode(cls, data, "")
    return decoded


def leaves(config: DataclassInstance, prefix: str = "") -> dict[str, Any]:
    """Dotted path -> value, of every field that is no dataclass itself."""
    found: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        inner = is_dataclass(value) and not isinstance(value, type)
        found |= leaves(value, f"{prefix}{item.name}.") if inner else {f"{prefix}{item.name}": value}
    return found


def encode_fields(value: DataclassInstance) -> dict[str, Any]:
    """An object with a key for each field."""
    return {item.name: _encode(getattr(value, item.name)) for item in fields(value) if item.init}


def _encode(value: Any) -> Any:
    if isinstance(value, Enum):
        return _encode(value.value)
    if isinstance(value, HasOwnForm) and not isinstance(value, type):
        return value.to_data()
    if is_dataclass(value) and not isinstance(value, type):
        return encode_fields(value)
    if isinstance(value, Mapping):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_encode(item) for item in value]
    return value


def decode(annotation: Any, value: Any, path: str) -> Any:
    """``value`` as a thing of that type; the one place that says what a setting may be.

    Raises:
        ConfigError: it is none; names the dotted ``path``. TypeError: a type that has no JSON form.
    """
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
        if issubclass(annotation, HasOwnForm):
            return annotation.of_data(_require_object(value, path or annotation.__name__), path)
        if is_dataclass(annotation):
            return decode_fields(annotation, value, path)
        if issubclass(annotation, Enum):
            return annotation(_choose(tuple(member.value for member in annotation), value, path))
        if annotation in SCALARS:
            return _decode_scalar(annotation, value, path)
    raise TypeError(f"{path}: the annotation {annotation} has no JSON form. See gnncomm.config.from_json.")


def decode_fields(cls: type[Any], value: Any, path: str = "") -> Any:
    """The dataclass ``cls`` of an object with a key for each field that is not at its default."""
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
    return cls(**{key: decode(hints[key], item, prefix + key) for key, item in given.items()})


def _decode_union(members: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and types.NoneType in members:
        return None
    rest = [member for member in members if member is not types.NoneType]
    if sum(is_dataclass(member) for member in rest) > 1:
        raise TypeError(f"{path}: JSON cannot tell the dataclasses of {members} apart. Give each its own field.")
    if len(rest) == 1:
        return decode(rest[0], value, path)
    exact = [member for member in rest if type(value) is member]
    reasons: list[str] = []
    for member in exact or rest:
        try:
            return decode(member, value, path)
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
        decode(member, item, f"{path}[{i}]") for i, (member, item) in enumerate(zip(members, value, strict=True))
    )


def _decode_mapping(members: tuple[Any, ...], value: Any, path: str) -> dict[str, Any]:
    if members[0] is not str:
        raise TypeError(f"{path}: a JSON object has text keys, the annotation says {members[0]}.")
    return {key: decode(members[1], item, f"{path}.{key}") for key, item in _require_object(value, path).items()}


def _decode_any(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _decode_any(item, f"{path}.{key}") for key, item in _require_object(value, path).items()}
    if isinstance(value, list):
        return [_decode_any(item, f"{path}[{i}]") for i, item in enumerate(value)]
    if type(value) not in SCALARS:
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
        if choice == value and (
            type(choice) is type(value) or isinstance(choice, str)
        ):  # True is no 1; a StrEnum is text
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
