"""YAML as far as it says the same as JSON: mappings, lists, text, numbers, true, false and null. Needs PyYAML.

Plain words are read as YAML 1.2 has them (``no`` is text, ``1e-3`` a number). Anchors, aliases, tags and directives are
refused: they make a short file long, or name types to build.
"""

from __future__ import annotations

import re
from typing import Any

from gnncomm.store import strict_json
from gnncomm.store.strict_json import ForbiddenJsonError, MalformedJsonError

MAX_BYTES = 1 << 16
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def parse(raw: bytes) -> Any:
    """The value of a YAML text in UTF-8.

    Raises:
        MalformedJsonError: no UTF-8, or no YAML of a single document.
        ForbiddenJsonError: what has no JSON form, a key that stands twice, a number that ``strict_json`` refuses.
        ModuleNotFoundError: PyYAML is not installed.
    """
    import yaml

    refused = (yaml.AnchorToken, yaml.AliasToken, yaml.TagToken, yaml.DirectiveToken)
    try:
        text = raw.decode("utf-8")
        for token in yaml.scan(text):
            if isinstance(token, refused):
                raise ForbiddenJsonError(f"line {token.start_mark.line + 1}: no anchors, aliases, tags and directives")
        return _value(yaml.compose(text, Loader=yaml.SafeLoader))
    except UnicodeDecodeError as error:
        raise MalformedJsonError(f"byte {error.start} is not UTF-8") from error
    except yaml.YAMLError as error:
        raise MalformedJsonError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ForbiddenJsonError("nested too deeply") from error


def dump(value: Any) -> str:
    """YAML text of what ``to_json`` gives; ``parse`` is the inverse."""
    import yaml

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]  # untyped
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if _plain(value) == value else '"')

    Dumper.add_representer(str, text)
    written: str = yaml.dump(value, Dumper=Dumper, sort_keys=False)
    return written


def _plain(word: str) -> Any:
    if word in _WORDS:
        return _WORDS[word]
    return strict_json.parse(word.encode()) if _NUMBER.fullmatch(word) else word


def _value(node: Any) -> Any:
    if node is None:
        return None
    if node.id == "scalar":
        return _plain(node.value) if node.style is None else node.value
    if node.id == "sequence":
        return [_value(item) for item in node.value]
    found: dict[str, Any] = {}
    for key, value in node.value:
        if key.id != "scalar" or key.value in found:
            raise ForbiddenJsonError(f"line {key.start_mark.line + 1}: expected keys of text, each once")
        found[key.value] = _value(value)
    return found
