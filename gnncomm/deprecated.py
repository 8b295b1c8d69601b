"""What was named otherwise before, still understood for one version, with a ``DeprecationWarning``."""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

NAMES: dict[str, dict[str, str]] = {
    "gnncomm.codec": {"TopK": "gnncomm.codec:KeepLargest"},
    "gnncomm.layers": {
        "AggregatorComm": "gnncomm.layers:MASIAComm",
        "CellComm": "gnncomm.layers:DCCComm",
        "GraphFormerComm": "gnncomm.layers:CommFormerComm",
        "ImplicitComm": "gnncomm.layers:DICGComm",
        "IncentiveComm": "gnncomm.layers:MAICComm",
        "MagatComm": "gnncomm.layers:MAGATComm",
        "MagicComm": "gnncomm.layers:MAGICComm",
        "PeerComm": "gnncomm.layers:ExpoOnePeerComm",
        "RelationComm": "gnncomm.layers:DGNComm",
        "RelativeComm": "gnncomm.layers:HetGPPOComm",
        "SpreadComm": "gnncomm.layers:ExpoComm",
    },
    "gnncomm.learn": {
        "adam_slots": "gnncomm.learn:optimizer_slots",
        "restore_adam": "gnncomm.learn:restore_optimizer",
    },
    "gnncomm.learn.curriculum": {
        "Schedule": "gnncomm.learn.curriculum:Curve",
        "Switch": "gnncomm.learn.curriculum:Jump",
    },
}
"""Module -> old name -> ``module:attribute`` of what it is called now."""


def names(module: str, home: Mapping[str, str] = MappingProxyType({})) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module with old names. Each is told once, and is an attribute from then on.

    ``home`` says of present names in which file of the package they are, where that is loaded at their first use.
    """

    def found(name: str) -> Any:
        if name in home:
            return getattr(importlib.import_module(f"{module}.{home[name]}"), name)
        if name not in NAMES[module]:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        place, _, new = NAMES[module][name].partition(":")
        _warn(f"{module}.{name} is {place}.{new} now.", 3)
        thing = getattr(importlib.import_module(place), new)
        setattr(sys.modules[module], name, thing)
        return thing

    return found


def overridden(cls: type, **renamed: str) -> None:
    """Take what a subclass calls by an old name (``listen="query"``) for the method of the new name."""
    for old, new in renamed.items():
        if old in vars(cls) and new not in vars(cls):
            _warn(f"{cls.__name__}.{old} is called {new} now: rename it.", 4)
            setattr(cls, new, vars(cls)[old])


def method(old: str, new: str) -> Any:
    """The method ``new`` under its ``old`` name."""

    def renamed(self: Any, *args: Any) -> Any:
        _warn(f"{type(self).__name__}.{old} is called {new} now.", 3)
        return getattr(self, new)(*args)

    return renamed


def plus_for_rounds(text: str) -> str:
    """``mean + gatv2`` as ``mean >> gatv2``: rounds of layers had the sign of channels in series."""
    new = text.replace("+", ">>")
    _warn(f"Rounds of layers are joined by >>: write {new!r} for {text!r}.", 4)
    return new


def released(method: Any, sizes: tuple[int, ...], options: Mapping[str, Any]) -> Any:
    """``methods.NAME(..., faithful=True, mended=[...])``: released networks live apart from what learns and acts."""
    told = {"without_quirks" if name == "mended" else name: value for name, value in options.items()}
    place = "gnncomm.bench.reference"
    _warn(f"Instead of faithful=True, write {place}.released({method.name!r}, ...) for the released network.", 4)
    if not told.pop("faithful"):
        return method(*sizes, **told)
    return importlib.import_module(place).released(method.name, *sizes, **told)


def learner_options(words: list[str]) -> list[str]:
    """``--ppo.lr`` as ``--learner.lr``: there was one learner."""
    new = [re.sub(r"^--ppo\.", "--learner.", word) for word in words]
    if new != words:
        _warn("Settings of the learner are --learner.NAME, no longer --ppo.NAME.", 4)
    return new


def env_state(id: str, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The saved state of an environment today: ``relay`` once kept whether the answer was right, not which."""
    solved = state.get("state.solved") if id.partition("/")[0] == "relay" else None
    if solved is None or "state.symbol" not in state:
        return state
    answer = state["state.symbol"].where(solved, -1)
    return {name: value for name, value in state.items() if name != "state.solved"} | {"state.answer": answer}


def _warn(text: str, level: int) -> None:
    warnings.warn(text, DeprecationWarning, stacklevel=level)
