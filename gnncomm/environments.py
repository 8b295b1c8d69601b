"""Environments by name: ``gnncomm.register("env", ...)`` or the entry-point group ``gnncomm.envs`` of a package.

What is named is a class (or function) that is called as ``factory(num_envs=, device=, observation=, **settings)`` and
returns a ``gnncomm.types.VectorEnv``. An attribute ``protocols`` (name -> settings), where there is one, adds the full
ids ``entry/name``.

Ids with a prefix name environments of other libraries: ``pettingzoo:mpe2.simple_spread_v3``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gnncomm.errors import ConfigError, TrustError, did_you_mean
from gnncomm.registry import Registry
from gnncomm.registry.table import load

if TYPE_CHECKING:
    import torch

    from gnncomm.types import VectorEnv

COMMON = ("num_envs", "device", "observation")
"""What every factory takes; whatever else it takes is a setting of its environment."""
_FOREIGN = {  # prefix of an id -> what makes a factory from the rest; a name, as this room stands below that one
    "pettingzoo": "gnncomm.integrations.factory:pettingzoo_source",
    "gymnasium": "gnncomm.integrations.factory:gymnasium_source",
    "vmas": "gnncomm.integrations.factory:vmas_source",
}

Factory = Callable[..., "VectorEnv"]


def is_foreign(id: str) -> bool:
    """Whether ``id`` names an environment of another library, which runs in processes of its own."""
    prefix, colon, rest = str(id).partition(":")
    return bool(colon and rest) and prefix in _FOREIGN


def named_code(id: str, settings: Mapping[str, Any]) -> frozenset[str]:
    """What ``id`` and ``settings`` name by a dotted path, to be imported and called: nothing, for listed environments.

    An installed package vouches for what its entry points name; its factory may have a method ``names_code(settings)``
    that gives the settings which name code.
    """
    factory, _ = _find(id)
    own = {str(id)} if is_foreign(id) else set()
    in_settings: Callable[[Mapping[str, Any]], list[str]] = getattr(factory, "names_code", lambda settings: [])
    return frozenset(own | set(in_settings(settings)))


def require_trust(id: str, settings: Mapping[str, Any], spoken: frozenset[str] = frozenset()) -> None:
    """Refuse what a file names by a dotted path, unless the user has ``spoken`` it, too.

    Raises:
        TrustError: names it, and says how to allow it.
    """
    unspoken = sorted(named_code(id, settings) - spoken)
    if unspoken:
        raise TrustError(
            f"Expected an environment of an installed package, but the run names {unspoken[0]!r}: code that would be "
            "imported and run with your rights. If you trust who wrote the run, say so with --trust-env "
            "(load(..., trust_env=True))."
        )


REGISTRY: Registry[Any] = Registry("env", object, {}, sizes=COMMON)


def _protocols(factory: Factory) -> Mapping[str, Mapping[str, Any]]:
    return getattr(factory, "protocols", {})


def names() -> list[str]:
    """All ids, sorted: short names and the full ids of their protocols."""
    found: list[str] = []
    for name, factory in REGISTRY.listing().items():
        found += [name, *(f"{name}/{protocol}" for protocol in _protocols(factory))]
    return sorted(found)


def _find(id: str) -> tuple[Factory, dict[str, Any]]:
    """The factory behind ``id`` and the settings of its protocol."""
    if is_foreign(id):
        prefix, _, rest = str(id).partition(":")
        return load(_FOREIGN[prefix])(rest), {}
    name, _, protocol = str(id).partition("/")
    if name in REGISTRY.names():
        factory: Factory = REGISTRY.find(name)
        if not protocol and "/" not in id:
            return factory, {}
        if protocol in _protocols(factory):
            return factory, dict(_protocols(factory)[protocol])
    hint = did_you_mean(str(id), names(), listed=REGISTRY.names())
    foreign = " or ".join(f"{prefix}:" for prefix in _FOREIGN)
    raise ConfigError(
        f"Expected the id of an environment, got {id!r}. {hint} gnncomm list names all; those of other libraries begin "
        f"with {foreign}"
    )


def _settings(factory: Factory) -> list[str] | None:
    """Names of the settings that ``factory`` takes; None if it takes any."""
    parameters = inspect.signature(factory).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return [p.name for p in parameters if p.name not in COMMON]


def make(
    id: str | Factory | VectorEnv,
    num_envs: int = 1,
    device: str | torch.device = "cpu",
    observation: str = "flat",
    **overrides: Any,
) -> VectorEnv:
    """``num_envs`` environments of the kind ``id``.

        make("predator_prey", num_envs=64, vision=1)
        make(MyEnv, num_envs=64, size=8)  # a class or function of one's own, which nobody has to register

    Args:
        id: A short name (``predator_prey``) or a full id (``predator_prey/10x10-5-v0``), see ``names()``; or one of
            another library (``pettingzoo:MODULE``, ``gymnasium:ID``), see ``gnncomm.integrations.pettingzoo``;
            or what makes one: ``MyEnv(num_envs=, device=, observation=, **overrides)``; or an environment, which is
            given back as it is.
        num_envs: How many advance together.
        device: Where their tensors live.
        observation: ``"flat"`` or ``"sparse"``.
        **overrides: Settings of this environment that differ from its defaults or its protocol.

    Raises:
        ConfigError: An unknown id or setting (with a suggestion), or a value out of range.
        DeviceError: A device this machine does not have.
    """
    from gnncomm.types import VectorEnv

    if isinstance(id, VectorEnv) and not isinstance(id, type):
        return _as_it_is(id, num_envs, overrides)
    factory, chosen = _find(id) if isinstance(id, str) else (id, {})
    if not callable(factory):
        raise ConfigError(f"make: expected an id, a class, a function or an environment, got {id!r}. Pass one of them.")
    called = id if isinstance(id, str) else getattr(id, "__name__", type(id).__name__)
    known = _settings(factory)
    for name in overrides:
        if known is not None and name not in known:
            raise ConfigError(f"Expected settings of {called!r}, got {name!r}. {did_you_mean(name, known)}")
    env: VectorEnv = factory(num_envs=num_envs, device=device, observation=observation, **{**chosen, **overrides})
    env.id = id if isinstance(id, str) else REGISTRY.name_of(factory) or env.id
    return env


def _as_it_is(env: VectorEnv, num_envs: int, overrides: Mapping[str, Any]) -> VectorEnv:
    if overrides or num_envs not in (1, env.num_envs):
        raise ConfigError(
            f"make: expected no settings beside an environment, which has {env.num_envs} slots and is given back as it "
            f"is, got num_envs={num_envs} and {dict(overrides)}. Pass its class."
        )
    return env


def require(id: str) -> None:
    """Refuse an ``id`` that names no environment.

    Raises:
        ConfigError: says which are known.
    """
    _find(id)


def grid_setting(id: str) -> str | None:
    """The setting of ``id`` that is the side of its grid; None where there is no grid."""
    factory, _ = _find(id)
    return getattr(factory, "grid_setting", None)


def summaries() -> dict[str, str]:
    """The first sentence of every environment's docstring, by short name."""
    return {
        name: " ".join((inspect.getdoc(factory) or "").split("\n\n")[0].split())
        for name, factory in REGISTRY.listing().items()
    }
