"""All topologies in one figure: python examples/topology_gallery.py [figure.png]"""

import sys

import networkx as nx
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from gnncomm import topology
from gnncomm.topology.properties import scattered

FIXED, SPACE, CHANCE, TIME, MIXED, PAPER = COLORS = "#0072B2", "#00875F", "#C85000", "#A63E95", "#7A6400", "#FBFAF7"
FRAME = {"aspect": "equal", "xmargin": 0.1, "ymargin": 0.1, "frame_on": False, "xticks": [], "yticks": []}


def polar(turn: torch.Tensor, radius: float | torch.Tensor = 1.0) -> torch.Tensor:
    return torch.stack([(2 * torch.pi * turn).sin() * radius, (2 * torch.pi * turn).cos() * radius], 1)


def spring(name: str) -> torch.Tensor:
    graph = topology.resolve(name)(torch.ones(1, 16, dtype=torch.bool)).to_networkx()
    return torch.tensor([xy.tolist() for xy in nx.spring_layout(graph, seed=2, iterations=400).values()])


circle, crowd, i = polar(torch.arange(12) / 12), scattered(16, 3), torch.arange(16)
depth = (i[:15] + 1).log2().floor()
tree = torch.stack([(i[:15] + 1.5) / 2**depth - 1.5, -depth * 0.3], 1)
groups = polar(i // 4 / 4 + torch.tensor([0.125, 0.04, 0.125, 0.21])[i % 4], torch.where(i % 4 > 0, 1, 0.42))
cube = (i.unsqueeze(1) // 2 ** torch.arange(4) % 2).float() @ torch.tensor([[1, 0], [0, 1], [0.42, 0.3], [-0.85, 0.62]])
walls = "x".join(["......", ".####.", "......", "...#..", "...#..", "......"])
cells = [(0, 0), (0, 2), (0, 4), (1, 0), (1, 5), (2, 1), (2, 3), (2, 5), (3, 0), (3, 2), (3, 4), (4, 1), (4, 5), (5, 2)]
panels = [(name, FIXED, circle) for name in ("empty", "full", "line", "ring:k=2", "exponential")]
panels += [("star", FIXED, torch.cat([torch.zeros(1, 2), circle])), ("tree", FIXED, tree), ("hypercube", FIXED, cube)]
panels += [("grid2d", FIXED, torch.stack([i % 4, -(i // 4)], 1).float()), ("hierarchical:groups=4", FIXED, groups)]
panels += [(name, SPACE, crowd) for name in ("knn:k=3", "radius:r=1.1", "radius:r=1.1,ensure_connected=true")]
panels += [(f"line_of_sight:r=3,walls={walls}", SPACE, torch.tensor(cells).float())]
panels += [(name, CHANCE, circle) for name in ("erdos_renyi:p=0.2,seed=4", "small_world:k=2,p=0.2,seed=4")]
panels += [(name, CHANCE, spring(name)) for name in ("barabasi_albert:m=1,seed=3", "random_regular:k=3,seed=4")]
panels += [(name, TIME, circle) for name in ("gossip", "one_peer_exponential", "[ring; star]:period=2")]
panels += [("ring | star", MIXED, circle), ("~ring", MIXED, circle), ("knn:k=3 & radius:r=1.1", MIXED, crowd)]

figure = Figure(figsize=(15, 11), facecolor=PAPER)
for ax, (name, color, place) in zip(figure.subplots(4, 6, subplot_kw=FRAME).flat, panels, strict=True):
    alive, step, key = torch.ones(1, len(place), dtype=torch.bool), 2 if color == TIME else 0, torch.tensor([4])
    heard = topology.resolve(name)(alive, place.unsqueeze(0), step, key).dense[0]
    x, y = (place[:, 1], -place[:, 0]) if "sight" in name else place.t()
    for a, b in (heard & ~(heard.t() & heard.tril())).nonzero().tolist():
        head = {"arrowstyle": "-"} if heard[b, a] else {"arrowstyle": "-|>,head_width=.17,head_length=.36"}
        bend = {"connectionstyle": f"arc3,rad={0 if heard[b, a] else 0.14}", "mutation_scale": 14, "shrinkB": 5}
        ax.add_patch(FancyArrowPatch((x[a], y[a]), (x[b], y[b]), **head, **bend, color=color, lw=1, zorder=1))
    ax.scatter(x, y, s=52, color="#26282B", edgecolor=PAPER, linewidth=1.4, zorder=2)
    for r, text in enumerate(walls.split("x") if "sight" in name else []):
        ax.scatter([c for c in range(6) if text[c] == "#"], [-r] * text.count("#"), marker="s", s=400, color="#C6C3BB")
    title = name.split(",walls")[0].split(",seed")[0].replace(",ensure", ",\nensure")
    ax.set_title(title, color=color, family="monospace", fontsize=10.5)
for number, family in enumerate(("fixed", "by position", "by chance", "over time", "combined")):
    figure.text(0.32 + 0.09 * number, 0.08, family, color=COLORS[number], ha="center", weight="bold", fontsize=12)
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "topologies.png", dpi=100, bbox_inches="tight", facecolor=PAPER)
