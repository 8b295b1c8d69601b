"""Environments of their own, for the packages whose numbers ours are compared with."""

from __future__ import annotations

from tests.frame.conftest import fresh_environment

__all__ = ["fresh_environment"]
