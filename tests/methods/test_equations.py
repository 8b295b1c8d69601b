"""The equations on the pages of docs/methods are what runs: written out agent by agent, beside the policy."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from gnncomm import envs
from gnncomm.layers import AttentionComm, CommLayer, DICGComm, MAGICComm, MeanComm
from gnncomm.methods import METHODS
from gnncomm.policy import CommPolicy, Decision
from gnncomm.schedule import HardSoft, Request
from gnncomm.types import TimeStep

DOCS = Path(__file__).resolve().parents[2] / "docs" / "methods"
PREVIOUS = ("x_i = ReLU(W_e o_i + b_e)", "u_i = h_i + tanh(r_i)")
PAGES = {
    "commnet": (*PREVIOUS, "r_i = W_h h_i + W_c mean over j ≠ i of h_j + b", "LSTM(x_i + u_i, (h_i, s_i))"),
    "ic3net": (*PREVIOUS, "r_i = W_h h_i + W_c mean over the talking j ≠ i of h_j + b", "LSTM(x_i + u_i, (h_i, s_i))"),
    "tarmac": (*PREVIOUS, "r_i = W_h h_i + b + W_o Σ_j α_ji v_j", "GRU(x_i + u_i, h_i)"),
    "tarmac2": (*PREVIOUS, "r_i = W_h h_i + b + W_o Σ_j α_ji v_j", "GRU(x_i + u_i, h_i)"),
    "tarmac_ic3net": (*PREVIOUS, "r_i = W_h h_i + b + W_o Σ_j α_ji v_j"),
    "ga_comm": (PREVIOUS[0], "z_i = h_i + tanh(W_h h_i + b + W_o Σ_j α_ji v_j)", "LSTM(x_i, (h_i, s_i))"),
    "g2anet": (PREVIOUS[0], "z_i = h_i + tanh(W_h h_i + b + W_o Σ_j α_ji v_j)", "GRU(x_i, h_i)"),
    "i2c": (PREVIOUS[0], "z_i = x_i + tanh(W_h x_i + W_c mean over the asked j of x_j + b)"),
    "atoc": (PREVIOUS[0],),
    "dicg": (PREVIOUS[0],),
    "magic": (PREVIOUS[0],),
}
"""Lines that stand on the page of a method."""


SEEDS = {"g2anet": 1, "magic": 7}
"""Where seed 0 has no edges, or no others."""


def mean(layer: CommLayer, rows: Tensor, i: int, senders: list[int]) -> Tensor:
    assert isinstance(layer, MeanComm)
    heard = sum((rows[j] for j in senders), torch.zeros_like(rows[0])) / max(len(senders), 1)
    return layer.lin_self.weight @ rows[i] + layer.lin_self.bias + layer.lin_inbox.weight @ heard


def attention(layer: CommLayer, rows: Tensor, i: int, senders: list[int]) -> Tensor:
    assert isinstance(layer, AttentionComm)
    keys, heard = layer.key_channels, []
    senders = [*senders, i] if layer.own else senders
    for head in range(layer.heads):
        w_k = layer.lin_send.weight[head * keys : (head + 1) * keys]
        begin = layer.heads * keys + head * layer.value_channels
        w_v = layer.lin_send.weight[begin : begin + layer.value_channels]
        q = layer.lin_query.weight[head * keys : (head + 1) * keys] @ rows[i]
        score = [float(q @ (w_k @ rows[j])) / math.sqrt(keys) for j in senders]
        total = sum(math.exp(s) for s in score)
        value = [(w_v @ rows[j]).relu() if layer.rectified else w_v @ rows[j] for j in senders]
        parts = (math.exp(s) / total * v for s, v in zip(score, value, strict=True))
        heard.append(sum(parts, torch.zeros(len(w_v), dtype=rows.dtype)))
    return layer.lin_self.weight @ rows[i] + layer.lin_self.bias + layer.lin_inbox.weight @ torch.cat(heard)


def magic(layer: CommLayer, rows: Tensor, i: int, senders: list[int]) -> Tensor:
    assert isinstance(layer, MAGICComm)
    z = [(layer.lin.weight @ row).view(layer.heads, -1) for row in rows]
    heads = []
    for k in range(layer.heads):
        score = {
            j: float(leaky_relu(layer.att_receiver[k] @ z[i][k] + layer.att_sender[k] @ z[j][k], 0.2))
            for j in [*senders, i]
        }
        total = sum(math.exp(s) for s in score.values())
        heads.append(sum((math.exp(s) / total * z[j][k] for j, s in score.items()), torch.zeros_like(z[i][k])))
    return (torch.stack(heads).mean(0) if layer.average else torch.cat(heads)) + layer.bias


def dicg(layer: CommLayer, rows: Tensor, i: int, senders: list[int]) -> Tensor:
    assert isinstance(layer, DICGComm)
    score = {j: float(rows[j] @ (layer.lin_query.weight @ rows[i])) for j in [*senders, i]}
    total = sum(math.exp(s) for s in score.values())
    mixed = sum((math.exp(s) / total * rows[j] for j, s in score.items()), torch.zeros_like(rows[i]))
    return layer.lin_inbox.weight @ mixed + layer.lin_inbox.bias


RECEIVE: dict[type[CommLayer], Callable[[CommLayer, Tensor, int, list[int]], Tensor]] = {
    MeanComm: mean,
    AttentionComm: attention,
    MAGICComm: magic,
    DICGComm: dicg,
}


def remember(policy: CommPolicy, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """One step of the memory of one agent: what it gives out, and its state."""
    memory, width = policy.memory, policy.hidden
    if not memory.state_dim:
        return x, state
    gates = memory.weight_ih @ x + memory.bias_ih  # type: ignore[operator]  # parameters of GRU and LSTM
    back = memory.weight_hh @ state[:width] + memory.bias_hh  # type: ignore[operator]
    if memory.state_dim == width:
        r, z = ((gates + back)[k * width : (k + 1) * width].sigmoid() for k in range(2))
        new = (gates[2 * width :] + r * back[2 * width :]).tanh()
        h = (1 - z) * new + z * state
        return h, h
    i, f, g, o = (gates + back).chunk(4)
    c = f.sigmoid() * state[width:] + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return h, torch.cat([h, c])


def by_hand(policy: CommPolicy, obs: Tensor, state: Tensor, hears: list[list[list[int]]]) -> tuple[Tensor, Tensor]:
    """Logits ``[N, A]`` and memory ``[N, S]`` of one team; ``hears[round][i]`` are the senders that i hears."""
    x = torch.stack([(o @ policy.encoder.weight + policy.encoder.bias).relu() for o in obs])
    previous, after = policy.integration == "previous", policy.integration == "after"
    memory = list(state)
    rows = x
    if previous:
        rows = state[:, : policy.hidden]
    elif after:
        out = [remember(policy, x[i], memory[i]) for i in range(len(x))]
        rows, memory = torch.stack([row for row, _ in out]), [kept for _, kept in out]
    for layer, senders in zip(policy.comm.rounds, hears, strict=True):
        r = torch.stack([RECEIVE[type(layer)](layer, rows, i, senders[i]) for i in range(len(rows))])
        rows = rows + r.tanh()
    if not after:
        out = [remember(policy, x[i] + rows[i] if previous else rows[i], memory[i]) for i in range(len(x))]
        rows, memory = torch.stack([row for row, _ in out]), [kept for _, kept in out]
    return rows @ policy.actor.weight.T + policy.actor.bias, torch.stack(memory)


def played(name: str) -> tuple[CommPolicy, list[tuple[TimeStep, Tensor, Decision]]]:
    """A few steps: what was seen, the memory before, and what was decided."""
    torch.manual_seed(SEEDS.get(name, 0))
    env = envs.make("predator_prey", num_envs=2, num_agents=4, max_steps=8)
    policy = METHODS[name](env.obs_dim, env.num_actions, env.num_agents, hidden=16, seed=1).double().eval()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    now, state, seen = env.reset(seed=0), policy.initial_state(2, 4), []
    for _ in range(4):
        with torch.no_grad():
            decision = policy.act(now, state, key=3)
        seen.append((now, state.memory, decision))
        now, state = env.step(decision.action), decision.state
    return policy, seen


@torch.no_grad()
@pytest.mark.parametrize("name", PAGES)
def test_what_runs_is_what_the_page_says(name: str) -> None:
    policy, seen = played(name)
    heard = 0
    for now, memory, decision in seen:
        for b in range(2):
            hears = [
                [graph.expand(2).dense[b, :, i].nonzero().flatten().tolist() for i in range(4)]
                for graph in decision.talk.graphs
            ]
            heard += sum(len(senders) for senders in hears[0])
            assert isinstance(now.obs, Tensor)
            logits, after = by_hand(policy, now.obs[b].double(), memory[b], hears)
            torch.testing.assert_close(decision.logits[b], logits, rtol=0.0, atol=1e-12)
            torch.testing.assert_close(decision.state.memory[b], after, rtol=0.0, atol=1e-12)
    assert 0 < heard <= 2 * 4 * 4 * 3


@pytest.mark.parametrize("name", PAGES)
def test_the_page_says_it(name: str) -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    found = re.search(rf"^\| \[.*\]\((\w+)\.md\) \| `{name}` ", index, re.M)
    assert found is not None
    page = " ".join((DOCS / f"{found[1]}.md").read_text(encoding="utf-8").split())
    for line in PAGES[name]:
        assert line in page, line


@torch.no_grad()
@pytest.mark.parametrize("name", ["ga_comm", "i2c"])
def test_whom_it_hears_is_what_the_page_says(name: str) -> None:
    """In execution an edge is used iff its score is positive."""
    policy, seen = played(name)
    scheduler, used = policy.scheduler, 0
    for _, _, decision in seen:
        rows = decision.talk.rows[0]
        for b, j, i in ((b, j, i) for b in range(2) for j in range(4) for i in range(4) if i != j):
            if isinstance(scheduler, HardSoft):
                part = scheduler.score
                hidden = part.lin_receiver(rows[b, i]) + part.lin_sender.weight @ rows[b, j]
                score = part.lin_score(hidden.relu())
            else:
                assert isinstance(scheduler, Request)
                hidden = scheduler.lin_receiver(rows[b, i]) + scheduler.id_embedding.weight[j]
                score = scheduler.lin_score(hidden.relu())
            found = bool(decision.talk.graphs[0].dense[b, j, i])
            used += found
            assert found == (float(score) > 0)
    assert used > 0
