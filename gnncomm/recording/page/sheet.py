"""``replay_page`` and ``compare_page``: episodes as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from gnncomm.errors import ConfigError
from gnncomm.recording.episode import Episode
from gnncomm.recording.page.numbers import deflated
from gnncomm.recording.page.worlds import MAX_BYTES, World, world_of
from gnncomm.store import strict_json
from gnncomm.store.files import write_atomic

SCRIPTS = (
    "decode",
    "recording",
    "events",
    "palette",
    "seats",
    "ground",
    "stage",
    "messages",
    "picture",
    "heat",
    "inspector",
    "strip",
    "words",
    "table",
    "player",
    "main",
)
"""In this order; each says at its top what it offers."""
SUFFIXES = (".html", ".htm")


def replay_page(episode: Episode, file: str | Path, title: str = "") -> Path:
    """Write an episode as a page to look at: who said what to whom, step by step.

    One file without a server: it asks for nothing over the network, and its content security policy forbids it. Texts
    of the episode are shown as text, whatever they hold. What does not fit (see ``worlds``) is left out, and the page
    says so.

    Args:
        file: ends in ``.html``.
        title: of the page; that of the episode if it is empty.

    Raises:
        ConfigError: another suffix, or more agents or steps than a page can show.
    """
    return _write(file, [episode], [title or episode.title or episode.env])


def compare_page(episode_a: Episode, episode_b: Episode, file: str | Path, titles: tuple[str, str]) -> Path:
    """Write two episodes as one page, side by side and in step.

    Args:
        episode_a, episode_b: best of the same environment and seed, so that both teams face the same.
        file: ends in ``.html``.
        titles: what each is called.

    Raises:
        ConfigError: as ``replay_page``.
    """
    return _write(file, [episode_a, episode_b], titles)


def page_html(episodes: Sequence[Episode], titles: Sequence[str]) -> str:
    """The page of one episode or two as text.

    Raises:
        ConfigError: as ``replay_page``.
    """
    worlds = [
        world_of(episode, title, MAX_BYTES // len(episodes)) for episode, title in zip(episodes, titles, strict=True)
    ]
    style = _read("page.css")
    script = '"use strict";\n(() => {\n' + "\n".join(_read(f"{name}.js") for name in SCRIPTS) + "})();\n"
    parts = {
        "title": html.escape(_shown(" | ".join(titles))),
        "policy": html.escape(_policy(style, script)),
        "style": style,
        "script": script,
        "data": base64.b64encode(_blob(worlds)).decode("ascii"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read("page.html"))


def _write(file: str | Path, episodes: Sequence[Episode], titles: Sequence[str]) -> Path:
    path = Path(file)
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"Expected a page that ends in {' or '.join(SUFFIXES)}, got {str(path)!r}.")
    write_atomic(path, page_html(episodes, titles).encode("utf-8"))
    return path


def _read(name: str) -> str:
    text = resources.files("gnncomm.recording.page").joinpath(name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")  # as a browser reads it, whose hash must be that of the policy


def _policy(style: str, script: str) -> str:
    """The script and the style of this page, pictures that it draws, and nothing else."""
    rules = {
        "default-src": "'none'",
        "script-src": _digest(script),
        "style-src": _digest(style),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _blob(worlds: Sequence[World]) -> bytes:
    """Length of the head (4 bytes, little-endian), the head, all arrays in its order; each of them deflated."""
    heads = [world.head | {"arrays": [[name, array.head] for name, array in world.arrays.items()]} for world in worlds]
    head = deflated(strict_json.dump({"worlds": heads}, indent=None))
    streams = [array.data for world in worlds for array in world.arrays.values()]
    return b"".join([len(head).to_bytes(4, "little"), head, *streams])


def _shown(text: str) -> str:
    """One line, with what cannot be written as UTF-8 (lone surrogates) replaced."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
