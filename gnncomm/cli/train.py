"""``gnncomm train ENV``: train, measure, draw."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import tyro

from gnncomm import deprecated, recipes
from gnncomm.cli.parse import most_threads, parse, wants_help
from gnncomm.config import require_ranges
from gnncomm.errors import ConfigError
from gnncomm.learn.config import VERSION, EnvConfig, PolicyConfig, RunConfig, Setting, TrainConfig, WireConfig
from gnncomm.learn.settings import LearnerConfig, PPOConfig

NAME = "gnncomm train"
_SAYS_MORE = {"--comm", "--learner", "--config", "--from", "--resume"}
"""What decides on further options: to know these, more has to be loaded than a recipe."""


@dataclass(frozen=True)
class EnvArgs(EnvConfig):
    """The environments."""

    id: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ENV")] = EnvConfig.id
    """Environment, see gnncomm list envs. Its own recommended settings become the defaults below."""
    settings: Annotated[Mapping[str, Setting], tyro.conf.arg(name="env-settings")] = field(default_factory=dict)
    """Settings of the environment that differ from its defaults."""


@dataclass(frozen=True)
class RunArgs(RunConfig):
    """How long, where, and from which draws."""

    version: tyro.conf.Suppress[tyro.conf.Fixed[int]] = VERSION


@dataclass(frozen=True)
class TrainArgs:
    """Train a team that talks, measure it beside its controls, and draw an episode."""

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "gnncomm train predator_prey --out runs/first",
        "gnncomm train relay --comm tarmac --topology ring --channel loss:p=0.1",
        "gnncomm train relay --env-settings num_agents 6 --learner.lr 5e-4 --seed 3",
        "gnncomm train predator_prey --eval-every 100000 --stop-at success=0.98 --loggers tensorboard",
        "gnncomm train --from runs/first --env-settings num_agents 5 --out runs/five",
        "gnncomm train --config runs/first/config.json --out runs/again",
    )

    env: tyro.conf.OmitArgPrefixes[EnvArgs] = field(default_factory=EnvArgs)
    policy: tyro.conf.OmitArgPrefixes[PolicyConfig] = field(default_factory=PolicyConfig)
    wire: tyro.conf.OmitArgPrefixes[WireConfig] = field(default_factory=WireConfig)
    learner: LearnerConfig = field(default_factory=PPOConfig)
    run: tyro.conf.OmitArgPrefixes[RunArgs] = field(default_factory=RunArgs)
    config: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """Configuration (JSON or YAML, whole or in part) that the other options change; or config.json of a run."""
    begin: Annotated[str, tyro.conf.arg(name="from", metavar="RUN")] = ""
    """Begin with the weights of a run, and with its settings, which the other options change."""
    out: Annotated[str, tyro.conf.arg(metavar="RUN")] = ""
    """Run directory; default runs/ENV-COMM-SEED."""
    resume: bool = False
    """Continue the run in --out from its newest good checkpoint."""
    overwrite: bool = False
    """Replace the run in --out."""
    print_config: bool = False
    """Print the configuration, as --config reads it, and do nothing else."""
    dry_run: bool = False
    """Show parts, shapes, graph and memory of the training, and do nothing else."""
    threads: int = 0
    """Threads of torch; 0 leaves its own choice."""
    seeds: int = 0
    """Train so many seeds side by side, --seed and those after it, each in a directory of its own; 0 trains one."""
    episodes: int = 1000
    """Episodes of the evaluation afterwards; 0 for none."""
    trust_env: bool = False
    """With --resume or --config: run code of another package that the file names and the command does not."""

    def __post_init__(self) -> None:
        require_ranges(self, {"threads": (0, most_threads()), "episodes": (0, 10**9), "seeds": (0, 2**16)})
        if self.seeds == 1 or (self.seeds and (self.resume or self.overwrite)):
            raise ConfigError(
                "seeds: expected 2 at least in a directory that is not there yet. Continue many seeds with gnncomm "
                "resume RUN."
            )
        if self.resume and self.overwrite:
            raise ConfigError("Expected --resume or --overwrite, got both: continue the run, or replace it.")
        if self.resume and (self.config or self.begin):
            other = "--config" if self.config else "--from"
            raise ConfigError(f"Expected --resume or {other}, got both: a run that is resumed has its own.")
        if self.seeds and self.begin:
            raise ConfigError("Expected --seeds or --from, got both: begin each seed from the run by itself.")
        if self.episodes == 1:
            raise ConfigError("episodes must be 0, for no evaluation, or at least 2, for an interval, got 1.")

    @property
    def tree(self) -> TrainConfig:
        env, run = EnvConfig(**vars(self.env)), RunConfig(**vars(self.run))
        return TrainConfig(env, self.policy, self.wire, self.learner, run)

    @classmethod
    def of(cls, config: TrainConfig) -> TrainArgs:
        """The options that ``config`` would be typed as."""
        own = EnvArgs(**vars(config.env)), config.policy, config.wire, config.learner, RunArgs(**vars(config.run))
        return cls(*own)


def run(words: list[str]) -> int:
    words = deprecated.learner_options(words)
    if wants_help(words):
        show_help(words)
    from gnncomm.cli import training  # what trains needs torch, what shows options does not

    return training.run(words)


def show_help(words: list[str]) -> None:
    """Show the options that ``words`` ask for, which ends the program; nothing where more has to be loaded for it."""
    if _SAYS_MORE & set(words):
        return
    env = parse(TrainArgs, [word for word in words if word not in ("-h", "--help")], NAME).env.id
    parse(TrainArgs, ["--help"], NAME, TrainArgs.of(recipes.recipe_of(env).replace(**{"env.id": env})))


def run_name(env: str, comm: str, seed: int) -> str:
    """Where a run lies unless it is told."""
    tail = f"-{comm.split(':')[0]}-{seed}"
    return f"runs/{re.sub('[^A-Za-z0-9._-]', '-', env)[: 64 - len(tail)]}{tail}"
