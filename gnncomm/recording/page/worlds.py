"""An episode as a page holds it: what is drawn, in few bytes, and what was left out to stay within them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnncomm.errors import ConfigError
from gnncomm.recording.episode import Episode
from gnncomm.recording.page.measures import measures
from gnncomm.recording.page.numbers import Packed, packed, packed_pictures, packed_places, packed_shades

MAX_AGENTS = 2_000
MAX_STEPS = 20_000
MAX_PLACES = 6_000_000
"""Agents times states: 500 agents for 10,000 steps fit."""
MAX_MESSAGES = 300_000
"""Of more than that, the heaviest of each step stay."""
MAX_BYTES = 3_500_000
"""Of the numbers of a whole page, deflated; where they are full, the less important stay out."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """One episode of a page."""

    head: dict[str, Any]
    """What is no array, as JSON takes it; with ``missing``: what is not shown, and why."""
    arrays: dict[str, Packed] = field(default_factory=dict)


def world_of(episode: Episode, title: str, most_bytes: int = MAX_BYTES) -> World:
    """Pack ``episode``, the important first, as long as ``most_bytes`` are not full.

    Raises:
        ConfigError: too many agents or steps for a page.
    """
    _require_size(episode)
    missing = [f"{_WORDS.get(name, name)} (the recording left them out: too large)" for name in episode.left_out]
    world, size = World(_head(episode, title) | {"missing": missing}), 0
    for what, arrays in _parts(episode, missing):
        more = sum(len(each.data) for each in arrays.values())
        if size + more > most_bytes and what == _PLACES:
            raise _too_large(f"{more:,} bytes of places")
        if size + more > most_bytes:
            missing.append(f"{what} (too large for a page)")
        else:
            size += more
            world.arrays.update(arrays)
    return world


_PLACES = "places of agents"
_WORDS = {
    "contents": "what messages say",
    "observations": "observations",
    "symbols": "symbols",
    "field": "the background",
    "chances": "probabilities of actions",
    "lost": "lost messages",
    "values": "values",
    "bits": "bits",
    "spoke": "gates",
    "messages": "messages of later steps",
}


def _head(episode: Episode, title: str) -> dict[str, Any]:
    return {
        "title": title,
        "env": episode.env,
        "config": episode.config,
        "seed": str(episode.seed),  # numbers of JavaScript have 53 bits
        "size": list(episode.size),
        "steps": episode.length,
        "agents": episode.num_agents,
        "success": episode.success,
        "attention": episode.attention,
        "actionNames": list(episode.action_names),
        "entities": list(episode.entities),
        "marks": list(episode.marks),
        "rounds": _rounds(episode),
    }


def _rounds(episode: Episode) -> int:
    used = [episode.num_rounds]
    if episode.spoke is not None:
        used.append(episode.spoke.shape[1])
    if episode.lost is not None and len(episode.lost):
        used.append(int(episode.lost[:, 1].max()) + 1)
    return max(used)


def _parts(episode: Episode, missing: list[str]) -> Iterator[tuple[str, dict[str, Packed]]]:
    """(what it is, arrays), in order of importance. What is thinned out is said in ``missing``."""
    yield (
        _PLACES,
        {"places": packed_places(episode.agents)}
        | {name: packed(getattr(episode, name)) for name in ("alive", "finished")},
    )
    yield "curves", {f"curve:{name}": packed(line, half=False) for name, line in measures(episode).items()}
    yield (
        "entities",
        {f"entity:{number}": packed_places(places) for number, places in enumerate(episode.entities.values())}
        | {f"active:{number}": packed(active) for number, active in enumerate(episode.active.values())},
    )
    yield "marks", {f"mark:{number}": packed(marks, steps=True) for number, marks in enumerate(episode.marks.values())}
    yield "actions", {"actions": packed(episode.actions)}
    yield "rewards", {"rewards": packed(episode.rewards)}
    kept = _heaviest(episode, missing)
    yield "messages", _messages(episode, kept)
    if episode.lost is not None:
        yield "lost messages", _lost(episode, missing)
    if episode.pictures is not None:
        yield "pictures", {"pictures": packed_pictures(episode.pictures)}
    if episode.field is not None:
        yield "the background", {"field": packed_shades(episode.field)}
    for name in ("spoke", "bits", "values", "chances"):
        if (array := getattr(episode, name)) is not None:
            yield _WORDS[name], {name: packed(array)}
    if len(kept) and (episode.contents is not None or episode.symbols is not None):
        yield "what messages say", _said(episode, kept)
    if episode.observations is not None:
        yield "observations", {"observations": packed(episode.observations)}


def _heaviest(episode: Episode, missing: list[str]) -> Ints:
    """Rows of the messages that are shown, in order of step, round, sender and receiver."""
    count = len(episode.messages)
    if count <= MAX_MESSAGES:
        return np.lexsort(episode.messages.T[::-1])
    step_E, most = episode.messages[:, 0], MAX_MESSAGES // episode.length
    by_weight = np.lexsort((-np.abs(episode.weight), step_E))
    counts = np.bincount(step_E, minlength=episode.length)
    rank_E = np.arange(count) - np.repeat(counts.cumsum() - counts, counts)
    rows = by_weight[rank_E < most]
    missing.append(f"{count - len(rows):,} of {count:,} messages (the {most:,} heaviest of each step are shown)")
    return rows[np.lexsort(episode.messages[rows].T[::-1])]


def _messages(episode: Episode, rows: Ints) -> dict[str, Packed]:
    step_E, round_E, sender_E, receiver_E = episode.messages[rows].T
    found = {
        "count": packed(np.bincount(step_E, minlength=episode.length)),
        "round": packed(round_E),
        "sender": packed(sender_E, steps=True),
        "receiver": packed(receiver_E, steps=True),
        "weight": packed(episode.weight[rows]),
    }
    if episode.sent is not None:
        sent_E = episode.sent[rows]
        found["age"] = packed(np.where(sent_E < 0, -1, step_E - sent_E))
    return found


def _lost(episode: Episode, missing: list[str]) -> dict[str, Packed]:
    assert episode.lost is not None
    rows = episode.lost[np.lexsort(episode.lost.T[::-1])]
    if len(rows) > MAX_MESSAGES:
        most = MAX_MESSAGES // episode.length
        counts = np.bincount(rows[:, 0], minlength=episode.length)
        rank = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)
        missing.append(f"{int((rank >= most).sum()):,} of {len(rows):,} lost messages")
        rows = rows[rank < most]
    return {"lost:count": packed(np.bincount(rows[:, 0], minlength=episode.length))} | {
        f"lost:{name}": packed(rows[:, column]) for column, name in enumerate(("round", "sender", "receiver"), 1)
    }


def _said(episode: Episode, rows: Ints) -> dict[str, Packed]:
    """What each message says once, however many read it, and which of them each message is."""
    parts = {
        name: np.ascontiguousarray(array[rows])
        for name, array in {"vectors": episode.contents, "symbols": episode.symbols}.items()
        if array is not None
    }
    raw = np.concatenate([part.view(np.uint8).reshape(len(rows), -1) for part in parts.values()], 1)
    if not raw.shape[1]:
        return {}
    keys = np.ascontiguousarray(raw).view(np.dtype((np.void, raw.shape[1]))).ravel()
    _, first, which_E = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)  # in the order of time: numbers of messages hardly change from row to row
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return {name: packed(part[first[order]]) for name, part in parts.items()} | {
        "said": packed(place[which_E.ravel()], steps=True)
    }


def _require_size(episode: Episode) -> None:
    agents, steps = episode.num_agents, episode.length
    if agents > MAX_AGENTS or steps > MAX_STEPS or agents * (steps + 1) > MAX_PLACES:
        raise _too_large(f"{agents:,} agents for {steps:,} steps")


def _too_large(got: str) -> ConfigError:
    return ConfigError(
        f"Expected an episode that a page can show (up to {MAX_AGENTS:,} agents, {MAX_STEPS:,} steps, and "
        f"{MAX_PLACES:,} places of agents), got {got}. Keep it as a file (--episode), or record fewer agents or steps."
    )
