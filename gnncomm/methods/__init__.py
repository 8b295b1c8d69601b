"""Methods of the literature by name: ``methods.ic3net(obs_dim, num_actions, num_agents)`` is a policy.

``METHODS`` names them all; ``gnncomm train ENV --comm ic3net`` trains one.
"""

from __future__ import annotations

from gnncomm.errors import ConfigError, did_you_mean
from gnncomm.methods import combinations
from gnncomm.methods.combinations import *  # noqa: F403  every method by its name
from gnncomm.methods.method import Method

METHODS: dict[str, Method] = {
    name: value for name, value in sorted(vars(combinations).items()) if isinstance(value, Method)
}
"""Name -> method."""

__all__ = ["METHODS", "Method", "resolve"]


def resolve(name: str) -> Method:
    """The method of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in METHODS:
        raise ConfigError(f"Expected the name of a method, got {name!r}. {did_you_mean(name, list(METHODS))}")
    return METHODS[name]
