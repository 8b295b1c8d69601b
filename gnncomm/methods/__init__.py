"""Methods of the literature by name: ``methods.ic3net(obs_dim, num_actions, num_agents)`` is a policy.

``METHODS`` names them all; ``gnncomm train ENV --comm ic3net`` trains one.
"""

from __future__ import annotations

from gnncomm.methods import combinations
from gnncomm.methods.combinations import *  # noqa: F403  every method by its name
from gnncomm.methods.method import Method
from gnncomm.registry import Registry

METHODS: dict[str, Method] = {
    name: value for name, value in sorted(vars(combinations).items()) if isinstance(value, Method)
}
"""Name -> method of the house."""

REGISTRY: Registry[Method] = Registry("method", Method, METHODS)

__all__ = ["METHODS", "Method", "names", "resolve"]


def names() -> list[str]:
    """All methods, also those of other packages."""
    return REGISTRY.names()


def resolve(name: str) -> Method:
    """The method of that name.

    Raises:
        ConfigError: there is none.
    """
    found: Method = REGISTRY.find(name)
    return found
