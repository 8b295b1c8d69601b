"""Evaluations while a team trains: which checkpoint was the best, and whether it is time to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from gnncomm.errors import ConfigError, NonFiniteError
from gnncomm.evaluation.play import evaluating, play, team
from gnncomm.learn.config import RunConfig, goal_of
from gnncomm.policy import CommPolicy
from gnncomm.types import VectorEnv


@dataclass(frozen=True)
class Standing:
    """What the evaluations of a training have come to: part of its checkpoints, so that it goes on from there."""

    evaluations: int = 0
    """How many were made."""
    best_step: int = 0
    """Environment steps at the best one; 0: there is none."""
    success: float = 0.0
    """Of the best one."""
    returned: float = 0.0
    """Return of the best one."""
    since_best: int = 0
    """Evaluations after the best one."""
    over: str = ""
    """Why the training ends before its last update; empty: it goes on."""

    def require_sound(self, step: int) -> None:
        """Refuse numbers that no training can have at environment step ``step``.

        Raises:
            ConfigError: names them.
        """
        numbers = self.evaluations, self.best_step, self.since_best
        finite = math.isfinite(self.success) and math.isfinite(self.returned)
        if min(numbers) < 0 or self.best_step > step or self.since_best > self.evaluations or not finite:
            raise ConfigError(f"expected evaluations up to step {step}, got {self}.")


class Selection:
    """Evaluates the team that trains, every so many environment steps, always on the same episodes.

    Actions are the most likely ones, and the episodes are those of the purpose "select", drawn from the training's
    seed: they occur neither in a training nor in an evaluation that is reported. Nothing of the training changes. The
    best evaluation is the one of the highest success, and of the highest return among these.

    Args:
        settings: how often, on how many episodes, and when it is enough.
        env: environments of its own, with the settings of the training's.
        standing: what earlier evaluations came to.
    """

    def __init__(self, settings: RunConfig, env: VectorEnv, standing: Standing = Standing()) -> None:  # frozen
        self.settings, self.env, self.standing = settings, env, standing
        self._goal = goal_of(settings.stop_at)

    def due(self, before: int, after: int, finished: bool) -> bool:
        """Whether to evaluate after an update from environment step ``before`` to ``after``."""
        return finished or before // self.settings.eval_every < after // self.settings.eval_every

    @torch.no_grad()
    def evaluate(self, policy: CommPolicy, step: int) -> dict[str, float]:
        """Play, take note of the outcome in ``standing``, and say it: ``eval_success``, ``eval_return`` and
        ``eval_length``.

        Raises:
            NonFiniteError: the return is none.
        """
        settings = self.settings
        with evaluating(policy):
            actor = team(policy, self.env, None)
            outcomes = play(self.env, actor, settings.eval_episodes, settings.seed, purpose="select")
        found = {
            "success": float(outcomes.success.double().mean()),
            "return": float(outcomes.returns.mean()),
            "length": float(outcomes.length.double().mean()),
        }
        if not math.isfinite(found["return"]):
            raise NonFiniteError(f"Evaluation at step {step:,}: expected a finite return, got {found['return']}.")
        self.standing = self._after(found, step)
        if not outcomes.judged:  # of where there is no success the best is that of the highest return
            found["success"] = math.nan
        return {f"eval_{name}": value for name, value in found.items()}

    @property
    def is_best(self) -> bool:
        """Whether the last evaluation was the best one."""
        return bool(self.standing.evaluations) and not self.standing.since_best

    def _after(self, found: dict[str, float], step: int) -> Standing:
        now = replace(self.standing, evaluations=self.standing.evaluations + 1)
        mine = found["success"], found["return"]
        if not now.best_step or mine > (now.success, now.returned):
            now = replace(now, best_step=step, success=mine[0], returned=mine[1], since_best=0)
        else:
            now = replace(now, since_best=now.since_best + 1)
        return replace(now, over=self._why_over(now, found))

    def _why_over(self, now: Standing, found: dict[str, float]) -> str:
        if self._goal is not None:
            name, goal = self._goal
            if found[name] <= goal if name == "length" else found[name] >= goal:
                return f"{name} {found[name]:.4g} reached {goal:g}"
        if self.settings.patience and now.since_best >= self.settings.patience:
            return f"{now.since_best} evaluations were no better than that at {now.best_step:,} steps"
        return ""
