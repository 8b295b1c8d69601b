"""A whole policy of ours as TorchRL's actor and critic, with what it remembers in the TensorDict."""

from __future__ import annotations

from typing import Any, Literal

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor
from torch.distributions import Distribution
from torchrl.data import Composite, Unbounded
from torchrl.envs import EnvBase
from torchrl.envs.transforms import TensorDictPrimer
from torchrl.modules import ProbabilisticActor
from torchrl.modules.tensordict_module.rnn import recurrent_mode

from gnncomm.errors import ConfigError
from gnncomm.integrations.torchrl.moment import Key, MomentKeys
from gnncomm.policy import CommPolicy, PolicyState
from gnncomm.policy.actions import Actions
from gnncomm.types import TimeStep

_MORE = ("action_mask", "entered")


class PolicyModule(TensorDictModuleBase):
    """``CommPolicy`` over the entries of an environment: as an actor it writes ``logits [*, N, P]`` of the group, as a
    critic ``state_value [*, N, 1]``. Two modules of one policy share its weights.

    What it remembers, and what is in flight on its wire, are entries ``memory``, ``schedule`` and ``flight`` of the
    group, read at a step and written into ``next``. Where ``is_init`` they count as zeros. As with TorchRL's own
    recurrent modules, within ``set_recurrent_mode(True)`` (in which its losses run) the last axis of the TensorDict is
    time, and the states in between are recomputed, with their gradient. An environment needs ``InitTracker()`` and
    ``module.primer()`` then; where nothing is remembered, it needs neither, and all leading axes are alike.

    Args:
        policy: with a critic of its own, which gives the values.
        env: an environment with one group of agents, ``CommEnv`` or another; its entries decide what is read.
        group: that group.
        output: which of the two; an actor also writes what is remembered.

    Raises:
        ConfigError: observations of another width; a scheduler that samples, as no loss of TorchRL knows its choices;
            a wire that draws in an environment that does not tell the moment.
    """

    def __init__(
        self,
        policy: CommPolicy,
        env: EnvBase,
        *,
        group: str = "agents",
        output: Literal["logits", "state_value"] = "logits",
    ) -> None:
        super().__init__()
        self.policy, self.group, self.out_key = policy, group, (group, output)
        present = set(env.observation_spec.keys(True, True))
        observed = env.observation_spec[group, "observation"].shape
        if observed[-1] != policy.obs_dim:
            raise ConfigError(
                f"Expected observations of width {policy.obs_dim}, for which this policy is made, got {observed[-1]} "
                f"from {env}. Make it for this environment."
            )
        self.num_agents = observed[-2]
        self.moment = MomentKeys.among(present, group)
        self.moment.require(policy.wire)
        self.more: dict[str, Key] = {name: (group, name) for name in _MORE if (group, name) in present}
        self.more |= {"state": "state"} if "state" in present else {}
        self.state = {name: (group, name) for name, width in self._widths().items() if width[-1]}
        remembers: list[Key] = [*self.state.values(), "is_init"] if self.state else []
        self.in_keys = [(group, "observation"), *self.moment.known, *self.more.values(), *remembers]
        carried = [("next", *key) for key in self.state.values()] if output == "logits" else []
        self.out_keys = [self.out_key, *carried]

    def _widths(self) -> dict[str, tuple[int, ...]]:
        """Of what an agent carries from step to step."""
        state = self.policy.initial_state(1, self.num_agents)
        named = {"memory": state.memory, "schedule": state.wire.schedule, "flight": state.wire.flight}
        return {name: tuple(value.shape[2:]) for name, value in named.items()}

    def primer(self) -> TensorDictPrimer:
        """The transform that begins an episode with what ``initial_state`` says: zeros."""
        count, widths = self.num_agents, self._widths()
        zeros = Composite({name: Unbounded(shape=(count, *widths[name])) for name in self.state}, shape=(count,))
        return TensorDictPrimer({self.group: zeros}, expand_specs=True, reset_key="_reset")

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        lead = tensordict.get((self.group, "observation")).shape[:-2]
        unrolls = bool(self.state) and bool(recurrent_mode()) and len(lead) > 0
        found = self._unrolled(tensordict, lead) if unrolls else self._stepped(tensordict, lead)
        return tensordict.set(self.out_key, found)

    def _stepped(self, tensordict: TensorDictBase, lead: torch.Size) -> Tensor:
        """One step from each entry, as if these were environments side by side."""
        now = self._timestep(tensordict, lead)
        decision = self.policy.act(now, self._state(tensordict, lead))
        if self.out_key[-1] == "logits":
            after = {"memory": decision.state.memory, **vars(decision.state.wire)}
            for name, key in self.state.items():
                tensordict.set(("next", *key), after[name].view(*lead, *after[name].shape[1:]))
        found = decision.logits if self.out_key[-1] == "logits" else decision.value.unsqueeze(-1)
        return found.view(*lead, *found.shape[1:])

    def _state(self, tensordict: TensorDictBase, lead: torch.Size, at: int | None = None) -> PolicyState:
        """What is remembered at the entries, or at the time ``at`` of the last axis."""
        held = {name: tensordict.get(key) for name, key in self.state.items()}
        if at is not None:
            lead, held = lead[:-1], {name: value.select(len(lead) - 1, at) for name, value in held.items()}
        fresh = self.policy.initial_state(lead.numel(), self.num_agents)
        return fresh.with_tensors(
            {
                name: held[last].reshape(value.shape) if (last := name.rpartition(".")[-1]) in held else value
                for name, value in fresh.tensors().items()
            }
        )

    def _unrolled(self, tensordict: TensorDictBase, lead: torch.Size) -> Tensor:
        """``[*, T]``: from the state before the first step on."""
        split = (lead[:-1].numel(), lead[-1])
        now = self._timestep(tensordict, lead).map(lambda x: x.unflatten(0, split).transpose(0, 1))
        seen = self.policy.unroll(now, self._some_action(now), self._state(tensordict, lead, 0))
        found = seen.logits if self.out_key[-1] == "logits" else seen.value.unsqueeze(-1)
        return found.transpose(0, 1).reshape(*lead, *found.shape[2:])

    def _some_action(self, now: TimeStep) -> Tensor:
        """``unroll`` judges actions, which nobody asks for here."""
        zeros = now.alive.new_zeros(*now.alive.shape, self.policy.actions.width, dtype=self.policy.like.dtype)
        agent = torch.arange(self.num_agents, device=zeros.device)
        return self.policy.actions.choose(zeros, None, now.key.unsqueeze(-1), now.step.unsqueeze(-1), agent)

    def _timestep(self, tensordict: TensorDictBase, lead: torch.Size) -> TimeStep:
        """``[B, ...]`` of all entries."""
        num_envs = lead.numel()

        def rows(key: Key) -> Tensor:
            value: Tensor = tensordict.get(key)
            return value.reshape(num_envs, *value.shape[len(lead) :])

        now, _ = self.moment.read(tensordict, (num_envs, self.num_agents))
        assert now.alive is not None  # read says it
        no = torch.zeros_like(now.alive[:, 0])
        first = rows("is_init").squeeze(-1) if self.state else no
        nothing = torch.zeros(now.alive.shape, device=no.device)
        return TimeStep(
            obs=rows((self.group, "observation")),
            reward=nothing,
            discount=torch.ones_like(nothing),
            alive=now.alive,
            terminated=no,
            truncated=no,
            success=no,
            first=first,
            key=now.key,
            step=now.step,
            pos=now.pos,
            **{name: rows(key) for name, key in self.more.items()},
        )


class ActionDistribution(Distribution):
    """What a policy of ours decides by, as a distribution of torch: one action for each of ``[..., N]`` agents.

    Args:
        logits: ``[..., N, P]``.
        actions: ``policy.actions``.
    """

    def __init__(self, logits: Tensor, actions: Actions) -> None:
        self.logits, self.actions = logits, actions
        super().__init__(logits.shape[:-1], validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """One draw, by torch's generator."""
        if tuple(sample_shape):
            raise ConfigError(f"ActionDistribution draws one action at a time: expected no shape, got {sample_shape}.")
        return self._choose(torch.randint(2**62, (), device=self.logits.device))

    def log_prob(self, action: Tensor) -> Tensor:
        return self.actions.log_prob(self.logits, action)

    def entropy(self) -> Tensor:
        return self.actions.entropy(self.logits)

    @property
    def mode(self) -> Tensor:
        return self._choose(None)

    @property
    def deterministic_sample(self) -> Tensor:
        return self._choose(None)

    def _choose(self, key: Tensor | None) -> Tensor:
        *lead, num_agents, _ = self.logits.shape
        episode = torch.arange(torch.Size(lead).numel(), device=self.logits.device).view(*lead, 1)
        agent = torch.arange(num_agents, device=self.logits.device)
        return self.actions.choose(self.logits.detach(), key, episode, torch.zeros_like(episode), agent)


def actor(policy: CommPolicy, env: EnvBase, group: str = "agents") -> ProbabilisticActor:
    """The actor of TorchRL's rollouts and losses: it writes ``action`` and ``action_log_prob`` of the group.

    Raises:
        ConfigError: see ``PolicyModule``.
    """
    return ProbabilisticActor(
        PolicyModule(policy, env, group=group),
        in_keys={"logits": (group, "logits")},
        out_keys=[(group, "action")],
        distribution_class=ActionDistribution,
        distribution_kwargs={"actions": policy.actions},
        return_log_prob=True,
        log_prob_key=(group, "action_log_prob"),
    )


def critic(policy: CommPolicy, env: EnvBase, group: str = "agents") -> PolicyModule:
    """The value network of TorchRL's losses: it writes ``state_value`` of the group, by the critic of ``policy``."""
    return PolicyModule(policy, env, group=group, output="state_value")
