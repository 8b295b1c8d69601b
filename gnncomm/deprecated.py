"""What was named otherwise before, still understood for one version, with a ``DeprecationWarning``."""

from __future__ import annotations

import re
import warnings


def plus_for_rounds(text: str) -> str:
    """``mean + gatv2`` as ``mean >> gatv2``: rounds of layers had the sign of channels in series."""
    new = text.replace("+", ">>")
    warnings.warn(f"Rounds of layers are joined by >>: write {new!r} for {text!r}.", DeprecationWarning, stacklevel=3)
    return new


def learner_options(words: list[str]) -> list[str]:
    """``--ppo.lr`` as ``--learner.lr``: there was one learner."""
    new = [re.sub(r"^--ppo\.", "--learner.", word) for word in words]
    if new != words:
        warnings.warn("Settings of the learner are --learner.NAME, no longer --ppo.NAME.", DeprecationWarning, 3)
    return new
