"""``probe``: what do they say, and who listens?"""

from __future__ import annotations

import torch
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.evaluation import DEFAULT_SEED, mean_interval, play
from gnncomm.evaluation.play import evaluating
from gnncomm.policy import CommPolicy
from gnncomm.probe.collect import Change, Collector, Moments
from gnncomm.probe.information import by_chance, codes, entropy, mutual_information, p_value
from gnncomm.probe.linear import read_out
from gnncomm.probe.report import Cell, Fact, Listening, ProbeReport, Said
from gnncomm.probe.targets import Target, targets
from gnncomm.types import Single, VectorEnv

LEAST = 30
"""Episodes; a message that is read in fewer is not looked at."""
MOST_SENDERS = 8
PERMUTATIONS = 199
_AT_ONCE = 250


@torch.no_grad()
def probe(
    policy: CommPolicy,
    env: VectorEnv | Single,
    episodes: int = 500,
    seed: int = DEFAULT_SEED,
    greedy: bool = True,
    permutations: int = PERMUTATIONS,
) -> ProbeReport:
    """Play the episodes of an evaluation, and measure what messages say and what they change.

    After Lowe, Foerster, Boureau, Pineau and Dauphin 2019, `On the Pitfalls of Measuring Emergent Communication
    <https://arxiv.org/abs/1903.05168>`_: *signalling* (section 3.1) says that messages depend on what their sender saw
    or does next, *listening* (section 3.2) that what is read changes what is done; only both together, and a gain of
    return (``evaluate``), mean that a team communicates. Of each episode one moment is drawn, so that rows are
    independent and permutations of them an exact null. Of several senders and rounds, the null is that of the largest
    of them (Westfall and Young 1993), so that a target without any message about it is marked in 5 % of all probes.

    Args:
        policy: neither its weights nor its modes are changed.
        env: its running episodes are given up.
        episodes: at least 30; of a message that is read seldom more are needed.
        seed: of the episodes, of the moments and of the orders; the same numbers for the same arguments.
        greedy: whether agents take their most likely actions, or sample as in training.
        permutations: of a null.

    Raises:
        ConfigError: too few episodes or permutations. ResourceError: moments larger than 1 GiB.
        EnvContractError: an episode never ends.
    """
    if episodes < LEAST or permutations < 19:
        raise ConfigError(
            f"probe: expected at least {LEAST} episodes and 19 permutations, got {episodes} and {permutations}: fewer "
            "cannot tell anything from chance."
        )
    if isinstance(env, Single):
        env = env.vector(min(episodes, _AT_ONCE))
    senders = _senders(env.num_agents)
    with evaluating(policy):
        looker = Collector(policy, env, episodes, seed, None if greedy else seed, senders)
        play(env, looker, episodes, seed)
    moments = looker.moments()
    return ProbeReport(
        env=env.id,
        episodes=episodes,
        seed=seed,
        greedy=greedy,
        num_agents=env.num_agents,
        senders=senders,
        wire=looker.traffic.use(),
        said=_said(moments, seed, permutations),
        readable=[cell for target in targets(moments) for cell in _readable(moments, target, seed, permutations)],
        exchanged=_listening(looker.exchanged),
        muted=_listening(looker.muted),
        numbers=looker.reach is not None,
        moments=moments,
    )


def _senders(num_agents: int) -> tuple[int, ...]:
    """All, or of a large team so many that stand evenly among them."""
    count = min(num_agents, MOST_SENDERS)
    return tuple((torch.arange(count) * num_agents // count).tolist())


def _rows(moments: Moments, number: int, place: int) -> Tensor:
    """``[E]``: where sender ``place`` says something in round ``number`` that somebody could read."""
    return moments.heard[:, number, place] & moments.alive[:, moments.senders[place]]


def _said(moments: Moments, seed: int, permutations: int) -> list[Said]:
    """Entropy of what each sender says in each round, and what it says of its observation and of its own action."""
    found, tests = [], list[tuple[float, Tensor]]()
    for number, place in _spoken(moments):
        rows = _rows(moments, number, place)
        symbols = moments.symbols[number][rows, place]
        message, exact = codes(symbols if symbols.shape[1] else moments.said[number][rows, place], seed)
        action = moments.action[rows, moments.senders[place]]
        about = [
            codes(moments.obs[rows, place], seed)[0],
            codes(action if action.dim() > 1 else action[:, None], seed)[0],
        ]
        found.append((number, place, int(rows.sum()), entropy(message), exact, int(message.max()) + 1))
        tests += [
            (mutual_information(message, other), by_chance(message, other, seed, permutations)) for other in about
        ]
    signalling, consistency = _facts(tests[0::2]), _facts(tests[1::2])
    return [
        Said(number, moments.senders[place], count, bits, exact, kinds, *facts)
        for (number, place, count, bits, exact, kinds), *facts in zip(found, signalling, consistency, strict=True)
    ]


def _spoken(moments: Moments) -> list[tuple[int, int]]:
    """(round, place of the sender) of all messages that are said often enough."""
    every = [(number, place) for number in range(len(moments.said)) for place in range(len(moments.senders))]
    return [pair for pair in every if int(_rows(moments, *pair).sum()) >= LEAST]


def _readable(moments: Moments, target: Target, seed: int, permutations: int) -> list[Cell]:
    """How well each message tells the target."""
    found, tests = [], list[tuple[float, Tensor]]()
    for number, place in _spoken(moments):
        rows = _rows(moments, number, place) & target.known[:, place]
        values = target.values[rows, place]
        if len(values) < LEAST or len(values.unique(dim=0)) < 2:
            continue
        score, guess, null = read_out(moments.said[number][rows, place], values, seed, permutations)
        found.append((number, place, len(values), guess))
        tests.append((score, null))
    return [
        Cell(target.name, target.labels, number, moments.senders[place], count, guess, fact)
        for (number, place, count, guess), fact in zip(found, _facts(tests), strict=True)
    ]


def _facts(tests: list[tuple[float, Tensor]]) -> list[Fact]:
    """Each beside its own null, and tested by the largest of all, each less its mean by chance."""
    if not tests:
        return []
    largest = torch.stack([null - null.mean() for _, null in tests]).max(0).values
    return [
        Fact(found, float(null.mean()), float(null.quantile(0.95)), p_value(found - float(null.mean()), largest))
        for found, null in tests
    ]


def _listening(change: Change) -> Listening:
    """Averages over the steps of an episode, and then over episodes."""
    count = change.count.sum(0)
    mean = torch.where(count > 0, change.total.sum(0) / count.clamp(min=1), torch.nan)
    divergence = torch.where(count > 0, change.divergence.sum(0) / count.clamp(min=1), torch.nan)
    steps = change.count[:, -1].sum(1)
    some = steps > 0
    each = change.total[:, -1].sum(1)[some] / steps[some]
    nats = change.divergence[:, -1].sum(1)[some] / steps[some]
    interval = mean_interval(each) if int(some.sum()) >= 2 else None
    return Listening(interval, float(nats.mean()) if len(nats) else 0.0, mean[:-1].tolist(), divergence[:-1].tolist())
