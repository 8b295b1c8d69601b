"""Search for settings: trials of a space, in an Optuna study that processes share."""

from gnncomm.sweep.plan import Plan
from gnncomm.sweep.search import sweep
from gnncomm.sweep.space import Space, configured, read_space, space_of
from gnncomm.sweep.study import Study
from gnncomm.sweep.trial import Done

__all__ = ["Done", "Plan", "Space", "Study", "configured", "read_space", "space_of", "sweep"]
