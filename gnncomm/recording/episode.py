"""Episode: everything that happened in one episode, as plain arrays, on disk as one ``.npz`` file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnncomm.errors import GnnCommError
from gnncomm.recording import npz
from gnncomm.store import strict_json
from gnncomm.store.files import read_regular, write_atomic

FORMAT = "gnncomm.episode"
VERSION = 3
OLD_VERSIONS = (1, 2)
"""Versions that are still read: 1 knew neither when a message was sent nor what it said, 2 nothing of what agents see,
what they expect, what they put on the wire and what got lost."""
MAX_BYTES = 1 << 30
"""A file that claims more is not read."""

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class EpisodeError(GnnCommError, ValueError):
    """An episode whose arrays do not fit each other, or a file that holds none."""

    exit_code = 65


@dataclass(frozen=True, eq=False)
class Episode:
    """T steps of N agents on a grid. State t is what was there before action t; there are T + 1 states.

    Messages are rows: ``messages[e] = (step, round, sender, receiver)`` says that at this step, in this round of
    communication, the receiver read a message of the sender; ``sent[e]`` at which step that was sent (-1: earlier,
    nobody knows when, or never); ``contents[e]`` the numbers that were read, after codec and channel, filled up with 0
    where rounds differ in width; and ``weight[e]`` how much it counted: where the layer has attention that of the
    receiver, the mean over heads (then an inbox sums to 1), else the weight of the edge, 1 where it has none.

    ``chances`` are those of the distribution that the policy draws its actions from, whether they were drawn or the
    likeliest was taken: the softmax of the actor's numbers; of a learner of values its epsilon-greedy choice, epsilon 0
    here, so 1 for the best action. ``bits`` sum up to what ``evaluate`` counts. A message is in ``lost`` if topology
    and scheduler let it go and the channel never delivered it; one that is under way when the episode ends, or that its
    receiver chose not to read, is not. Rows of the dead are 0. What was never recorded is None, and so is what did not
    fit, which ``left_out`` names (``messages`` there: those of the last steps are missing).

    Raises:
        EpisodeError: an array of another shape or type, a message from nowhere, NaN; names what is wrong.
    """

    env: str
    config: str
    """The settings of the environment, as JSON text."""
    seed: int
    size: tuple[int, int]
    """Rows and columns of the grid."""
    success: bool
    attention: bool
    """Whether weights are attention."""
    agents: Floats  # [T + 1, N, 2] (row, column)
    finished: Bools  # [T + 1, N] has done its part
    alive: Bools  # [T + 1, N] takes part, and is there to be drawn
    actions: Ints | Floats  # [T, N] int64, or [T, N, A] float32 numbers
    rewards: Floats  # [T, N]
    messages: Ints  # [E, 4] as they were read
    weight: Floats  # [E]
    entities: Mapping[str, Floats] = field(default_factory=dict)  # name -> [T + 1, M, 2]
    active: Mapping[str, Bools] = field(default_factory=dict)  # name -> [T + 1, M] still there
    marks: Mapping[str, Ints] = field(default_factory=dict)  # name -> [T + 1, N] a number at an agent; -1: none
    field: Floats | None = None  # [T + 1, rows, columns]
    sent: Ints | None = None  # [E] steps
    contents: Floats | None = None  # [E, M]
    symbols: Ints | None = None  # [E, S] as the sender wrote them, where the codec has symbols; -1: unknown, or none
    observations: NDArray[np.float16] | Floats | None = None  # [T, N, O] float16 where that is exact
    chances: Floats | None = None  # [T, N, A] probabilities; None where actions are numbers
    values: Floats | None = None  # [T, N] as the critic says them
    spoke: Bools | None = None  # [T, K, N] put a message on the wire
    bits: Floats | None = None  # [T, K, N] on the wire, by sender, control traffic of the scheduler included
    lost: Ints | None = None  # [L, 4] (step, round, sender, receiver)
    pictures: NDArray[np.uint8] | None = None  # [T + 1, height, width, 3] as the environment draws itself
    action_names: tuple[str, ...] = ()
    """Of the A actions, where the environment names them."""
    title: str = ""
    """Who plays: any text."""
    left_out: tuple[str, ...] = ()
    """What was too large to be kept."""

    def __post_init__(self) -> None:
        _check(self)

    @property
    def length(self) -> int:
        """T."""
        return len(self.actions)

    @property
    def num_agents(self) -> int:
        """N."""
        return int(self.agents.shape[1])

    @property
    def num_rounds(self) -> int:
        """Rounds of communication a step in which at least one message went."""
        return int(self.messages[:, 1].max()) + 1 if len(self.messages) else 0

    @property
    def returns(self) -> float:
        """Rewards summed over time, averaged over agents."""
        return float(self.rewards.sum(0, dtype=np.float64).mean())

    def weights_at(self, step: int) -> Floats:
        """``[K, N, N]`` (round, sender, receiver): weights of the messages of one step; those of one edge add up."""
        total = np.zeros((self.num_rounds, self.num_agents, self.num_agents), np.float32)
        now = self.messages[:, 0] == step
        np.add.at(total, tuple(self.messages[now, 1:].T), self.weight[now])
        return total

    def attention_at(self, step: int) -> Floats:
        """``[N, N]`` (sender, receiver): weights of the messages of one step, averaged over rounds."""
        mean: Floats = self.weights_at(step).sum(0) / np.float32(max(self.num_rounds, 1))
        return mean

    def save(self, path: str | Path) -> Path:
        """Write the file, under its name at once or not at all. Equal episodes give equal bytes."""
        arrays: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {name: value for name in _OPTIONAL if (value := getattr(self, name)) is not None}
        for number, name in enumerate(self.entities):
            arrays[f"entity{number}"], arrays[f"active{number}"] = self.entities[name], self.active[name]
        arrays |= {f"mark{number}": marks for number, marks in enumerate(self.marks.values())}
        head = {name: getattr(self, name) for name in _HEAD + _TEXTS} | {
            "format": FORMAT,
            "version": VERSION,
            "entities": list(self.entities),
            "marks": list(self.marks),
        }
        write_atomic(Path(path), npz.packed(arrays, head))
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Episode:
        """Read what ``save`` wrote. Never unpickles.

        Raises:
            FileNotFoundError: nothing there. UnsafePathError, UnsafeContentError: no regular file, or a huge one.
            EpisodeError: no such file, another version, arrays that are missing or wrong; names file and cause.
        """
        try:
            arrays = npz.read(read_regular(Path(path), MAX_BYTES, follow_symlinks=True), MAX_BYTES)
            return cls(**_parts(arrays))
        except (npz.BadNpzError, EpisodeError) as error:
            raise EpisodeError(f"{path}: no episode of gnncomm: {error} Record it again.") from error


_HEAD = ("env", "config", "seed", "size", "success", "attention")
_TEXTS = ("action_names", "title", "left_out")
"""Further names in the head, since version 3; and ``marks``."""
_ARRAYS = ("agents", "finished", "alive", "actions", "rewards", "messages", "weight")
_SEEN = ("observations", "chances", "values", "spoke", "bits", "lost")
_OPTIONAL = ("field", "pictures", "sent", "contents", "symbols", *_SEEN)


def _parts(arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """The fields of an episode from the arrays of a file."""
    head = _head(arrays.pop("head", None))
    names, marks = head.pop("entities"), {name: f"mark{number}" for number, name in enumerate(head.pop("marks", []))}
    pairs = [(f"entity{number}", f"active{number}") for number in range(len(names))]
    expected = {*_ARRAYS, *(name for pair in pairs for name in pair), *marks.values()}
    if not expected <= arrays.keys() <= expected | set(_OPTIONAL):
        missing, unknown = sorted(expected - arrays.keys()), sorted(arrays.keys() - expected - set(_OPTIONAL))
        raise EpisodeError(f"Missing arrays {missing}, unknown {unknown}.")
    return (
        head
        | {name: arrays[name] for name in _ARRAYS}
        | {
            "size": tuple(head["size"]),
            "entities": {name: arrays[entity] for name, (entity, _) in zip(names, pairs, strict=True)},
            "active": {name: arrays[active] for name, (_, active) in zip(names, pairs, strict=True)},
            "marks": {name: arrays[mark] for name, mark in marks.items()},
            **{name: arrays.get(name) for name in _OPTIONAL},
        }
    )


def _head(raw: NDArray[Any] | None) -> dict[str, Any]:
    if raw is None or raw.dtype != np.uint8:
        raise EpisodeError("Missing array 'head'.")
    try:
        head = strict_json.parse(raw.tobytes())
    except (strict_json.MalformedJsonError, strict_json.ForbiddenJsonError) as error:
        raise EpisodeError(f"The array 'head' is no JSON: {error}.") from error
    if not isinstance(head, dict) or head.pop("format", None) != FORMAT:
        raise EpisodeError(f"Expected the format {FORMAT!r} in the array 'head'.")
    version = head.pop("version", None)
    if version not in (VERSION, *OLD_VERSIONS):
        raise EpisodeError(f"Expected a version up to {VERSION}, got {version!r}; another gnncomm wrote it.")
    expected = {*_HEAD, "entities", *((*_TEXTS, "marks") if version == VERSION else ())}
    lists = [head.get(name, []) for name in ("entities", "marks", "size")]
    if head.keys() != expected or not all(isinstance(names, list) for names in lists):
        raise EpisodeError(f"Expected {sorted(expected)} in the array 'head', got {sorted(head)}.")
    for name in ("action_names", "left_out"):
        if name in head:
            head[name] = tuple(head[name]) if isinstance(head[name], list) else head[name]
    for names in lists[:2]:
        if len({name for name in names if isinstance(name, str)}) != len(names):
            raise EpisodeError(f"Expected different names of entities and marks, got {names}.")
    return head


def _check(episode: Episode) -> None:
    _check_head(episode)
    states, agents, steps = len(episode.finished), episode.finished.shape[-1], len(episode.actions)
    if states != steps + 1 or steps < 1 or agents < 1:
        raise EpisodeError(f"Expected T >= 1 actions and T + 1 states of N >= 1 agents, got {steps} and {states}.")
    _expect("agents", episode.agents, np.float32, (states, agents, 2))
    _expect("finished", episode.finished, np.bool_, (states, agents))
    _expect("alive", episode.alive, np.bool_, (states, agents))
    if episode.actions.ndim == 3:
        _expect("actions", episode.actions, np.float32, (steps, agents, None))
    else:
        _expect("actions", episode.actions, np.int64, (steps, agents))
    _expect("rewards", episode.rewards, np.float32, (steps, agents))
    _expect("field", episode.field, np.float32, (states, *episode.size))
    if episode.entities.keys() != episode.active.keys():
        raise EpisodeError(f"Expected 'active' for the entities {list(episode.entities)}, got {list(episode.active)}.")
    for name, places in episode.entities.items():
        count = places.shape[1] if places.ndim == 3 else 0
        _expect(f"entities[{name!r}]", places, np.float32, (states, count, 2))
        _expect(f"active[{name!r}]", episode.active[name], np.bool_, (states, count))
    for name, marks in episode.marks.items():
        _expect(f"marks[{name!r}]", marks, np.int64, (states, agents))
    _expect("pictures", episode.pictures, np.uint8, (states, None, None, 3))
    if episode.pictures is not None and not episode.pictures.size:
        raise EpisodeError(f"Expected pictures of at least one point, got {list(episode.pictures.shape)}.")
    _check_decisions(episode, steps, agents)
    _check_messages(episode, steps, agents)


def _check_decisions(episode: Episode, steps: int, agents: int) -> None:
    seen = episode.observations
    _expect(
        "observations",
        seen,
        np.float16 if seen is not None and seen.itemsize == 2 else np.float32,
        (steps, agents, None),
    )
    _expect("chances", episode.chances, np.float32, (steps, agents, len(episode.action_names) or None))
    _expect("values", episode.values, np.float32, (steps, agents))
    _expect("spoke", episode.spoke, np.bool_, (steps, None, agents))
    _expect(
        "bits", episode.bits, np.float32, (steps, None if episode.spoke is None else episode.spoke.shape[1], agents)
    )
    for name, low, high in (("chances", 0.0, 1.001), ("bits", 0.0, np.inf)):
        array = getattr(episode, name)
        if array is not None and array.size and not (low <= array.min() and array.max() <= high):
            raise EpisodeError(f"Expected {name} from {low:g} to {high:g}, got {array.min():g} to {array.max():g}.")


def _check_messages(episode: Episode, steps: int, agents: int) -> None:
    count = len(episode.weight)
    _expect("weight", episode.weight, np.float32, (count,))
    _expect("messages", episode.messages, np.int64, (count, 4))
    _expect("contents", episode.contents, np.float32, (count, None))
    _expect("symbols", episode.symbols, np.int64, (count, None))
    _expect("sent", episode.sent, np.int64, (count,))
    _expect("lost", episode.lost, np.int64, (None, 4))
    if episode.sent is not None and ((episode.sent < -1) | (episode.sent > episode.messages[:, 0])).any():
        raise EpisodeError("Expected sent from -1 to the step at which a message is read.")
    for name, rows in (("messages", episode.messages), ("lost", episode.lost)):
        if rows is None or not len(rows):
            continue
        low, high = rows.min(0), rows.max(0)
        if (low < 0).any() or high[0] >= steps or high[1] >= 1000 or max(high[2], high[3]) >= agents:
            raise EpisodeError(
                f"Expected {name} (step < {steps}, round, sender < {agents}, receiver < {agents}), got values from "
                f"{low.tolist()} to {high.tolist()}."
            )


def _check_head(episode: Episode) -> None:
    kinds = {"env": str, "config": str, "seed": int, "success": bool, "attention": bool, "size": tuple, "title": str}
    for name, kind in kinds.items():
        if type(getattr(episode, name)) is not kind:
            raise EpisodeError(f"Expected {name} to be {kind.__name__}, got {getattr(episode, name)!r}.")
    if len(episode.size) != 2 or any(type(side) is not int or not 1 <= side <= 10_000 for side in episode.size):
        raise EpisodeError(f"Expected size to be (rows, columns) from 1 to 10000, got {episode.size!r}.")
    for name in ("action_names", "left_out"):
        texts = getattr(episode, name)
        if type(texts) is not tuple or not all(type(text) is str for text in texts):
            raise EpisodeError(f"Expected {name} to be a tuple of texts, got {texts!r}.")
    if episode.finished.ndim != 2 or episode.actions.ndim not in (2, 3):
        raise EpisodeError(f"Expected finished [T + 1, N] and actions [T, N], got {episode.finished.shape}.")


def _expect(name: str, array: NDArray[Any] | None, dtype: type, shape: tuple[int | None, ...]) -> None:
    """Refuse an array of another type or shape, where None is any size; None is no array, and fine."""
    if array is None:
        return
    fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if array.dtype != dtype or not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise EpisodeError(f"Expected {name} {np.dtype(dtype)} [{wanted}], got {array.dtype} {list(array.shape)}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise EpisodeError(f"Expected finite numbers in {name}, got NaN or infinity.")
