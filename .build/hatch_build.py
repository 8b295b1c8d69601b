"""A wheel holds the folder ``envs`` as ``gnncomm/envs``; an editable installation finds it through gnncomm/envs.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class EnvsInside(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_data["force_include"][str(Path(self.root) / "envs")] = "gnncomm/envs"
