"""Files that people write: JSON and YAML, read strictly, and written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gnncomm.errors import ConfigError, UnsafeContentError, UnsafePathError
from gnncomm.store import strict_json, strict_yaml
from gnncomm.store.files import EX_DATAERR, EX_NOINPUT, read_regular, with_exit_code, write_atomic

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_data(path: str | Path) -> dict[str, Any]:
    """The object in a file: YAML where its name ends in .yaml or .yml, else JSON. See ``read_json`` for errors.

    Raises:
        ModuleNotFoundError: YAML without PyYAML.
    """
    if Path(path).suffix.lower() in (".yaml", ".yml"):
        return _read(path, strict_yaml.MAX_BYTES, "YAML", strict_yaml.parse)
    return read_json(path)


def read_json(path: str | Path, max_bytes: int = 1 << 20) -> dict[str, Any]:
    """The JSON object in a file of at most ``max_bytes``. A byte order mark and CRLF are accepted.

    Raises:
        ConfigError: no such file (exit code 66); no regular file, too large, empty, not UTF-8, not JSON, duplicate
            keys, NaN, or not an object (exit code 65).
    """
    return _read(path, max_bytes, "JSON", strict_json.parse)


def _read(path: str | Path, max_bytes: int, form: str, parse: Callable[[bytes], Any]) -> dict[str, Any]:
    try:
        raw = read_regular(Path(path), max_bytes, follow_symlinks=True).removeprefix(_BYTE_ORDER_MARK)
        if not raw.strip():
            raise with_exit_code(ConfigError(f"{path} is empty: expected a {form} object."), EX_DATAERR)
        data = parse(raw)
    except (UnsafePathError, UnsafeContentError) as error:
        raise with_exit_code(ConfigError(str(error)), EX_DATAERR) from error
    except (strict_json.MalformedJsonError, strict_json.ForbiddenJsonError) as error:
        raise with_exit_code(ConfigError(f"{path} is not valid {form}: {error}."), EX_DATAERR) from error
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise with_exit_code(ConfigError(f"Could not read {path}: {reason}."), EX_NOINPUT) from error
    if not isinstance(data, dict):
        raise with_exit_code(ConfigError(f"{path}: expected a {form} object, got {type(data).__name__}."), EX_DATAERR)
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
