"""What there is to choose from, kept until an installed file changes: to describe it anew takes torch and seconds."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gnncomm import __version__
from gnncomm.config import from_json
from gnncomm.errors import GnnCommError
from gnncomm.registry import KINDS, Description, described
from gnncomm.registry.table import added, strangers

_MAX_BYTES = 1 << 24


@dataclass(frozen=True)
class Listing:
    """Everything that has a name, by kind."""

    kinds: Mapping[str, tuple[Description, ...]] = field(default_factory=dict)


def described_of(kind: str) -> list[Description]:
    """As ``described``, from the memory if there is one."""
    known = _listing()
    found = described(kind) if known is None else list(known.kinds[kind])
    return found if added(kind).keys() <= {one.name for one in found} else described(kind)


@functools.cache
def _listing() -> Listing | None:
    """All kinds, from the memory, which is made if need be.

    None where it would save nothing, and where packages of others take part, whose files nobody watches here.
    """
    if "torch" in sys.modules or strangers():
        return None
    place = _folder() / f"listing-{_mark()}.json"
    known = _read(place)
    if known is None:
        known = Listing({kind: tuple(described(kind)) for kind in KINDS})
        _write(place, known)
    return known


def _folder() -> Path:
    own = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(own) if os.path.isabs(own) else Path.home() / ".cache") / "gnncomm"


def _sources() -> Iterator[Path]:
    home = Path(__file__).parents[1]
    yield from sorted(home.rglob("*.py"))
    yield from sorted((home.parent / "envs").rglob("*.py") if (home / "envs.py").exists() else ())


def _mark() -> str:
    """Of this version, of Python's, and of every source file."""
    found = hashlib.sha256(f"{__version__} {sys.version}".encode())
    for path in _sources():
        status = path.stat()
        found.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return found.hexdigest()[:16]


def _read(place: Path) -> Listing | None:
    try:
        if not place.is_file() or place.stat().st_size > _MAX_BYTES:  # a FIFO would never end
            return None
        known = from_json(Listing, json.loads(place.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, GnnCommError):
        return None
    return known if known.kinds.keys() == KINDS.keys() else None


def _write(place: Path, known: Listing) -> None:
    """Whoever has no place for it describes anew each time."""
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        for old in place.parent.glob("listing-*.json"):
            old.unlink()
        draft = place.with_name(f".tmp-{os.getpid()}")
        draft.write_text(json.dumps(asdict(known)) + "\n", encoding="utf-8")
        draft.replace(place)
