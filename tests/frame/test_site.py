"""The documentation as a site: every page has its place, every link leads somewhere, what is public has a page."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import tomllib
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
import yaml
from packaging.requirements import Requirement

import gnncomm

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INTERNAL = {"checks", "cli", "deprecated", "gradients", "saved"}
"""Rooms without a page of the reference: nothing in them is for users."""
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def conf() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "conf.py"))


def placed(navigation: dict[str, dict[str, list[str]]]) -> Iterator[str]:
    """Pages of the navigation, one after the other."""
    for page, groups in navigation.items():
        folder = page.rpartition("/")[0]
        own = [f"{folder}/{name}".strip("/") for group in groups.values() for name in group if name != "*"]
        yield from own
        if any("*" in group for group in groups.values()):
            found = (path.relative_to(DOCS).with_suffix("").as_posix() for path in (DOCS / folder).glob("*.md"))
            yield from (name for name in found if name not in (page, *own))


def test_every_page_has_one_place_in_the_navigation(conf: dict[str, Any]) -> None:
    places = sorted(placed(conf["NAVIGATION"]))
    pages = [path for suffix in ("md", "ipynb", "rst") for path in DOCS.rglob(f"*.{suffix}")]
    names = {path.relative_to(DOCS).with_suffix("").as_posix() for path in pages}
    assert places == sorted(name for name in names if name != "index" and not name.startswith(("_templates/", "api/")))


def test_the_front_page_of_the_documentation_leads_to_every_page() -> None:
    linked = {
        link.rpartition(".")[0] for link in re.findall(r"\]\(([\w/.]+)\)", (DOCS / "index.md").read_text("utf-8"))
    }
    assert {path.stem for path in DOCS.glob("*.md")} <= linked | {"index"}


def test_every_public_room_is_in_the_reference() -> None:
    told = set(re.findall(r"^   gnncomm\.(\w+)$", (DOCS / "api.rst").read_text("utf-8"), re.M))
    assert told == set(gnncomm._ROOMS) - INTERNAL


def test_links_that_leave_the_folder_are_led_to_pages_of_the_site(conf: dict[str, Any]) -> None:
    assert conf["inside"]("[a](../CHANGELOG.md#x) [b](../README.md) [c](laws.md)", "laws") == (
        "[a](changelog.md) [b](tour.md) [c](laws.md)"
    )
    assert (
        conf["inside"]("[laws.md](laws.md#x), [envs/own.md](envs/own.md)", "index") == "[](laws.md#x), [](envs/own.md)"
    )
    assert conf["inside"]("[a](../../CHANGELOG.md)", "envs/index") == "[a](../changelog.md)"


def test_a_notebook_is_read_as_a_page(conf: dict[str, Any]) -> None:
    cells = [{"cell_type": "markdown", "source": ["# A\n", "b"]}, {"cell_type": "code", "source": ["x = 1"]}]
    assert conf["as_page"](json.dumps({"cells": cells})) == "# A\nb\n\n```python\nx = 1\n```"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_what_it_said(notebook: Path) -> None:
    content = json.loads(notebook.read_text("utf-8"))
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert len(code) > 3
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    assert len({cell["id"] for cell in content["cells"]}) == len(content["cells"])


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(notebook: Path, tmp_path: Path, python: Any) -> None:
    """Its cells, in order, as one program."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    program = tmp_path / f"{notebook.stem}.py"
    program.write_text("\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"), "utf-8")
    done = python.run(program, folder=tmp_path, env=os.environ | {"MPLBACKEND": "agg"}, seconds=240)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_animation_is_small_whole_and_without_a_script() -> None:
    file = DOCS / "img" / "talk.svg"
    assert file.stat().st_size < 100_000
    picture = ElementTree.fromstring(file.read_text("utf-8"))
    kinds = {element.tag.rpartition("}")[2] for element in picture.iter()}
    assert kinds == {"svg", "style", "rect", "circle", "path", "line", "text", "g"}
    assert [element.text for element in picture.iter() if "last" in element.get("class", "")] == [
        "all met after 9 steps",
        "not met after 20 steps",
    ]


def test_the_animation_shows_every_message_and_every_move() -> None:
    draw = runpy.run_path(str(DOCS / "animation.py"))["draw"]
    env = gnncomm.envs.make("predator_prey", num_envs=1, max_steps=5)
    policy = gnncomm.CommPolicy(env.obs_dim, env.num_actions, gnncomm.layers.MeanComm(8, 8))
    episode = gnncomm.record(policy, env, seed=1, greedy=False)
    drawn = ElementTree.fromstring(draw([("one", episode)]))
    kinds = Counter(element.get("class") for element in drawn.iter())
    assert kinds["said"] == len(episode.messages) == 6 * episode.length
    assert kinds["way"] >= (episode.agents[1:] != episode.agents[:-1]).any(-1).sum()  # more where a cell is shared
    assert kinds["number"] == 3


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert (cited["version"], cited["license"]) == (PROJECT["version"], PROJECT["license"])


def test_forms_for_issues_have_what_a_host_asks_for() -> None:
    for file in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")):
        form = yaml.safe_load(file.read_text("utf-8"))
        if file.name != "config.yml":
            assert {"name", "description", "body"} <= form.keys(), file.name
            assert len({item["id"] for item in form["body"]}) == len(form["body"])


class Page(HTMLParser):
    """What a page of the built site links to, and what can be linked to on it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.anchors.add(said.get("id") or "")
        self.links += [link for name in ("href", "src") if (link := said.get(name)) is not None]


def broken(site: Path) -> list[str]:
    """Links within the site that lead nowhere: pages, anchors, pictures, style sheets."""
    pages = {path: Page(path.read_text("utf-8")) for path in site.rglob("*.html")}
    found = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else None
            if not target.exists() or (anchors is not None and unquote(parts.fragment) not in anchors):
                found.append(f"{path.relative_to(site)}: {link}")
    return found


def test_what_the_reader_of_links_finds(tmp_path: Path) -> None:
    (tmp_path / "b.html").write_text('<h1 id="one">B</h1>')
    page = '<a id="here" href="b.html#one"></a><a href="#here"></a><a href="https://x.y/z"></a>'
    (tmp_path / "a.html").write_text(page + '<a href="b.html#two"></a><img src="none.png"><a href="#there"></a>')
    assert broken(tmp_path) == ["a.html: b.html#two", "a.html: none.png", "a.html: #there"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_site_is_built_without_a_warning(tmp_path: Path, fresh_environment: Any) -> None:
    """From the extra ``docs`` alone, beside what gnncomm needs; then every link in it is followed."""
    place = fresh_environment(linked=[Requirement(text).name for text in PROJECT["dependencies"]])
    place.pip("-c", str(ROOT / "constraints.txt"), *PROJECT["optional-dependencies"]["docs"])
    source = tmp_path / "source"
    source.mkdir()
    for name in ("gnncomm", "envs", "examples"):
        (source / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "CHANGELOG.md", source)
    shutil.copytree(
        DOCS, source / "docs", ignore=shutil.ignore_patterns("api", "__pycache__")
    )  # the reference is written there
    place.python("-m", "sphinx", "-W", "--keep-going", "-n", "-q", str(source / "docs"), str(tmp_path / "site"))
    assert broken(tmp_path / "site") == []
    page = (tmp_path / "site" / "api" / "gnncomm.topology.html").read_text("utf-8")
    assert "Float[Tensor, 'B N P']" in re.sub(r"<[^>]+>", "", page).replace("&#39;", "'")
    assert "shuffled" in (tmp_path / "site" / "searchindex.js").read_text("utf-8")
