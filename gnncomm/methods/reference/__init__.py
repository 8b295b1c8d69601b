"""The networks of the released codes, quirks included: their weights load by their own names, their numbers come out.

One paper, one file. ``Reference.replay`` feeds a recorded case; ``gnncomm bench parity`` compares.
"""

from __future__ import annotations

from gnncomm.methods.reference.base import Case, Reference, load_cases

REFERENCES: dict[str, type[Reference]] = {}
"""Name of the recorded file -> network."""

__all__ = ["REFERENCES", "Case", "Reference", "load_cases"]
