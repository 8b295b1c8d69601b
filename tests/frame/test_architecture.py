"""docs/architecture.md is the map of what is there: its rooms and levels, the code behind its words, its links."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import gnncomm
from tests.frame.test_imports import OPEN_TO_ENVS, RANK

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGE = (DOCS / "architecture.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def test_rooms_and_their_levels() -> None:
    told = {room: int(level) - 1 for level, room in re.findall(r"^\| (\d+) \| `(\w+)` \| .+ \|$", PAGE, re.M)}
    assert told == RANK
    rooms = {
        path.stem for path in (ROOT / "gnncomm").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert told.keys() == rooms - {"__init__", "envs"}
    (open_to_envs,) = re.findall(r"It may import (.+?),? and nothing", PAGE.replace("\n", " "))
    assert set(re.findall(r"`(\w+)`", open_to_envs)) == OPEN_TO_ENVS


def code_names() -> list[str]:
    (table,) = re.findall(r"^## Glossary\n(.*)", PAGE, re.S | re.M)
    return re.findall(r"\| `gnncomm\.([\w.]+)` \|$", table, re.M)


def test_the_glossary_names_code() -> None:
    names = code_names()
    assert len(names) > 25
    for name in names:
        room, _, attribute = name.rpartition(".")
        home = importlib.import_module(f"gnncomm.{room}") if room else gnncomm
        assert getattr(home, attribute), name


def links(page: Path) -> set[Path]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    found = re.findall(r"\]\(([^)#\s]+)", text)
    return {(page.parent / link).resolve() for link in found if "://" not in link}


def anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert [link for link in links(page) if not link.exists()] == []
    for target, anchor in re.findall(r"\]\(([\w./]*)#([\w-]+)\)", page.read_text(encoding="utf-8")):
        assert anchor in anchors((page.parent / target) if target else page), f"{target}#{anchor}"


def test_every_page_is_reached_from_the_front_page() -> None:
    reached, ahead = set(), {ROOT / "README.md"}
    while ahead:
        page = ahead.pop()
        reached.add(page)
        ahead |= {link for link in links(page) if link.suffix == ".md" and link.exists()} - reached
    assert {page.relative_to(ROOT) for page in PAGES if page not in reached} == set()
