"""Checks of what only foreign environments are given; ``gnncomm.checks`` has the rest."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gnncomm.errors import CheckpointMismatchError, ConfigError

_SLICE = re.compile(r"observation\[(\d+):(\d+)\]")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def positions(text: object) -> tuple[tuple[int, int] | None, str | None]:
    """Slice of the observation, or name of a function; neither for None."""
    if text is None:
        return None, None
    found = _SLICE.fullmatch(text) if isinstance(text, str) else None
    if found is not None and int(found[1]) < int(found[2]):
        return (int(found[1]), int(found[2])), None
    if isinstance(text, str) and _FUNCTION.fullmatch(text):
        return None, text
    raise ConfigError(
        f"pos: expected 'observation[2:4]' or 'module:function', got {text!r}. Name the entries of an agent's "
        "observation, or a function that gives a dict from agents to coordinates."
    )


def area(text: object) -> tuple[float, float]:
    """``"low:high"`` as two numbers."""
    parts = text.split(":") if isinstance(text, str) else []
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"area: expected 'low:high' with low < high, such as '-1:1', got {text!r}. Choose another.")
    return low, high


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they come out of JSON."""
    try:
        same: dict[str, Any] = json.loads(json.dumps(settings, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"Expected settings that JSON can hold, since they go to other processes, got {dict(settings)!r} "
            f"({error}). Write a function in a module of yours that makes the environment, and name it "
            "'pettingzoo:module:function'."
        ) from error
    return same


def replayable(state: Mapping[str, Tensor], max_steps: int, bounds: tuple[Tensor, Tensor], id: str) -> None:
    """Counters and actions that an episode can have; whoever replays it counts on them."""
    step_B, actions_BTN = state["step"], state["actions"]
    bad = {
        "seed": (state["seed"] < 0).any(),
        "episode": (state["episode"] < 0).any(),
        "step": ((step_B < 0) | (step_B > max_steps)).any(),
        "actions": ~(((actions_BTN >= bounds[0]) & (actions_BTN <= bounds[1])) | (actions_BTN == 0)).all(),
    }
    for name, wrong in bad.items():
        if bool(wrong):
            raise CheckpointMismatchError(
                f"load_state_dict: expected {name} of {id!r} in its range, got one outside. Load the state as saved."
            )


def seconds(name: str, value: object) -> float:
    """A positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f"{name}: expected a positive number of seconds, got {value!r}. Choose another.")
    return float(value)
