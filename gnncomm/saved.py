"""What the checkpoint of a training means: the facts that are saved with it, and the checks before it is used.

``gnncomm.store`` knows that bytes are those that were written. Here stands what they must say: counters that agree with
the configuration and with the name of the checkpoint, tensors that fit the policy, the optimiser and the environments,
and environments that show what was seen last. Sizes are compared before memory is taken for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gnncomm import deprecated
from gnncomm.errors import CheckpointMismatchError, ConfigError, DeviceError, GnnCommError
from gnncomm.evaluation import Standing
from gnncomm.graph.given import copied
from gnncomm.learn.build import assemble
from gnncomm.learn.config import TrainConfig, folded
from gnncomm.learn.naming import names_within
from gnncomm.learn.parts import OF_THE_POLICY, Parts, fingerprints, require_same
from gnncomm.learn.training import Training
from gnncomm.policy import CommPolicy
from gnncomm.store import Checkpoint, from_json, package_versions, require_finite, require_match, sealed, to_json
from gnncomm.types import TeamSpec

MAY_CHANGE = ("run.steps", "run.save_every", "run.loggers", "run.graphs")
"""Settings that a resumed training may have otherwise."""


STANDING = "selection"
"""Where a checkpoint says what the evaluations while training have come to."""


def facts(config: TrainConfig, training: Training) -> dict[str, Any]:
    """What is saved beside the tensors and counters of ``training``, which ``config`` describes, as JSON."""
    return {
        "sizes": to_json(TeamSpec.of(training.env)),
        "config_sha256": fingerprint(config),
        "threads": torch.get_num_threads(),
    }


def fingerprint(config: TrainConfig) -> str:
    """SHA-256 of the settings that a run keeps for its whole life."""
    return sealed.digest(folded(from_json(TrainConfig, to_json(config)), MAY_CHANGE))  # 1 and 1.0 are one learning rate


def policy_of(config: TrainConfig, checkpoint: Checkpoint, parts: Parts) -> CommPolicy:
    """The policy that was saved, without any environment.

    Raises:
        CheckpointMismatchError: it is of another configuration, or its tensors are not those of such a policy; nothing
            of their size was built. NonFiniteError: NaN or infinity in a weight.
    """
    require_fit(config, checkpoint, parts)
    _require_device(config.run.device)
    sizes = _sizes(checkpoint)
    policy = assemble(config, sizes, parts)
    policy.load_state_dict(checkpoint.group("model"))
    return policy.eval()


def require_fit(config: TrainConfig, checkpoint: Checkpoint, parts: Parts) -> None:
    """Refuse a checkpoint whose policy is not the one of ``config``, before anything of its size is built.

    Raises:
        CheckpointMismatchError: names the counter, or lists the tensors.
        ConfigError: one of ``parts`` is not what the run was trained with.
    """
    require_counters(config, checkpoint)
    require_policy(config, _sizes(checkpoint), checkpoint, parts)


def require_policy(config: TrainConfig, sizes: TeamSpec, checkpoint: Checkpoint, parts: Parts) -> None:
    """Refuse a policy that is not that of ``config`` for ``sizes``, before anything of its size is built.

    Raises:
        CheckpointMismatchError: lists the tensors.
        ConfigError: one of ``parts`` is not what the policy was made with.
    """
    blank = _blank(config, sizes, checkpoint, parts)
    named = {name: names_within(name, blank, sizes.num_agents) or {} for name in parts if name not in config.given}
    known = {name for name, said in named.items() if said and all(config[key] == said[key] for key in said)}
    found = fingerprints(parts, blank)
    require_same(config, {name: mark for name, mark in found.items() if name not in known})
    require_match(blank.state_dict(), checkpoint.group("model"), f"{checkpoint.path}: the policy")


def num_agents(checkpoint: Checkpoint) -> int:
    """N of the team that was trained."""
    return _sizes(checkpoint).num_agents


def require_counters(config: TrainConfig, checkpoint: Checkpoint) -> None:
    """Refuse counters that are none, or of another training than ``config`` describes.

    Raises:
        CheckpointMismatchError: names the counter.
    """
    state, path = checkpoint.state, checkpoint.path / "state.json"
    if state.get("config_sha256") != fingerprint(config):
        raise CheckpointMismatchError(
            f"{path}: expected a checkpoint of the settings in config.json, got one of other settings. Put the files "
            "of one run together again."
        )
    for name, want in (("env_steps", checkpoint.step), ("updates", checkpoint.step // _batch(config))):
        found = state.get(name)
        if type(found) is not int or found != want or checkpoint.step % _batch(config):
            raise CheckpointMismatchError(
                f"{path}: expected {name} = {want} at step {checkpoint.step}, got {str(found)[:40]!r}."
            )


def require_rows(config: TrainConfig, checkpoint: Checkpoint) -> None:
    """Refuse a configuration with another number of environments than were saved, before so many are made.

    Raises:
        CheckpointMismatchError: gives both numbers.
    """
    rows = checkpoint.group("carry").get("running_return")
    if rows is None or rows.shape != (config.env.num_envs,):
        got = "none" if rows is None else list(rows.shape)
        raise CheckpointMismatchError(
            f"{checkpoint.path}: expected running_return [num_envs={config.env.num_envs}] in 'carry', got {got}."
        )


def restore(config: TrainConfig, training: Training, checkpoint: Checkpoint) -> None:
    """Let ``training`` go on from ``checkpoint``.

    Raises:
        CheckpointMismatchError: a counter, a tensor or a state that no such training can have; names it.
        NonFiniteError: NaN or infinity where a training has none. ``training`` is of no use after either.
        StateError, WorkerError: an environment of another library that does not repeat itself, or fails.
    """
    require_counters(config, checkpoint)
    mine, theirs = TeamSpec.of(training.env), _sizes(checkpoint)
    if mine != theirs:
        raise CheckpointMismatchError(
            f"{checkpoint.path}/state.json: expected {mine} for the environment, got {theirs}."
        )
    expected = training.state()[0]
    groups: dict[str, Mapping[str, Tensor]] = {name: checkpoint.group(name) for name in expected}
    groups["env"] = deprecated.env_state(config.env.id, groups["env"])
    for name, tensors in expected.items():
        require_match(tensors, groups[name], f"{checkpoint.path}: {name!r}")
    _require_finite(training, checkpoint)
    try:
        shown = training.restore(groups, checkpoint.state)
    except GnnCommError:
        raise
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointMismatchError(
            f"{checkpoint.path}: expected a state of {config.env.id!r}, got one that it cannot continue "
            f"({type(error).__name__}: {str(error)[:200]})."
        ) from error
    seen = training.carry.timestep.tensors()
    for name, value in shown.tensors().items():
        if not _same(value, seen[name]):
            raise CheckpointMismatchError(
                f"{checkpoint.path}: expected {name} in 'carry' to be what the environments in 'env' show, got another."
            )


def standing(checkpoint: Checkpoint) -> Standing:
    """What the evaluations while training had come to; nothing, where there were none.

    Raises:
        CheckpointMismatchError: what no training can have come to.
    """
    try:
        found: Standing = from_json(Standing, checkpoint.state.get(STANDING, {}))
        found.require_sound(checkpoint.step)
    except GnnCommError as error:
        raise CheckpointMismatchError(f"{checkpoint.path}/state.json: {STANDING}: {error}") from error
    return found


def best_step(checkpoint: Checkpoint) -> int:
    """Environment steps of the best checkpoint, as the newest one says.

    Raises:
        ConfigError: the run was trained without evaluations, or none was made yet.
    """
    found = standing(checkpoint).best_step
    if not found:
        raise ConfigError(
            f"{checkpoint.path}: expected evaluations while training, of which one was the best, got none. Train with "
            "--eval-every STEPS, or take the last checkpoint."
        )
    return found


def changed_surroundings(checkpoint: Checkpoint) -> list[str]:
    """What differs from when ``checkpoint`` was saved and may round sums otherwise: "torch 2.12.0 -> 2.13.0"."""
    here = {**package_versions(), "threads": str(torch.get_num_threads())}
    then = {**checkpoint.versions, "threads": str(checkpoint.state.get("threads"))}
    return [
        f"{name} {then.get(name)} -> {here[name]}"
        for name in ("gnncomm", "torch", "threads")
        if here[name] != then.get(name)
    ]


def _require_device(name: str) -> None:
    try:
        found = torch.zeros(1, device=name).device.type
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise DeviceError(f"device: expected one that this machine has, got {name[:80]!r}.") from error
    if found == "meta":
        raise DeviceError("device: expected one that holds numbers, got 'meta'.")


def _batch(config: TrainConfig) -> int:
    return config.run.rollout * config.env.num_envs


def _sizes(checkpoint: Checkpoint) -> TeamSpec:
    """What the policy was built for."""
    try:
        spec: TeamSpec = from_json(TeamSpec, checkpoint.state.get("sizes"))
    except GnnCommError as error:
        raise CheckpointMismatchError(f"{checkpoint.path}/state.json: expected sizes of a team: {error}") from error
    numbers = (spec.obs_dim, spec.num_actions, spec.num_agents)
    if min(numbers) < 1:
        raise CheckpointMismatchError(f"{checkpoint.path}/state.json: expected sizes above 0, got {numbers}.")
    return spec


def _blank(config: TrainConfig, sizes: TeamSpec, checkpoint: Checkpoint, parts: Parts) -> CommPolicy:
    """Such a policy without memory for its tensors; those of ``parts`` are there already, and stay as they are."""
    copies: Parts = {name: copied("Loading a run", part) for name, part in parts.items() if name in OF_THE_POLICY}  # type: ignore[assignment]  # as above
    try:
        with torch.device("meta"):
            return assemble(config.replace(device="meta"), sizes, copies)
    except GnnCommError:
        raise
    except (RuntimeError, OverflowError, TypeError) as error:  # torch cannot count so many bytes
        raise CheckpointMismatchError(
            f"{checkpoint.path}: expected sizes that a policy can have, got {sizes} and hidden={config.policy.hidden} "
            f"({str(error)[:200]})."
        ) from error


def _require_finite(training: Training, checkpoint: Checkpoint) -> None:
    """What arithmetic made, of the learner and of the agents; what the environments show may be anything."""
    for name in training.learner.state()[0]:
        require_finite(checkpoint.group(name), f"{checkpoint.path}: {name!r}")
    carry = checkpoint.group("carry")
    remembered = {name: value for name, value in carry.items() if not name.startswith("timestep.")}
    require_finite(remembered, f"{checkpoint.path}: 'carry'")


def _same(left: Tensor, right: Tensor) -> bool:
    left, right = left.cpu(), right.cpu()  # what lies in a file lies on no device
    return bool(((left == right) | ((left != left) & (right != right))).all())
