"""Our environments as tasks of BenchMARL."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from benchmarl.environments.common import TaskClass
from torchrl.data import Composite
from torchrl.envs import EnvBase

from gnncomm import environments
from gnncomm.errors import ConfigError
from gnncomm.integrations.torchrl.env import CommEnv
from gnncomm.types import TeamSpec

GROUP = "agents"


class CommTask(TaskClass):
    """``Experiment(task=CommTask("predator_prey", vision=1), ...)``: all agents are one group, ``agents``.

    Losses see who died (``agents``, ``terminated``) as TorchRL's do, and masked actions. Models read observations only;
    ``CommModelConfig(moment=True)`` reads who takes part, positions and the moment, too.

    Args:
        env: see ``gnncomm.environments.make``.
        state: whether central critics read the state of the environment.
        **settings: those of the environment.

    Raises:
        ConfigError: an unknown environment or setting, or one with opponents: BenchMARL would share their rewards.
    """

    def __init__(self, env: Any, *, state: bool = False, **settings: Any) -> None:
        self.env, self.state = env, state
        self._one = environments.make(env, 1, **settings)
        teams = {group.team for group in TeamSpec.of(self._one).groups}
        if len(teams) > 1:
            raise ConfigError(
                f"{self._one.id}: expected one team, got {sorted(teams)}, whom one group would train together. Train "
                "it with gnncomm train."
            )
        super().__init__(name=self._one.id.replace("/", "-").replace(":", "-"), config=settings)

    def get_env_fun(
        self, num_envs: int, continuous_actions: bool, seed: int | None, device: Any
    ) -> Callable[[], EnvBase]:
        return functools.partial(
            CommEnv, self.env, num_envs, device, state=self.state, group=GROUP, seed=seed or 0, **self.config
        )

    def supports_continuous_actions(self) -> bool:
        return TeamSpec.of(self._one).box is not None

    def supports_discrete_actions(self) -> bool:
        return TeamSpec.of(self._one).box is None

    def max_steps(self, env: EnvBase) -> int:
        return self._one.max_steps

    def has_render(self, env: EnvBase) -> bool:
        return False

    def group_map(self, env: EnvBase) -> dict[str, list[str]]:
        return {GROUP: [f"agent_{n}" for n in range(self._one.num_agents)]}

    def observation_spec(self, env: EnvBase) -> Composite:
        return self._of_group(env, "observation")

    def action_mask_spec(self, env: EnvBase) -> Composite | None:
        known = env.full_observation_spec_unbatched[GROUP].keys()
        return self._of_group(env, "action_mask") if "action_mask" in known else None

    def _of_group(self, env: EnvBase, name: str) -> Composite:
        spec = env.full_observation_spec_unbatched[GROUP, name]
        return Composite({GROUP: Composite({name: spec}, shape=(self._one.num_agents,))})

    def info_spec(self, env: EnvBase) -> Composite | None:
        return None

    def state_spec(self, env: EnvBase) -> Composite | None:
        return Composite({"state": env.full_observation_spec_unbatched["state"]}) if self.state else None

    def action_spec(self, env: EnvBase) -> Composite:
        return env.full_action_spec_unbatched

    @staticmethod
    def env_name() -> str:
        return "gnncomm"
