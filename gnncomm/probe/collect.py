"""What the probe keeps of the episodes of an evaluation: one moment of each, and what messages changed in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ResourceError
from gnncomm.evaluation import Traffic
from gnncomm.graph import talkers
from gnncomm.policy import CommPolicy, Decision, EpsilonGreedy
from gnncomm.policy.actions import Categorical, chances
from gnncomm.probe.trial import Trial, Tried
from gnncomm.shapes import Bool, Float
from gnncomm.types import Named, Scene, SparseObs, TeamSpec, TimeStep, VectorEnv

MAX_BYTES = 1 << 30
"""Of the moments that are kept."""


@dataclass(frozen=True)
class Moments:
    """One moment of each of E episodes, drawn from all of them alike, so that rows are independent.

    N agents, J of them senders that are looked at, K rounds.
    """

    senders: tuple[int, ...]
    alive: Bool[Tensor, "E N"]
    obs: Float[Tensor, "E J O"]
    action: Tensor  # [E, N] int64, or [E, N, A] numbers
    said: tuple[Tensor, ...]  # of each round [E, J, M]: what is read of a sender, before the channel
    symbols: tuple[Tensor, ...]  # of each round [E, J, S] on the wire; S = 0 where a codec has none
    heard: Bool[Tensor, "E K J"]  # somebody could read it
    finished: Bool[Tensor, "E N"]  # has done its part
    places: Mapping[str, Tensor]  # name of a kind of entity -> [E, M, 2]; "" are the agents
    active: Mapping[str, Tensor]  # name -> [E, M]
    marks: Mapping[str, Tensor]  # name -> [E, N]; -1: none
    action_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """What became of the decision of each receiver; sums over the steps of each of E episodes.

    Of S interventions: one on each sender, and the last on all at once.
    """

    total: Float[Tensor, "E S N"]
    divergence: Float[Tensor, "E S N"]  # nats; 0 where it is not defined
    count: Float[Tensor, "E S N"]


class Collector:
    """Plays for ``policy``, and looks on: an actor for ``evaluation.play``.

    At each step it also asks what the team would have decided if messages had been exchanged, or had not arrived, and
    forgets the answer but for how unlike it is: the episode goes on as it would without the probe.
    """

    def __init__(
        self, policy: CommPolicy, env: VectorEnv, episodes: int, seed: int, key: int | None, senders: Sequence[int]
    ) -> None:
        self.policy, self.env, self.key, self.senders = policy, env, key, tuple(senders)
        self.episodes, self.draw = episodes, random.stream(seed, "probe")
        self.trial = Trial()
        self.tried = policy.with_wire(replace(policy.wire, channel=Tried(self.trial, policy.wire.channel)))
        self.state = policy.initial_state(env.num_envs, env.num_agents)
        self.traffic = Traffic(policy.comm)
        box = TeamSpec.of(env).box
        reach = None if box is None else torch.tensor(box.high) - torch.tensor(box.low)
        self.reach = None if reach is None else reach.clamp(min=1e-12).to(env.device)
        self.exchanged, self.muted = (
            Change(*(torch.zeros(episodes, kinds, env.num_agents, dtype=torch.float64) for _ in range(3)))
            for kinds in (len(self.senders) + 1, 1)
        )
        self._kept: dict[str, Tensor] = {}

    def __call__(self, now: TimeStep, episode: Tensor) -> Tensor:
        before, scene = self.state, self.env.scene()
        decision = self.policy.act(now, before, self.key)
        self.state = decision.state
        counted = episode >= 0
        self.traffic.count(decision.talk, now.alive, counted)
        self._keep(now, scene, decision, episode)
        arrives = self.trial.arriving(decision.talk, counted)
        everyone = torch.ones_like(now.alive)
        agents = torch.arange(everyone.shape[1], device=everyone.device)
        each = [everyone & (agents == sender) for sender in self.senders]
        for number, whose in enumerate([*each, everyone]):
            found = self.trial.exchange(decision.talk, whose, counted)
            other = self.tried.act(now, before, self.key)
            self._compare(self.exchanged, number, now, decision, other, found, episode)
        self.trial.silence(everyone)
        other = self.tried.act(now, before, self.key)
        self._compare(self.muted, 0, now, decision, other, arrives, episode)
        return decision.action

    def _compare(
        self,
        into: Change,
        number: int,
        now: TimeStep,
        decision: Decision,
        other: Decision,
        changed: Bool[Tensor, "B N"],
        episode: Tensor,
    ) -> None:
        """Add how unlike the decisions of those are who live and are not the only ones whose messages changed."""
        own = torch.eye(changed.shape[1], dtype=torch.bool, device=changed.device)
        by_others = (changed.unsqueeze(-1) & ~own).any(1)
        counts = by_others & now.alive & (episode >= 0).unsqueeze(-1)
        total, divergence = self._unlike(decision, other)
        row = episode.clamp(min=0).cpu()
        for sums, value in (
            (into.total, total),
            (into.divergence, divergence),
            (into.count, torch.ones_like(total)),
        ):
            sums[:, number].index_add_(0, row, torch.where(counts, value, 0.0).double().cpu())

    def _unlike(self, one: Decision, other: Decision) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"]]:
        """Total variation and divergence of the chances of actions; of numbers the part of their range they move."""
        if self.reach is not None:
            moved = ((one.action - other.action).abs() / self.reach).mean(-1)
            return moved, torch.zeros_like(moved)
        actions = self.policy.actions
        p, q = (chances(actions, each.logits, self.env.num_actions) for each in (one, other))
        variation = (p - q).abs().sum(-1) / 2
        if not isinstance(actions, Categorical) or isinstance(actions, EpsilonGreedy):
            return variation, torch.zeros_like(variation)
        log_p, log_q = (each.logits.log_softmax(-1) for each in (one, other))
        return variation, torch.where(p > 0, p * (log_p - log_q), 0.0).sum(-1).clamp(min=0)

    def _keep(self, now: TimeStep, scene: Scene, decision: Decision, episode: Tensor) -> None:
        """Put this step in the place of the one that is kept, with probability 1 / (t + 1): all are as likely."""
        uniform = random.uniform(self.draw, episode.clamp(min=0), now.step, dtype=torch.float64)
        taken = (episode >= 0) & (uniform * (now.step + 1) < 1)
        rows, talk, senders = episode[taken].cpu(), decision.talk, list(self.senders)
        obs = now.obs.to_flat() if isinstance(now.obs, SparseObs) else now.obs
        shown = {
            "alive": now.alive,
            "obs": obs[:, senders],
            "action": decision.action,
            "heard": torch.stack([talkers(each).expand(now.alive.shape) for each in talk.scheduled], 1)[..., senders],
            "finished": scene.finished,
            "place": scene.agents,
            **{f"said{k}": said[:, senders] for k, said in enumerate(talk.said)},
            **{f"symbols{k}": symbols[:, senders] for k, symbols in enumerate(talk.symbols)},
            **{f"place{name}": scene.entities[name] for name in scene.entities},
            **{f"active{name}": scene.active[name] for name in scene.entities},
            **{f"mark{name}": marks for name, marks in scene.marks.items()},
        }
        if not self._kept:
            self._require_room(shown)
            self._kept = {name: value.new_zeros(self.episodes, *value.shape[1:]).cpu() for name, value in shown.items()}
            self._names = list(scene.entities), list(scene.marks)
        for name, value in shown.items():
            self._kept[name][rows] = value[taken].cpu()

    def _require_room(self, shown: Mapping[str, Tensor]) -> None:
        need = self.episodes * sum(value[0].numel() * value.element_size() for value in shown.values())
        if need > MAX_BYTES:
            raise ResourceError(
                f"Expected moments that fit into {MAX_BYTES >> 20:,} MiB, got {self.episodes:,} episodes, which need "
                f"{need >> 20:,} MiB. Play fewer."
            )

    def moments(self) -> Moments:
        """Of all episodes that were played."""
        kept, rounds, (entities, marks) = self._kept, range(len(self.policy.comm.rounds)), self._names
        return Moments(
            self.senders,
            kept["alive"],
            kept["obs"],
            kept["action"],
            tuple(kept[f"said{k}"] for k in rounds),
            tuple(kept[f"symbols{k}"] for k in rounds),
            kept["heard"],
            kept["finished"],
            {"": kept["place"], **{name: kept[f"place{name}"] for name in entities}},
            {name: kept[f"active{name}"] for name in entities},
            {name: kept[f"mark{name}"] for name in marks},
            tuple(self.env.action_names) if isinstance(self.env, Named) else (),
        )
