"""Finding environments by name: bundled ones and those of other packages."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import pytest
from gnncomm.envs.relay import Relay

import gnncomm
from gnncomm import envs
from gnncomm.errors import ConfigError


class Mine(Relay):
    """What a user's package would bring."""

    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {"long-v0": {"num_agents": 6}}


@pytest.fixture
def users(installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Adds environments of a user's package."""
    module = types.ModuleType("users_package")
    module.Mine, module.number = Mine, 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "users_package", module)
    return partial(installed, "gnncomm.envs")


def test_a_users_environment_is_found(users: Callable[..., None]) -> None:
    users(mine="users_package:Mine")
    assert {"mine", "mine/long-v0"} <= set(envs.names())
    assert type(envs.make("mine")) is Mine
    env = envs.make("mine/long-v0", num_envs=2, num_symbols=3)
    assert (env.id, env.num_agents, env.num_actions) == ("mine/long-v0", 6, 3)
    assert envs.make("mine/long-v0", num_agents=2).num_agents == 2


def test_one_name_for_two_environments(users: Callable[..., None]) -> None:
    users(relay="gnncomm.envs.relay:Relay")
    users(relay="gnncomm.envs.relay:Relay")
    envs.make("relay")
    users(relay="users_package:Mine", mine="users_package:Mine")
    with pytest.raises(ConfigError, match=r"one env 'relay'.*envs.relay:Relay.*users_package:Mine"):
        envs.make("relay")
    assert envs.names() == ["mine", "mine/long-v0"], "other names stay"


def test_an_entry_that_is_no_environment(users: Callable[..., None]) -> None:
    users(three="users_package:number")
    with pytest.raises(ConfigError, match="users_package:number to be a class or a function"):
        envs.make("three")


@pytest.mark.parametrize(
    ("id", "said"),
    [
        ("predator_pray", "Did you mean 'predator_prey'"),
        ("predator_prey/5x5-3-v1", "Did you mean 'predator_prey/5x5-3-v0'"),
        ("predator_prey/", "got 'predator_prey/'"),
        ("relay/5x5-3-v0", "got 'relay/5x5-3-v0'"),
        ("", "Known: battle, chemical, chemical_reaction, coverage"),
        ("../relay", "Known: battle, chemical, chemical_reaction, coverage"),
    ],
)
def test_unknown_id(id: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        envs.make(id)
    with pytest.raises(ConfigError):
        gnncomm.default_config(id)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"visoin": 1}, "Did you mean 'vision'"), ({"wind": (0, 0)}, "got 'wind'"), ({"form": "flat"}, "got 'form'")],
)
def test_unknown_setting(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        envs.make("predator_prey", **settings)


def test_attributes_of_the_package() -> None:
    assert set(envs.__all__) <= set(dir(envs))
    with pytest.raises(AttributeError, match="no attribute 'mke'"):
        envs.mke  # noqa: B018


def test_a_class_a_function_or_an_environment_of_ones_own_needs_no_name() -> None:
    """What is nowhere registered is made like what is; a suggestion is made for its settings, too."""
    env = envs.make(Relay, num_envs=4, num_symbols=3)
    assert (env.num_envs, env.num_actions, env.id) == (4, 3, "relay")
    assert (
        envs.make(lambda num_envs, device, observation: Relay(num_envs, device, observation), num_envs=2).num_envs == 2
    )
    assert envs.make(env) is envs.make(env, num_envs=4) is env
    with pytest.raises(ConfigError, match=r"settings of 'Relay', got 'num_symbol'\. Did you mean 'num_symbols'"):
        envs.make(Relay, num_symbol=3)
    with pytest.raises(ConfigError, match="has 4 slots and is given back as it is"):
        envs.make(env, num_envs=5)
    with pytest.raises(ConfigError, match="expected an id, a class, a function or an environment, got 5"):
        envs.make(5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"Relay: expected settings, got 'num_symbol'\. Did you mean"):
        Relay(num_symbol=3)
