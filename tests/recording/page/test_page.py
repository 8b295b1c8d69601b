"""The page in a real browser: what is seen, heard and pressed."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnncomm.recording import Episode, compare_page, replay_page

from .conftest import Chromium
from .episodes import HOSTILE, episode, hostile

Open = Callable[..., Chromium]


@pytest.fixture
def page(chromium: Chromium, tmp_path: Path) -> Iterator[Open]:
    """Shows an episode, or two; afterwards nobody has complained and nothing was asked for but the file."""
    number = itertools.count()

    def show(*episodes: Episode, hash_: str = "") -> Chromium:
        file = tmp_path / f"{next(number)}.html"
        if len(episodes) == 1:
            replay_page(episodes[0], file)
        else:
            compare_page(episodes[0], episodes[1], file, ("trained", "muted"))
        chromium.open(file, hash_)
        return chromium

    yield show
    chromium.call("Runtime.evaluate", expression="1")  # what was still to be told is told
    assert chromium.said == []
    assert {url for url in chromium.requests if not url.startswith(("file://", "data:", "about:"))} == set()
    chromium.size(1400, 900)
    chromium.prefer()


def numbers(browser: Chromium, name: str, kind: str = "f8", world: int = 0) -> Any:
    """An array of the page, as the page reads it."""
    asked = f"""(() => {{
        const {{ values, shape }} = replay.recordings[{world}].arrays.get({name!r});
        const bytes = new Uint8Array(Float64Array.from(values).buffer);
        let text = ""; for (const byte of bytes) text += String.fromCharCode(byte);
        return [btoa(text), shape];
    }})()"""
    raw, shape = browser.js(asked)
    return np.frombuffer(base64.b64decode(raw), "<f8").reshape(shape).astype(kind)


def pixels(browser: Chromium, selector: str = "canvas.stage") -> str:
    return str(browser.js(f"document.querySelector({selector!r}).toDataURL()"))


def text(browser: Chromium, selector: str) -> str:
    return str(browser.js(f"document.querySelector({selector!r}).innerText"))


def view(browser: Chromium) -> dict[str, Any]:
    found: dict[str, Any] = browser.js("replay.player.view")
    return found


def test_numbers_are_those_of_the_episode(page: Open) -> None:
    plain = episode()
    heights = np.linspace(-2, 3, 7 * 25, dtype=np.float32).reshape(7, 5, 5)
    colours = np.random.default_rng(2).integers(0, 256, (7, 4, 5, 3), np.uint8)
    made = replace(plain, field=heights, marks={"told": np.arange(21).reshape(7, 3) - 1}, pictures=colours)
    browser = page(made)
    for name, array in {
        "places": made.agents,
        "alive": made.alive,
        "actions": made.actions,
        "rewards": made.rewards,
        "entity:0": made.entities["prey"],
        "active:0": made.active["prey"],
        "mark:0": made.marks["told"],
        "pictures": colours,
        "bits": made.bits,
        "lost:receiver": made.lost[:, 3],
        "sender": made.messages[:, 2],
        "receiver": made.messages[:, 3],
        "round": made.messages[:, 1],
        "age": made.messages[:, 0] - made.sent,
        "observations": made.observations,
    }.items():
        np.testing.assert_array_equal(numbers(browser, name), array, err_msg=name)
    for name, array in {"weight": made.weight, "values": made.values, "chances": made.chances}.items():
        np.testing.assert_array_equal(numbers(browser, name, "f4"), array.astype(np.float16), err_msg=name)
    row = numbers(browser, "said", "i8")
    np.testing.assert_array_equal(numbers(browser, "vectors")[row], made.contents)
    np.testing.assert_array_equal(numbers(browser, "symbols")[row], made.symbols)
    np.testing.assert_allclose(numbers(browser, "field"), heights, atol=5 / 255)
    assert browser.js("replay.recordings[0].lostAt(3).length") == 1
    browser.js("replay.player.seek(2)")
    shown = browser.js(
        "Array.from(document.querySelector('canvas.own').getContext('2d').getImageData(0, 0, 5, 4).data)"
    )
    np.testing.assert_array_equal(np.reshape(shown, (4, 5, 4))[..., :3], colours[2])

    between = replace(plain, agents=plain.agents + np.float32(0.3))
    assert np.abs(numbers(page(between), "places") - between.agents).max() < 4 / 32_000


def test_time_goes_by_slider_keys_and_strip(page: Open) -> None:
    browser = page(episode())
    seen = [pixels(browser)]
    assert text(browser, ".words").startswith(
        "Step 0 of 6. 6 messages read. 48 bits on the wire. Actions 0: north, 1: "
    )

    browser.js("const s = document.querySelector('#time'); s.value = 4; s.dispatchEvent(new Event('input'))")
    seen.append(pixels(browser))
    assert view(browser)["step"] == 4
    assert "1 message lost." in text(browser, ".words")
    assert text(browser, ".words").endswith("Agent 1 is out.")
    for key, step in (("ArrowLeft", 3), ("Home", 0), ("End", 6), ("ArrowRight", 6), ("ArrowLeft", 5)):
        browser.press(key)
        assert view(browser)["step"] == step, key
        seen.append(pixels(browser))
    assert (seen[0], seen[4]) == (seen[3], seen[5])
    assert len({*seen}) == 5, "steps 0, 4, 3, 6 and 5 each look otherwise"
    assert "Prey is done." in text(browser, ".words")

    box = browser.js(
        "(r => [r.left, r.top, r.width, r.height])(document.querySelector('.strip').getBoundingClientRect())"
    )
    browser.click(box[0] + 9 + (box[2] - 18) * 2 / 6, box[1] + 30)
    assert view(browser)["step"] == 2
    assert browser.js("document.querySelector('#time').getAttribute('aria-valuetext')") == "step 2 of 6"


def test_play_moves_agents_and_lights_messages(page: Open) -> None:
    browser = page(episode())
    still = pixels(browser)
    browser.press("+")
    assert browser.js("replay.player.speed") == 2
    browser.press(" ")
    browser.wait("replay.player.view.part > 0.1")
    assert pixels(browser) != still
    assert browser.js("document.querySelector('#play').ariaLabel") == "Pause"
    browser.wait("replay.player.view.step >= 1")
    browser.press(" ")
    assert browser.js("!replay.player.playing && replay.player.view.part === 0")
    assert browser.js("document.querySelector('.words').ariaLive") == "polite"


def test_a_link_leads_to_a_step_an_agent_and_a_round(page: Open) -> None:
    browser = page(episode(), hash_="#t=3&a=2&r=1")
    assert [view(browser)[name] for name in ("step", "agent", "round")] == [3, 2, 1]
    browser.press("Escape")
    browser.press("r")
    browser.press("ArrowRight")
    browser.wait("location.hash === '#t=4'")
    browser.js("location.hash = '#t=1&a=0'")
    browser.wait("replay.player.view.step === 1 && replay.player.view.agent === 0")
    browser.js("location.hash = '#t=99&a=-1&r=x'")
    browser.wait("replay.player.view.agent === -1")
    assert view(browser)["step"] == 1, "what is nowhere leads nowhere"


def test_an_agent_is_looked_into(page: Open) -> None:
    browser = page(episode(), hash_="#t=0")
    x, y = browser.js(
        "(r => { const s = replay.worlds[0].stage.spots[0]; return [r.left + s.x, r.top + s.y]; })"
        "(document.querySelector('canvas.stage').getBoundingClientRect())"
    )
    browser.click(x, y)
    assert view(browser)["agent"] == 0
    said = text(browser, ".inspector").lower()
    for words in ("agent 0", "north", "50.0 %", "12.5 %", "hears 2 messages", "read by 1, 2", "observes 6 numbers"):
        assert words in said, words
    assert [row for row in said.splitlines() if row == "8"], "the symbol of agent 1"
    assert browser.js("document.querySelectorAll('.inspector .heat[role=img]').length") == 4
    browser.js("document.querySelector('.heard .numbers').open = true")
    browser.wait(
        "document.querySelector('.heard .numbers code')?.textContent"
        " === `${document.querySelector('.heard .chip').textContent}  0`"
    )

    browser.press("ArrowRight")
    said = text(browser, ".inspector").lower()
    assert "1 step late" in said
    browser.js("document.querySelectorAll('.chip')[1].focus()")
    browser.press("Enter")
    browser.wait("replay.player.view.agent === 1")
    assert "lost" in text(browser, ".inspector").lower()
    assert browser.js("document.querySelectorAll('.agents .chip')[1].ariaPressed") == "true"


def test_every_text_of_an_episode_stays_text(page: Open) -> None:
    browser = page(hostile(), hash_="#t=2&a=1")
    assert browser.js("document.querySelectorAll('img, iframe, object, embed').length") == 0
    assert browser.js("document.querySelectorAll('script').length") == 2
    assert "<img src=x onerror=alert(1)>" in text(browser, "h2")
    assert "<img src=x" in text(browser, ".inspector")
    assert "<img src=x" in text(browser, ".legend")
    assert "<img src=x" in text(browser, ".missing")
    assert browser.js("document.title").startswith("</script><img src=x")
    assert not browser.js("/[\\u2028\\u2029\\u202e]/.test(document.body.innerText)")
    for attempt in ("document.body.innerHTML = '<b>x</b>'", "eval('1')", "new Function('1')()"):
        assert (
            browser.js(f"(() => {{ try {{ {attempt}; return 'done' }} catch {{ return 'refused' }} }})()") == "refused"
        )
    browser.said.clear()  # the browser tells what it refused just now
    assert HOSTILE in replace(hostile()).title


def test_what_is_not_there_is_not_missed(page: Open) -> None:
    """An episode of the first version, of a single step, with an agent that has no number for something."""
    none: dict[str, Any] = dict.fromkeys(
        ("sent", "contents", "symbols", "observations", "chances", "values", "spoke", "bits", "lost")
    )
    browser = page(episode(1, **none, attention=False, success=False), hash_="#a=0")
    assert "not in this recording: observations, probabilities of actions, values, what messages say" in text(
        browser, ".missing"
    )
    assert "hears 2 messages" in text(browser, ".inspector").lower()
    browser.press("End")
    assert "ends without success" in text(browser, ".words")

    browser = page(episode(6, attention=True, weight=episode().weight * 0), hash_="#t=0&a=0")
    assert np.isnan(numbers(browser, "curve:entropy")).sum() == 0
    browser.js("replay.recordings[0].values('values').fill(NaN); replay.recordings[0].values('chances').fill(NaN)")
    browser.js("replay.recordings[0].values('vectors').fill(NaN); replay.player.seek(1)")
    assert "value\n\u2013" in text(browser, ".inspector").lower()


def test_two_teams_in_step(page: Open) -> None:
    silent = episode(9, messages=np.zeros((0, 4), np.int64), weight=np.zeros(0, np.float32), sent=None, contents=None,
                     symbols=None, lost=None, spoke=np.zeros((9, 2, 3), bool), success=False)  # fmt: skip
    browser = page(episode(), silent, hash_="#t=8&a=2")
    assert browser.js("replay.player.steps") == 9
    assert browser.js("[...document.querySelectorAll('h2')].slice(0, 2).map(h => h.innerText)") == ["trained", "muted"]
    words = browser.js("[...document.querySelectorAll('.words')].map(p => p.innerText)")
    assert words[0].startswith("Step 6 of 6.")
    assert words[1].startswith("Step 8 of 9. No message is read.")
    assert browser.js("[...document.querySelectorAll('.inspector h3')].map(h => h.innerText)") == ["Agent 2"] * 2
    browser.js("document.querySelector('#steps').open = true")
    browser.wait("document.querySelectorAll('#steps tbody tr').length === 20")
    rows = browser.js(
        "[...document.querySelectorAll('#steps tbody tr')].map(row => row.innerText.split(/\\s*\\t\\s*/))"
    )
    assert rows[2][:5] == ["1", "trained", "0", "11", "1"]
    assert rows[13][:3] == ["6", "muted", "1"]
    assert rows[14][:3] == ["7", "trained", "over"]


@pytest.mark.parametrize(("width", "height"), [(1400, 900), (390, 844)])
def test_every_size_and_taste(page: Open, width: int, height: int) -> None:
    browser = page(episode())
    looks = {}
    for scheme in ("light", "dark"):
        browser.size(width, height, 2, phone=width < 500)
        browser.prefer(color_scheme=scheme, reduced_motion="reduce")
        browser.wait(f"innerWidth === {width}")
        looks[scheme] = browser.js("getComputedStyle(document.body).backgroundColor")
        assert browser.js("document.documentElement.scrollWidth <= innerWidth"), "nothing beside the screen"
        browser.wait("(c => Math.abs(c.width - 2 * c.clientWidth) < 2)(document.querySelector('canvas.stage'))")
        bad = json.loads(browser.js(CONTRAST))
        assert not bad, f"contrast under 4.5 in {scheme}: {bad}"
        browser.wait("document.querySelector('.timeline').getBoundingClientRect().bottom <= innerHeight")
    assert looks["light"] != looks["dark"]
    browser.press("Home")
    browser.press(" ")
    browser.wait("replay.player.view.step === 1")
    assert view(browser)["part"] == 0, "without motion: from state to state"
    browser.press(" ")


CONTRAST = """JSON.stringify((() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => numbers(colour).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (/^rgb\\(/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || !node.checkVisibility()) continue;
    if (node.closest(".skip, .gone, script, svg")) continue;
    const [one, other] = [light(getComputedStyle(node).color), light(behind(node))].sort((a, b) => b - a);
    if ((one + 0.05) / (other + 0.05) < 4.5) found.push([node.className || node.tagName, walk.currentNode.textContent]);
  }
  return found;
})())"""


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "agents"), [(40, 500), (10_000, 3), (10_000, 500)])
def test_many_agents_and_steps(page: Open, steps: int, agents: int) -> None:
    browser = page(crowd(steps, agents), hash_=f"#t={steps - 2}&a=1")
    assert view(browser)["step"] == steps - 2
    browser.press("Escape")
    seen = {pixels(browser) for _ in range(3) if browser.press("ArrowLeft") is None}
    assert len(seen) == 3
    drawn = browser.js(
        "(() => { const t = performance.now(); for (let i = 0; i < 5; i++) replay.player.seek(i);"
        " return (performance.now() - t) / 5; })()"
    )
    assert drawn < 500, f"{drawn:.0f} ms for a picture"
    if steps * agents > 300_000:
        assert "heaviest of each step" in text(browser, ".missing")
    assert len(browser.picture()) > 10_000


def crowd(steps: int, agents: int) -> Episode:
    """A random walk in which each agent tells 8 others, or all others of three."""
    rng = np.random.default_rng(0)
    size = 60 if agents > 10 else 10
    places = np.cumsum(rng.integers(-1, 2, (steps + 1, agents, 2), np.int8), 0, dtype=np.int16)
    places = np.abs((places + rng.integers(0, size, (agents, 2))) % (2 * size - 2) - (size - 1))
    told = min(8, agents - 1) if steps * agents < 1_000_000 else 1
    step, sender, other = (
        axis.ravel() for axis in np.meshgrid(range(steps), range(agents), range(told), indexing="ij")
    )
    messages = np.stack([step, 0 * step, sender, (sender + other + 1) % agents], 1).astype(np.int64)
    none: dict[str, Any] = dict.fromkeys(
        ("sent", "contents", "symbols", "observations", "chances", "values", "spoke", "bits", "lost")
    )
    return replace(
        episode(),
        size=(size, size),
        agents=places.astype(np.float32),
        finished=np.zeros((steps + 1, agents), bool),
        alive=np.ones((steps + 1, agents), bool),
        actions=rng.integers(0, 4, (steps, agents)),
        rewards=np.zeros((steps, agents), np.float32),
        messages=messages,
        weight=rng.random(len(messages), np.float32),
        entities={},
        active={},
        **none,
    )
