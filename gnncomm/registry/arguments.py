"""Things that remember what they were made with, so that they can be named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self


class Remembers:
    """Base of things that are no dataclasses: keeps the arguments of the constructor, for ``spec_of``.

    A layer keeps what follows from its arguments, ``msg_channels=64`` where None was said; a text needs what was said.
    """

    def __new__(cls, *args: Any, **settings: Any) -> Self:
        self = super().__new__(cls)
        remember(self, cls, args, settings)
        return self


def remember(thing: object, maker: Any, args: tuple[Any, ...], settings: Mapping[str, Any]) -> None:
    """Keep in ``thing`` that ``maker(*args, **settings)`` made it."""
    vars(thing)["_made_by"] = (maker, args, dict(settings))


def made_by(thing: object) -> tuple[Any, tuple[Any, ...], dict[str, Any]] | None:
    """``(maker, args, settings)``, where they were kept."""
    found: tuple[Any, tuple[Any, ...], dict[str, Any]] | None = getattr(thing, "__dict__", {}).get("_made_by")
    return found
