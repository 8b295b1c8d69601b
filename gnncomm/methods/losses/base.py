"""What losses of published methods share: they read a policy's parts, and own what only training needs."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.host import one_hot
from gnncomm.layers import CommLayer
from gnncomm.learn import Rollout
from gnncomm.learn.losses import Terms, masked_mean
from gnncomm.learn.returns import team_mean
from gnncomm.policy import CommPolicy, EpsilonGreedy, Evaluation
from gnncomm.shapes import Bool, Float
from gnncomm.types import Moment, SparseObs, TimeStep

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class MethodLoss(nn.Module):
    """Terms of the loss that a paper trains a part with, beside those of the learner.

    The policy is read, not owned: it is trained and saved by its learner, and so is what a loss adds (decoders, critics
    of its own), which no deployed agent needs. Messages are those that the topology lets through; what a scheduler left
    out or a medium lost is there in training. Draws come from the moment, so the same rollout gives the same loss.
    """

    wants_state: ClassVar[bool] = False
    """Whether time steps shall show the state of the environment where it has one."""
    policy: CommPolicy

    def __init__(self, policy: CommPolicy) -> None:
        super().__init__()
        object.__setattr__(self, "policy", policy)  # not as a submodule

    def forward(self, evaluation: Evaluation, rollout: Rollout) -> Terms:
        """As a ``gnncomm.learn.LossFunction``."""
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def layer(self, kind: type[CommLayer]) -> CommLayer:
        """The policy's first layer."""
        return part(self.policy.comm.rounds[0], kind, type(self).__name__, "comm")

    def flat(self, rollout: Rollout) -> TimeStep:
        """Steps and environments in one axis, ``[T * B, ...]``: a round is instantaneous."""
        return rollout.timestep.map(lambda value: value.flatten(0, 1))

    def said(self, rows_VNH: Tensor, timestep: TimeStep) -> Tensor:
        """``[V, N, M]``: the messages of the first round as they are read."""
        moment = Moment(timestep.key, timestep.step, pos=timestep.pos, alive=timestep.alive)
        msg: Tensor = self.policy.codec(self.policy.comm.rounds[0].send(rows_VNH), moment).msg
        return msg

    @property
    def of_values(self) -> bool:
        """Whether what the actor gives are values of actions."""
        return isinstance(self.policy.actions, EpsilonGreedy)

    def worth(self, features: Tensor, timestep: TimeStep) -> Tensor:
        """``[V, N]``: what is expected with these features, the best action's value where there are some."""
        if self.of_values:
            best: Tensor = self.policy.logits(features, timestep.alive, timestep.action_mask).amax(-1)
            return best
        value: Tensor = self.policy.critic(features, timestep.alive, timestep)
        return value

    @property
    def num_actions(self) -> int:
        """A, where actions are choices.

        Raises:
            ConfigError: they are numbers.
        """
        if self.policy.actions.width != self.policy.num_actions:
            raise ConfigError(f"{type(self).__name__}: expected actions that are choices, got {self.policy.actions}.")
        return self.policy.num_actions


def part(found: nn.Module, kind: type[ModuleT], loss: str, name: str) -> ModuleT:
    """``found``, which has to be a ``kind``.

    Raises:
        ConfigError: it is something else.
    """
    if not isinstance(found, kind):
        raise ConfigError(f"{loss} trains {kind.__name__}: expected it as {name}, got {type(found).__name__}.")
    return found


def perceptron(*widths: int) -> nn.Sequential:
    """Linear maps from each width to the next, with ReLU between."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def inbox_of(layer: CommLayer, rows: Tensor, msg: Tensor, graph: CommGraph) -> Tensor:
    """``[V, N, I]``: what ``layer`` makes of messages ``[V, N, M]``, before a receiver combines it with its row."""
    edges = graph.expand(len(rows))
    query = layer.query(rows).flatten(0, 1)
    inbox = layer.edge_inbox(msg.flatten(0, 1), query, edges.edge_index, edges.edge_attr, edges.edge_weight)
    return inbox.view(*rows.shape[:2], -1)


def lasting(rollout: Rollout, steps: int) -> Bool[Tensor, "T_k B N"]:
    """Who lives at t and at t + ``steps``, as the same agent in the same episode."""
    seen = rollout.timestep
    alive_TBN, on_TB = seen.alive, ~rollout.done
    same_TBN = on_TB[:-1].unsqueeze(-1).expand_as(alive_TBN[1:])
    if seen.entered is not None:
        same_TBN = same_TBN & ~seen.entered[1:]
    lasts = alive_TBN[: len(alive_TBN) - steps].clone()
    for k in range(steps):
        lasts &= same_TBN[k : k + len(lasts)]
    return lasts & alive_TBN[steps:]


def shown_state(timestep: TimeStep) -> Float[Tensor, "*lead S"]:
    """What is to be known of the whole: the state where it is shown, else the observations of all side by side."""
    if timestep.state is not None:
        return timestep.state
    obs = timestep.obs.to_flat() if isinstance(timestep.obs, SparseObs) else timestep.obs
    return torch.where(timestep.alive.unsqueeze(-1), obs, 0.0).flatten(-2)


def joint_action(rollout: Rollout, num_actions: int) -> Float[Tensor, "T B NA"]:
    """What all did, the dead nothing."""
    action, like = rollout.action, rollout.reward
    one = one_hot(action, num_actions, like) if action.dim() == 3 else action.to(like.dtype)
    return torch.where(rollout.timestep.alive.unsqueeze(-1), one, 0).flatten(-2)


def team_sarsa(value: Float[Tensor, "T B *N"], rollout: Rollout, gamma: float) -> Float[Tensor, ""]:
    r"""Half the squared temporal difference to :math:`r_t + \gamma d_t Q_{t+1}`, the latter a constant.

    ``value`` is of the team ``[T, B]`` or of each agent ``[T, B, N]``; the reward is the team's mean. The last step,
    and one that was truncated, have no successor in the rollout and are left out.
    """
    reward_TB, ends_TB = team_mean(rollout.reward, rollout.paid), (rollout.discount == 0).all(-1) & rollout.done
    known_TB, lives_TBN = ends_TB | ~rollout.done, rollout.timestep.alive
    known_TB = torch.cat([known_TB[:-1], ends_TB[-1:]])
    after = torch.cat([value[1:], torch.zeros_like(value[:1])]).detach()
    if value.dim() == 3:
        reward_TB, ends_TB, known_TB = (x.unsqueeze(-1).expand_as(lives_TBN) for x in (reward_TB, ends_TB, known_TB))
        goes_on = torch.cat([lives_TBN[1:], lives_TBN[-1:]]) & ~ends_TB
        known_TB = known_TB & lives_TBN
    else:
        goes_on = ~ends_TB
    target = reward_TB + gamma * torch.where(goes_on, after, 0.0)
    return 0.5 * masked_mean((value - target).square(), known_TB)
