"""Who was listened to: attention weights as they were used, and an explainer of torch_geometric on the same layer."""

import torch
from torch import nn
from torch_geometric.explain import AttentionExplainer, Explainer

from gnncomm.layers import AttentionComm
from gnncomm.topology import Full


class Team(nn.Module):
    """Everyone must name the secret of the one agent that wears a hat. Rows: 1, hat, secret."""

    def __init__(self) -> None:
        super().__init__()
        self.comm, self.head = AttentionComm(3, 16, heads=1), nn.Linear(16, 1)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        return self.head(self.comm(x, edge_index))


def draw(teams: int, agents: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    hat, secret = torch.randint(agents, (teams, 1)), torch.randn(teams, agents)
    rows = torch.stack([torch.ones(teams, agents), torch.zeros(teams, agents).scatter(1, hat, 1.0), secret], -1)
    return rows, hat.squeeze(1)


torch.manual_seed(0)
team, edges = Team(), Full()(torch.ones(1, 6, dtype=torch.bool)).edge_index
optimizer = torch.optim.Adam(team.parameters(), lr=2e-2)
for _ in range(400):
    rows, hat = draw(64)
    secret = rows[torch.arange(64), hat, 2]
    error = team(rows, edges).squeeze(-1) - secret.unsqueeze(1)
    loss = error.square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"mean squared error {loss.item():.4f}; knowing nothing: 1")

rows, hat = draw(1)
_, (edge_index, alpha) = team.comm(rows[0], edges, return_attention_weights=True)
alpha = alpha.detach()
print(f"agent {int(hat)} wears the hat; what the others give each sender:")
for sender in range(6):
    given = alpha[(edge_index[0] == sender) & (edge_index[1] != hat), 0]
    print(f"  agent {sender}: {given.mean():.2f} {'#' * round(40 * float(given.mean()))}")

team.eval()
explainer = Explainer(
    team,
    AttentionExplainer(),
    explanation_type="model",
    edge_mask_type="object",
    model_config={"mode": "regression", "task_level": "node", "return_type": "raw"},
)
mask = explainer(rows[0], edges, index=int(hat == 0)).edge_mask
print(f"the explainer's strongest edge comes from agent {int(edges[0, mask.argmax()])}")
