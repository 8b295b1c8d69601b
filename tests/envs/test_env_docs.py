"""The pages on environments: their code runs, and every environment has one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import envs

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
