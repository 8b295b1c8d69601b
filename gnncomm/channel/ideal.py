"""A medium that does nothing."""

from __future__ import annotations

from dataclasses import dataclass

from gnncomm.channel.base import Channel


@dataclass(frozen=True)
class Ideal(Channel):
    """Every message arrives, unchanged."""
