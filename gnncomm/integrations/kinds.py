"""Groups and teams of agents of another library: by their spaces and names, and by the rewards of a trial.

The kind of an agent is its name without its number, as PettingZoo names agents: ``adversary_0`` is an ``adversary``.
Agents of one kind with the same spaces are a group. Teams are those that the setting ``teams`` names. Without it:

* kinds whose name has ``adversary`` in it are one team, the others another (as in the environments of MPE);
* else all are one team, if agents of different kinds got the same rewards in the trial, and rewards did not cancel out;
* else nobody knows who plays with whom, and a training is refused: sharing rewards with opponents is no training.
"""

from __future__ import annotations

import re

from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.integrations.form import Form
from gnncomm.types import Group

EVERYBODY = "all"
"""As a setting ``teams``: all agents are one team."""
_ADVERSARY = "adversary"


def kind_of(name: str) -> str:
    """``speaker_0`` -> ``speaker``."""
    return re.sub(r"_?\d+$", "", name) or name


def declared(teams: str | None, agents: list[str]) -> dict[str, str] | None:
    """Kind -> team, as the setting says it: ``"eve, alice + bob"``; None where nothing is said and names say nothing.

    Raises:
        ConfigError: a kind that there is not, or one that is in no team, or in two.
    """
    kinds = list(dict.fromkeys(map(kind_of, agents)))
    if teams is None:
        adversaries = [kind for kind in kinds if _ADVERSARY in kind]
        if not 0 < len(adversaries) < len(kinds):
            return None
        others = "+".join(kind for kind in kinds if kind not in adversaries)
        return {kind: _ADVERSARY if kind in adversaries else others for kind in kinds}
    if teams == EVERYBODY:
        return dict.fromkeys(kinds, "")
    parts = [[kind.strip() for kind in team.split("+")] for team in teams.split(",")]
    if sorted(kind for team in parts for kind in team) != sorted(kinds):
        raise ConfigError(
            f"teams: expected each of {kinds} in one team, for instance {','.join(kinds)!r} for opponents, "
            f"{'+'.join(kinds)!r} for one team, or {EVERYBODY!r}, got {teams!r}."
        )
    return {kind: "+".join(team) for team in parts for kind in team}


def undeclared(agents: list[str], rewards: Tensor, id: str) -> dict[str, str]:
    """One team, if the ``rewards [S, B, N]`` of a trial allow it.

    Raises:
        ConfigError: they differ between kinds, or cancel out.
    """
    kinds = list(map(kind_of, agents))
    zero_sum = bool((rewards != 0).any()) and bool((rewards.sum(-1).abs() <= 1e-5 * rewards.abs().amax(-1)).all())
    unlike = len(set(kinds)) > 1 and not rewards.equal(rewards[..., :1].expand_as(rewards))
    if zero_sum or unlike:
        each = list(dict.fromkeys(kinds))
        found = "cancelled out" if zero_sum else f"were not the same for {each}"
        raise ConfigError(
            f"{id}: expected to know who plays with whom, but in a trial rewards {found}. Say teams={EVERYBODY!r} if "
            f"all share their rewards and talk to each other, or, of opponents, teams={','.join(each)!r}."
        )
    return dict.fromkeys(kinds, "")


def groups(form: Form, teams: dict[str, str]) -> tuple[Group, ...]:
    """Agents of one kind, team and form of observations and actions; none where all are alike."""
    found: dict[tuple[object, ...], list[int]] = {}
    for n, name in enumerate(form.agents):
        bounds = (tuple(form.low[n]), tuple(form.high[n])) if form.low else ()
        alike = (teams[kind_of(name)], kind_of(name), form.widths[n], form.actions[n], bounds)
        found.setdefault(alike, []).append(n)
    if len(found) == 1:
        return ()
    kinds = [str(alike[1]) for alike in found]
    return tuple(
        Group(
            kind if kinds.count(kind) == 1 else f"{kind}{kinds[:number].count(kind)}",
            tuple(members),
            form.widths[members[0]],
            form.actions[members[0]],
            teams[kind],
        )
        for number, (kind, members) in enumerate(zip(kinds, found.values(), strict=True))
    )
