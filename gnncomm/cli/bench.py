"""``gnncomm bench``: how fast training and the layers are here, and how near to the machine's matrix products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import tyro

from gnncomm.cli.parse import most_threads, parse
from gnncomm.config import require_ranges
from gnncomm.errors import ConfigError, did_you_mean
from gnncomm.learn.config import MAX_SEED, MAX_STEPS


@dataclass(frozen=True)
class BenchArgs:
    """Measure speed, in one run on this machine."""

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "gnncomm bench train --env relay --repeats 10",
        "gnncomm bench layers --settings full-10 ring-50 --json layers.json",
        "gnncomm bench methods --env relay --methods ic3net tarmac2",
    )

    what: tyro.conf.Positional[Literal["train", "envs", "layers", "gpu", "parity", "methods"]] = "train"
    """What to measure: training, environments, layers against stock PyG, all of these on a GPU, recorded networks, or
    methods."""
    env: Annotated[str, tyro.conf.arg(metavar="ENV")] = "predator_prey"
    """train, methods: environment, with its recommended settings."""
    settings: tuple[str, ...] = ()
    """layers: which graphs; none takes all of them, and the cost of an agent in growing teams."""
    envs: tuple[str, ...] = ()
    """envs: which ids; none takes all of them."""
    compile: bool = False
    """envs: also measure the step under torch.compile (needs a C++ compiler; minutes)."""
    peers: bool = False
    """envs: also measure lbforaging and Jumanji's foraging, where they are installed; train: BenchMARL's MAPPO."""
    peers_python: str = ""
    """train: the Python of the environment that BenchMARL is installed in."""
    agents: tuple[int, ...] = (5, 20)
    """train with peers: sizes of the team."""
    comms: tuple[str, ...] = ("gatv2:heads=1", "attention")
    """train with peers: our layers."""
    precisions: tuple[Literal["float32", "bf16"], ...] = ("float32",)
    """train with peers: of our products."""
    device: str = "cpu"
    """envs, gpu: where tensors live; gpu: cuda if not said."""
    seconds: float = 3.0
    """gpu: of each measurement, about."""
    small: int = 1
    """gpu: divides the numbers of environments, to try it."""
    repeats: int = 20
    """Updates, or passes forward and backward, that are timed."""
    threads: int = 0
    """Threads of torch; 0 leaves its own choice."""
    methods: tuple[str, ...] = ()
    """methods: which; none takes all of them."""
    steps: int = 0
    """methods: environment steps of each training; 0 takes those of the task."""
    seeds: tuple[int, ...] = (0,)
    """methods: of weights and draws, one training with each."""
    trainings: tuple[Literal["common", "own"], ...] = ("common",)
    """methods: by the learner of the recipe, the same for all, by the one of the paper with its losses, or both."""
    out: str = "runs/methods"
    """methods: where the runs lie; one that is complete is not trained again."""
    golden: str = ""
    """parity: folder of numbers that were recorded from released codes; empty for those that come with the package."""
    json: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """envs, layers, parity, methods: also write the numbers to this file; methods: after each, to go on from there."""

    def __post_init__(self) -> None:
        ranges = {"repeats": (1, 10**6), "threads": (0, most_threads()), "steps": (0, MAX_STEPS)}
        require_ranges(self, ranges)
        for seed in self.seeds:
            if not 0 <= seed < MAX_SEED:
                raise ConfigError(f"seeds must be within 0 to {MAX_SEED - 1}, got {seed}.")
        if self.what == "train" and self.peers and not self.peers_python:
            raise ConfigError(
                "peers: expected the Python of an environment with BenchMARL, got none. Give --peers-python "
                "DIR/bin/python."
            )
        if self.methods or self.envs or self.settings:
            self._require_known()

    def _require_known(self) -> None:
        from gnncomm.bench import CASES, SETTINGS
        from gnncomm.methods import resolve

        for name in self.methods:
            resolve(name)
        ids = [case.id for case in CASES]
        for name in self.envs:
            if name not in ids:
                raise ConfigError(
                    f"Expected the id of an environment to measure, got {name!r}. {did_you_mean(name, ids)}"
                )
        known = [setting.name for setting in SETTINGS]
        for name in self.settings:
            if name not in known:
                raise ConfigError(
                    f"Expected the name of a graph to measure on, got {name!r}. {did_you_mean(name, known)}"
                )


def run(words: list[str]) -> int:
    args = parse(BenchArgs, words, "gnncomm bench")
    from gnncomm.cli import benching  # what measures needs torch, what shows options does not

    return benching.run(args)
