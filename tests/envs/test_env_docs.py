"""The pages on environments: their code runs, and every environment has one."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from gnncomm import envs
from gnncomm.errors import ConfigError
from gnncomm.registry import describe
from gnncomm.types import Named

PAGES = Path(__file__).parents[2] / "docs" / "envs"
BLOCKS = [
    (page.name, block)
    for page in sorted(PAGES.glob("*.md"))
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
]


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_code_runs(page: str, block: str) -> None:
    exec(compile(block, page, "exec"), {})


def test_every_environment_has_a_page_that_names_its_settings() -> None:
    assert len(BLOCKS) >= 3
    for name in {x.partition("/")[0] for x in envs.names()}:
        text = (PAGES / f"{name}.md").read_text()
        assert [key for key in envs.make(name).config if f"`{key}`" not in text] == []  # type: ignore[attr-defined]
    rows = {row.split("`")[1]: row for row in (PAGES / "index.md").read_text().splitlines() if row.startswith("| `")}
    for full in envs.names():
        name, _, protocol = full.partition("/")
        assert name in rows
        assert not protocol or f"`/{protocol}`" in rows[name], full


SHORT = sorted({name.partition("/")[0] for name in envs.names()})
WORDS = ("integer of at least", "number in [", "True or False", "one of [")


def rows_of_settings(name: str) -> dict[str, tuple[str, str]]:
    """Setting -> (default, values), from the table of the page."""
    _, _, table = (PAGES / f"{name}.md").read_text().partition("| setting | default | values |\n|---|---|---|\n")
    lines = [re.split(r"(?<!\\)\|", line) for line in table.partition("\n\n")[0].splitlines()]
    return {line[1].strip(" `"): (line[2].strip(), line[3].strip()) for line in lines}


def wanted_by(make: Any, setting: str, settings: dict[str, Any]) -> str:
    """How the constructor says what it accepts."""
    with pytest.raises(ConfigError) as caught:
        make(**{**settings, setting: object()})
    return str(caught.value).partition(", got <object")[0]


def as_message(values: str, config: dict[str, Any]) -> str | None:
    """The range of a row in the constructor's words; bounds may be expressions of other settings."""
    text = values.partition(";")[0]
    bound = lambda x: eval(x, {"max": max}, dict(config))  # noqa: E731
    if match := re.fullmatch(r"whole, (\d+) or more", text):
        return f"an integer of at least {match[1]}"
    if match := re.fullmatch(r"whole, (\d+) \.\.\. (.+)", text):
        return f"an integer of at least {match[1]} and at most {bound(match[2])}"
    if match := re.fullmatch(r"number(?:, (?:(\S+) \.\.\. (\S+)|(\S+) or more|at most (\S+)))?", text):
        low, high = match[1] or match[3] or "-inf", match[2] or match[4] or "inf"
        return f"a number in [{float(low)}, {float(high)}]"
    if text == "`True`, `False`":
        return "True or False"
    if re.fullmatch(r"(`\w+`, )+`\w+`", text):
        return f"one of {re.findall(r'`(.+?)`', text)}"
    return None


@pytest.mark.parametrize("name", SHORT)
def test_the_page_says_what_the_constructor_accepts(name: str) -> None:
    """Every setting with its default and its values, also where bounds depend on other settings."""
    factory: Any = type(envs.make(name))
    parameters = [p for p in inspect.signature(factory).parameters.values() if p.kind is p.KEYWORD_ONLY]
    rows = rows_of_settings(name)
    assert list(rows) == [p.name for p in parameters]
    config = envs.make(name).config  # type: ignore[attr-defined]
    other = {key: config[key] + 2 for key in ("num_agents", factory.grid_setting) if key in config and key != "lengths"}
    if name == "hallway":  # as many agents as corridors
        other = {}
    for parameter in parameters:
        default, values = rows[parameter.name]
        assert default == repr(parameter.default), parameter.name
        for settings in ({}, other):
            message = as_message(values, envs.make(name, **settings).config)  # type: ignore[attr-defined]
            found = wanted_by(factory, parameter.name, settings)
            if message is None:
                assert not any(word in found for word in WORDS) or parameter.name == "shape", (parameter.name, values)
            else:
                assert found.endswith(f"expected {message}"), parameter.name


@pytest.mark.parametrize("name", SHORT)
def test_every_setting_says_what_it_means(name: str) -> None:
    settings = describe("env", name).parameters
    assert settings
    assert [one.name for one in settings if not one.line] == []


WAY = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1), "stay": (0, 0)} | {
    "north": (-1, 0), "south": (1, 0), "west": (0, -1), "east": (0, 1), "brake": (0, 0)
}  # fmt: skip


@pytest.mark.parametrize("name", SHORT)
def test_actions_do_what_they_are_called(name: str) -> None:
    env = envs.make(name, num_envs=8)
    assert isinstance(env, Named)
    assert len(env.action_names) == (0 if name == "relay" else env.num_actions)
    assert len(set(env.action_names)) == len(env.action_names)
    moved = set()
    for number, called in enumerate(env.action_names):
        way = WAY.get(called) or (tuple(map(int, called[3:].split(","))) if called.startswith("go ") else None)
        if way is None:
            continue
        now, before = env.reset(seed=0), env.scene().agents
        if now.action_mask is not None and not now.action_mask[..., number].any():
            continue
        after = env.step(torch.full((8, env.num_agents), number))
        step = (env.scene().agents - before)[now.alive & after.alive & ~after.done[:, None]]
        there = (step == torch.tensor(way)).all(-1)
        assert (there | (step == 0).all(-1)).all(), called
        moved |= {called} if (there & (step != 0).any(-1)).any() else set()
    walks = [called for called in env.action_names if called in ("up", "down", "left", "right") or "go " in called]
    assert moved >= set(walks)
