"""The bundled environments, in a checkout: their files are in the folder ``envs`` beside ``gnncomm``.

A wheel holds that folder as ``gnncomm/envs``, and not this file (.build/hatch_build.py).
"""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envs import Flags as Flags
    from envs import GridEnv as GridEnv
    from envs import MultiAgentEnv as MultiAgentEnv
    from envs import make as make
    from envs import names as names

_FOLDER = Path(__file__).parents[1] / "envs"
_spec = spec_from_file_location(__name__, _FOLDER / "__init__.py", submodule_search_locations=[str(_FOLDER)])
assert _spec is not None
assert _spec.loader is not None
sys.modules[__name__] = _package = module_from_spec(_spec)  # what ``import gnncomm.envs`` gives
_spec.loader.exec_module(_package)
