"""What is in a page, read without a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnncomm.errors import ConfigError
from gnncomm.recording import compare_page, page_html, replay_page
from gnncomm.recording.page import worlds
from gnncomm.recording.page.measures import measures
from gnncomm.recording.page.numbers import packed, packed_places
from gnncomm.recording.page.worlds import world_of

from .episodes import HOSTILE, episode, hostile


def worlds_in(text: str) -> list[dict[str, Any]]:
    """Heads of a page, with ``arrays`` as bytes."""
    found = re.findall(r'<script type="text/plain" id="data">([A-Za-z0-9+/=]*)</script>', text)
    assert len(found) == 1
    raw = base64.b64decode(found[0])
    at = 4 + int.from_bytes(raw[:4], "little")
    heads: list[dict[str, Any]] = json.loads(zlib.decompress(raw[4:at], -15))["worlds"]
    for head in heads:
        arrays = {}
        for name, spec in head["arrays"]:
            arrays[name] = spec | {"raw": zlib.decompress(raw[at : at + spec["bytes"]], -15)}
            at += spec["bytes"]
        head["arrays"] = arrays
    assert at == len(raw)
    return heads


def test_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    text = replay_page(episode(), tmp_path / "a.html").read_text("utf-8")
    policy = unescape(re.findall(r'Content-Security-Policy" content="([^"]*)"', text)[0])
    assert policy.startswith("default-src 'none'; ")
    for tag in ("script", "style"):
        inside = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        assert len(inside) == 1
        digest = base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r'(?:src|href)="(?!#|data:)', text)
    assert not re.search(
        r"https?://|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text
    )
    assert replay_page(episode(), tmp_path / "b.html").read_text("utf-8") == text, "equal episodes, equal bytes"


def test_no_text_of_an_episode_becomes_markup() -> None:
    text = page_html([hostile()], [HOSTILE])
    assert len(re.findall("<script", text)) == len(re.findall("</script", text)) == 2
    assert not re.search("<img|<!--|\u2028|\u2029", text)
    assert "{{" not in re.sub(r"<script>.*?</script>", "", text.replace("{{data}}", ""), flags=re.S)
    (head,) = worlds_in(text)
    assert head["title"] == head["env"] == head["entities"][0] == head["marks"][0] == HOSTILE
    assert head["seed"] == str(2**62)


def test_curves_by_hand() -> None:
    # Step 0: agent 2 reads two messages alike (1 bit), agent 0 two at 0.75 and 0.25, agent 1 a single one.
    rows = np.array([(0, 0, 0, 2), (0, 0, 1, 2), (0, 0, 1, 0), (0, 0, 2, 0), (0, 0, 0, 1)], np.int64)
    weight = np.array([0.5, 0.5, 0.75, 0.25, 1.0], np.float32)
    plain = episode(2, rewards=np.array([[1, 2, 3], [0, 0, 3]], np.float32), lost=np.array([[1, 0, 0, 1]], np.int64))
    made = replace(plain, messages=rows, weight=weight, sent=None, contents=None, symbols=None)
    found = measures(made)
    np.testing.assert_allclose(found["return"], [2.0, 3.0])
    np.testing.assert_allclose(found["messages"], [5, 0])
    np.testing.assert_allclose(found["lost"], [0, 1])
    np.testing.assert_allclose(found["bits"], [48, 48])
    np.testing.assert_allclose(found["entropy"], [(1 + 0.8112781) / 2, np.nan], rtol=1e-6)
    assert "entropy" not in measures(replace(made, attention=False))


def test_what_is_said_to_many_is_kept_once() -> None:
    (head,) = worlds_in(page_html([episode(agents=5)], ["a"]))
    assert head["arrays"]["said"]["shape"] == [len(episode(agents=5).messages)]
    assert head["arrays"]["vectors"]["shape"] == [6 * 5, 2], "round 0 says what round 1 said a step before"


def test_a_page_of_the_budget() -> None:
    """10 agents for 80 steps, two rounds, messages of 16 noisy numbers that nobody could press together."""
    rng, plain = np.random.default_rng(1), episode(80, 10, 20)
    places = np.clip(rng.integers(-1, 2, (81, 10, 2)).cumsum(0) + 10, 0, 19).astype(np.float32)
    said = rng.normal(size=(81, 10, 16)).astype(np.float32)
    heard = replace(
        plain,
        agents=places,
        contents=said[plain.sent, plain.messages[:, 2]],  # type: ignore[index]  # has sent
        symbols=None,
        observations=rng.normal(size=(80, 10, 30)).astype(np.float16),
        chances=rng.dirichlet(np.ones(5), (80, 10)).astype(np.float32),
        action_names=(),
    )
    assert len(page_html([heard], ["a"])) < 300_000


def test_what_does_not_fit_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    made = replace(episode(), left_out=("field",))
    whole = world_of(made, "a")
    assert whole.head["missing"] == ["the background (the recording left them out: too large)"]
    assert "observations" in whole.arrays
    needed = sum(len(array.data) for name, array in whole.arrays.items() if name != "observations")
    tight = world_of(made, "a", needed)
    assert tight.head["missing"][1:] == ["observations (too large for a page)"]
    assert set(whole.arrays) - set(tight.arrays) == {"observations"}
    with pytest.raises(ConfigError, match=r"Expected an episode that a page can show .* got \d+ bytes of places"):
        world_of(made, "a", 10)

    monkeypatch.setattr(worlds, "MAX_MESSAGES", 18)  # 3 for each step
    thin = world_of(made, "a")
    assert thin.head["missing"][1] == "43 of 61 messages (the 3 heaviest of each step are shown)"
    heaviest = sorted(made.weight[made.messages[:, 0] == 2])[-3:]
    weights = np.frombuffer(zlib.decompress(thin.arrays["weight"].data, -15), np.uint8).reshape(2, -1).T
    np.testing.assert_array_equal(
        np.sort(np.ascontiguousarray(weights).view(np.float16).ravel()[6:9]), np.float16(heaviest)
    )


@pytest.mark.parametrize(("steps", "agents"), [(1, 2001), (20_001, 1), (5_000, 1_500)])
def test_what_no_page_can_show_is_refused(steps: int, agents: int) -> None:
    blank = episode(1, 3)
    still = {"agents": np.zeros((steps + 1, agents, 2), np.float32), "entities": {}, "active": {}, "marks": {}}
    flags = dict.fromkeys(("finished", "alive"), np.ones((steps + 1, agents), bool))
    none: dict[str, Any] = dict.fromkeys(
        ("sent", "contents", "symbols", "observations", "chances", "values", "spoke", "bits", "lost")
    )
    large = replace(
        blank,
        actions=np.zeros((steps, agents), np.int64),
        rewards=np.zeros((steps, agents), np.float32),
        messages=np.zeros((0, 4), np.int64),
        weight=np.zeros(0, np.float32),
        action_names=(),
        **(still | flags | none),
    )
    with pytest.raises(ConfigError, match=f"got {agents:,} agents for {steps:,} steps"):
        page_html([large], ["a"])


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.html"):
        replay_page(episode(), tmp_path / "page.txt")
    with pytest.raises(ConfigError, match=r"\.html"):
        compare_page(episode(), episode(), tmp_path / "page", ("a", "b"))


def test_numbers_at_the_edge_are_packed_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    """All agents at one place between cells; the lowest integer, which has no absolute value."""
    half = packed_places(np.full((3, 2, 2), 0.5, np.float32))
    assert (half.scale, half.offset) == (1.0, 0.5)
    assert packed(np.full(4, -(2**63))).kind == "f4"
    assert not recwarn.list
