"""What was named otherwise before, still understood for one version, with a ``DeprecationWarning``."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Mapping
from typing import Any


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


def _warn(text: str, level: int) -> None:
    warnings.warn(text, DeprecationWarning, stacklevel=level)
