"""TorchRL trains a team that talks: its rollouts, advantages and PPO, our environment, layer and wire."""

import torch
from torchrl.envs import Compose, InitTracker, RewardSum, TransformedEnv
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

from gnncomm import CommPolicy, Wire
from gnncomm.channel import Loss
from gnncomm.integrations.torchrl import CommEnv, actor, critic
from gnncomm.layers import AttentionComm
from gnncomm.topology import Full

torch.manual_seed(0)
env = CommEnv("relay", num_envs=256, num_symbols=4)  # agent 0 sees a symbol, agent 3 must name it
wire = Wire(Full(), channel=Loss(p=0.02))
policy = CommPolicy(env.team.obs_dim, env.team.num_actions, AttentionComm(32, 32), wire=wire)
decides, judges = actor(policy, env), critic(policy, env)
summed = RewardSum(in_keys=[("agents", "reward")], out_keys=[("agents", "episode_reward")], reset_keys=["_reset"])
env = TransformedEnv(env, Compose(InitTracker(), decides[0].primer(), summed))

keys = {name: ("agents", name) for name in ("reward", "done", "terminated")} | {"value": ("agents", "state_value")}
advantage = GAE(gamma=0.99, lmbda=0.95, value_network=None)
advantage.set_keys(**keys)
loss = ClipPPOLoss(decides, judges, entropy_coeff=0.02)
loss.set_keys(action=("agents", "action"), sample_log_prob=("agents", "action_log_prob"), **keys)
optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)

for update in range(20):
    with torch.no_grad():
        data = env.rollout(4, decides, break_when_any_done=False)  # [B, T]
        judges(data), judges(data["next"])  # with what was remembered then; TorchRL would begin anew
        advantage(data)
    for _ in range(4):
        terms = loss(data)
        optimizer.zero_grad()
        sum(term for name, term in terms.items() if name.startswith("loss_")).backward()
        optimizer.step()
    ended = data["next", "done"].squeeze(-1)
    returned = data["next", "agents", "episode_reward"][ended].mean()
    print(f"update {update}: return {returned:.2f}, value error {terms['loss_critic']:.3f}")
