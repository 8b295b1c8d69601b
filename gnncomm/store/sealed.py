"""JSON files that carry a hash over themselves, so that not one changed bit of them goes unnoticed.

There is one way to write such an object (ASCII, sorted keys, indent 2, a final newline): what has other bytes was not
written by ``gnncomm``. The hash finds accidents, not an attacker, who can write a new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from gnncomm.store import strict_json


def seal(body: Mapping[str, Any], name: str) -> bytes:
    """The file that holds ``body``, and under the key ``name`` the SHA-256 of the file without that key."""
    return strict_json.dump({**body, name: digest(body)})


def is_sealed(raw: bytes, data: Mapping[str, Any], name: str) -> bool:
    """Whether ``raw``, which reads as ``data``, is what ``seal`` wrote."""
    body = {key: value for key, value in data.items() if key != name}
    return data.get(name) == digest(body) and raw == strict_json.dump(dict(data))


def digest(body: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON object, written in the one way."""
    return hashlib.sha256(strict_json.dump(dict(body))).hexdigest()
