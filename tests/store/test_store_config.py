"""Configurations to JSON and back, and rows 34 to 39 and 43 of the table of bad inputs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnncomm.errors import ConfigError, UnsafePathError
from gnncomm.store import from_json, read_json, to_json, write_json_atomic


class Critic(StrEnum):
    LOCAL = "local"
    CENTRAL = "central"


@dataclass(frozen=True)
class Ppo:
    lr: float = 3e-4
    epochs: int = 4
    clip: float | None = 0.2


@dataclass(frozen=True)
class Train:
    env: str
    ppo: Ppo = Ppo()
    warmup: Ppo | None = None
    critic: Critic = Critic.LOCAL
    memory: Literal["none", "gru", "lstm"] = "gru"
    hidden: tuple[int, ...] = (64, 64)
    size: tuple[int, float] = (5, 1.0)
    stages: tuple[Ppo, ...] = ()
    overrides: Mapping[str, bool | int | float | str | None] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = False
    budget: int | float = 1


finite = st.floats(allow_nan=False, allow_infinity=False)
ppos = st.builds(Ppo, lr=finite, epochs=st.integers(), clip=st.none() | finite)
scalars = st.none() | st.booleans() | st.integers() | finite | st.text()
trains = st.builds(
    Train,
    env=st.text(),
    ppo=ppos,
    warmup=st.none() | ppos,
    critic=st.sampled_from(Critic),
    memory=st.sampled_from(["none", "gru", "lstm"]),
    hidden=st.lists(st.integers()).map(tuple),
    size=st.tuples(st.integers(), finite),
    stages=st.lists(ppos, max_size=3).map(tuple),
    overrides=st.dictionaries(st.text(), scalars),
    extra=st.dictionaries(st.text(), st.recursive(scalars, st.lists, max_leaves=5)),
    resume=st.booleans(),
    budget=st.integers() | finite,
)


@settings(max_examples=200, deadline=None)
@given(trains)
def test_every_configuration_survives_json(config: Train) -> None:
    text = json.dumps(to_json(config), allow_nan=False)
    again = from_json(Train, json.loads(text))
    assert again == config
    assert isinstance(again.critic, Critic)
    assert type(again.budget) is type(config.budget)
    assert [type(value) for value in again.overrides.values()] == [type(value) for value in config.overrides.values()]


def test_what_is_written_by_hand() -> None:
    config = from_json(Train, {"env": "relay", "ppo": {"lr": 1, "clip": None}, "hidden": [8], "critic": "central"})
    assert config == Train("relay", ppo=Ppo(lr=1.0, clip=None), hidden=(8,), critic=Critic.CENTRAL)
    assert type(config.ppo.lr) is float
    assert to_json(config)["critic"] == "central"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"env": "x", "ppo": {"lrr": 1}}, "Unknown key 'lrr' in ppo. Did you mean 'lr'?"),
        ({"env": "x", "stages": [{}, {"lrr": 1}]}, r"Unknown key 'lrr' in stages\[1\]. Did you mean 'lr'?"),
        ({"enw": "x"}, "Unknown key 'enw' in Train. Did you mean 'env'?"),
        ({}, "Missing key 'env' in Train"),
        ({"env": 3}, "env: expected str, got int 3"),
        ({"env": "x", "ppo": {"lr": "1e-3"}}, "ppo.lr: expected float, got str '1e-3'"),
        ({"env": "x", "ppo": {"lr": True}}, "ppo.lr: expected float, got bool"),
        ({"env": "x", "ppo": {"lr": 10**400}}, "ppo.lr: expected a finite number"),
        ({"env": "x", "ppo": {"lr": float("nan")}}, "ppo.lr: expected a finite number"),
        ({"env": "x", "ppo": {"clip": float("inf")}}, "ppo.clip: expected a finite number"),
        ({"env": "x", "ppo": {"epochs": True}}, "ppo.epochs: expected int, got bool True"),
        ({"env": "x", "ppo": {"epochs": 1.0}}, "ppo.epochs: expected int, got float 1.0"),
        ({"env": "x", "ppo": None}, "ppo: expected an object with keys, got null"),
        ({"env": "x", "ppo": [1]}, "ppo: expected an object with keys, got list"),
        ({"env": "x", "resume": 1}, "resume: expected bool, got int 1"),
        ({"env": "x", "critic": "centrall"}, "critic: 'centrall' is not a choice. Did you mean 'central'?"),
        ({"env": "x", "memory": None}, "memory: None is not a choice"),
        ({"env": "x", "hidden": 64}, "hidden: expected a list, got int 64"),
        ({"env": "x", "hidden": [64, "a"]}, r"hidden\[1\]: expected int, got str 'a'"),
        ({"env": "x", "size": [1]}, "size: expected 2 items, got 1"),
        ({"env": "x", "overrides": {"a": [1]}}, "overrides.a: expected bool, got list"),
        ({"env": "x", "overrides": {1: 2}}, "overrides: expected text keys, got int 1"),
        ({"env": "x", "overrides": {"_target_": "os.system"}}, "Key '_target_' in overrides is not allowed"),
        ({"env": "x", "extra": {"deep": [{"_target_": "os.system"}]}}, r"'_target_' in extra.deep\[0\] is not allowed"),
        ({"env": "x", "extra": {"a": float("nan")}}, "extra.a: expected a finite number"),
        ({"env": "x", "extra": {"a": {1}}}, "extra.a: expected a JSON value, got set"),
        ([], "Train: expected an object with keys, got list"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_mistakes_are_named(data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_json(Train, data)


@pytest.mark.parametrize("bad", [{"hidden": [1, 2]}, {"ppo": Ppo(lr=float("nan"))}, {"env": 3}])
def test_a_configuration_of_wrong_types_is_not_written(bad: dict[str, Any]) -> None:
    config = Train(**({"env": "x"} | bad))
    with pytest.raises(ConfigError):
        to_json(config)


def test_annotations_without_a_json_form_are_our_own_mistake() -> None:
    @dataclass(frozen=True)
    class A:
        x: int = 0

    @dataclass(frozen=True)
    class B:
        x: int = 0

    for annotation in (set[int], A | B, Mapping[int, str], object):
        cls = dataclass(frozen=True)(type("C", (), {"__annotations__": {"field": annotation}}))
        with pytest.raises(TypeError, match="field"):
            from_json(cls, {"field": {}})


@pytest.mark.parametrize(
    "raw",
    [b'{"env": "x"}', b'\xef\xbb\xbf{"env": "x"}', b'{\r\n"env": "x"\r\n}\r\n'],
    ids=["plain", "byte order mark", "CRLF"],
)
def test_files_of_other_editors_are_read(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(raw)
    assert read_json(tmp_path / "c.json") == {"env": "x"}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is empty"),
        (b" \r\n", "is empty"),
        (b"\x00\x01\xff\xfe", "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'{"name": "caf\xe9"}', "not UTF-8"),
        (b"{", "line 1"),
        (b"lr: 1e-3", "line 1"),
        (b"[1]", "expected a JSON object, got list"),
        (b'{"lr": 1, "lr": 2}', "duplicate key 'lr'"),
        (b'{"a": {"b": 1, "b": 1}}', "duplicate key 'b'"),
        (b'{"lr": NaN}', "NaN"),
        (b'{"lr": -Infinity}', "Infinity"),
        (b'{"lr": 1e999}', "not finite"),
        (b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deeply"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "digits"),
        (b'{"a": "' + b"x" * (2 << 20) + b'"}', "at most"),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_files_that_are_no_configuration(raw: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(raw)
    start = time.monotonic()
    with pytest.raises(ConfigError, match=message) as caught:
        read_json(tmp_path / "c.json")
    assert caught.value.exit_code == 65
    assert time.monotonic() - start < 1


def test_places_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file") as caught:
        read_json(tmp_path / "missing.json")
    assert caught.value.exit_code == 66
    os.mkfifo(tmp_path / "fifo")
    for place in (tmp_path, tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="expected a regular file") as caught:
            read_json(place)
        assert caught.value.exit_code == 65


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name in ("fifo", "link", "folder"):
        before = (tmp_path / name).lstat()
        with pytest.raises(UnsafePathError, match=r"expected a regular file.*Not replaced"):
            write_json_atomic(tmp_path / name, {"a": 1})
        assert (tmp_path / name).lstat() == before
    assert sorted(os.listdir(tmp_path)) == ["fifo", "folder", "link"]


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.json"
    write_json_atomic(path, {"a": 1})
    for bad in ({"a": float("nan")}, {"a": {1}}):
        with pytest.raises(ConfigError):
            write_json_atomic(path, bad)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_json_atomic(path, {"a": 2})
    assert read_json(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["c.json"]
