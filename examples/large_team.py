"""Four hundred agents in one battle: the graph, and not the number of pairs, says what a step costs."""

import time

import torch

from gnncomm import CommPolicy, Wire, envs
from gnncomm.layers import MeanComm
from gnncomm.topology import Exponential, KNearest

torch.manual_seed(0)
env = envs.make("battle", num_envs=2, num_agents=400, observation="sparse")
for topology in (KNearest(k=8), Exponential()):
    policy = CommPolicy(env.obs_dim, env.num_actions, MeanComm(32, 32), wire=Wire(topology)).eval()
    now, state = env.reset(seed=0), policy.initial_state(env.num_envs, env.num_agents)
    began, heard = time.perf_counter(), 0.0
    for _ in range(5):
        decision = policy.act(now, state, key=0)
        heard += float(decision.talk.graphs[0].in_degree.float().mean()) / 5
        now, state = env.step(decision.action), decision.state
    seconds = (time.perf_counter() - began) / 5
    print(f"{topology!s:15} an agent hears {heard:.1f} of 399 others; {1000 * seconds:.0f} ms a step of two battles")
