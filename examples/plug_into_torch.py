"""A communication layer inside an own torch model: three lines of it are about communication."""

import torch
from torch import nn

from gnncomm.layers import AttentionComm
from gnncomm.topology import Radius


class Swarm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = nn.Linear(18, 64), nn.Linear(64, 5)
        self.comm, self.topology = AttentionComm(64, 64), Radius(r=0.35)

    def forward(self, obs, alive, pos):  # [B, N, 18], [B, N], [B, N, 2]
        h = self.encoder(obs).relu()
        return self.head(self.comm(h, self.topology(alive, pos)).relu())


torch.manual_seed(0)
swarm = Swarm()
obs, alive, pos = torch.rand(32, 12, 18), torch.ones(32, 12, dtype=torch.bool), torch.rand(32, 12, 2)
target = obs.mean(1, keepdim=True).expand(-1, 12, -1)[..., :5]  # nobody can know this alone
optimizer = torch.optim.Adam(swarm.parameters(), lr=3e-3)
for step in range(200):
    loss = (swarm(obs, alive, pos) - target).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:3}: loss {loss.item():.4f}")
print(f"step 200: loss {loss.item():.4f}")
