"""The graph of who read messages of whom, by networkx."""

from __future__ import annotations

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gnncomm.recording.drawing import style
from gnncomm.recording.drawing.matrix import mean_weights
from gnncomm.recording.drawing.page import MARGIN, Sheet, draw_title
from gnncomm.recording.episode import Episode

SIDE, TOP = 3.5, 1.5
ACROSS = 3
MOST = 1000
"""Edges of a picture: of more, those of the largest weight are drawn."""


def graph_of(episode: Episode, number: int) -> nx.DiGraph:
    """Round ``number`` over the whole episode: agents, and an edge for each pair between which a message was read.

    Edges have ``weight`` (mean over the steps at which the receiver lives) and ``share`` (of these steps at which a
    message came).
    """
    graph = nx.DiGraph()
    graph.add_nodes_from(range(episode.num_agents))
    rows = episode.messages[episode.messages[:, 1] == number]
    lived_N = np.maximum(episode.alive[:-1].sum(0), 1)
    weight_NN = mean_weights(episode)[number]
    edges, steps = np.unique(np.unique(rows[:, [0, 2, 3]], axis=0)[:, 1:], axis=0, return_counts=True)
    for (sender, receiver), came in zip(edges.tolist(), steps.tolist(), strict=True):
        if sender != receiver:
            weight = float(weight_NN[sender, receiver])
            graph.add_edge(sender, receiver, weight=weight, share=came / int(lived_N[receiver]))
    return graph


def draw_graph(episode: Episode) -> Figure:
    rounds = max(episode.num_rounds, 1)
    lines, across = -(-rounds // ACROSS), min(rounds, ACROSS)
    side = SIDE if rounds > 1 else 5.6
    sheet = Sheet(max(2 * MARGIN + across * (side + 0.4), 9.0), TOP + lines * (side + 0.5) + 0.15)
    draw_title(sheet, episode)
    sheet.text(MARGIN, 0.92, "Who read whom", **style.HEADING)
    width = "width: mean attention of the receiver" if episode.attention else "this layer has no attention"
    told = f"{width}; colour: the sender; paler: more seldom; discs grow with what is sent"
    sheet.text(MARGIN + 1.6, 0.94, told if len(episode.messages) else "nothing was read", **style.NOTE)
    for number in range(rounds):
        line, place = divmod(number, across)
        ax = sheet.axes(MARGIN + place * (side + 0.4), TOP + line * (side + 0.5), side, side)
        graph = graph_of(episode, number)
        title = f"round {number + 1}" if rounds > 1 else ""
        if graph.number_of_edges() > MOST:
            title += f" (the strongest {MOST:,} of {graph.number_of_edges():,} edges)"
            ranked = sorted(graph.edges(data="weight"), key=lambda edge: -edge[2])
            graph.remove_edges_from([edge[:2] for edge in ranked[MOST:]])
        _draw_round(ax, graph, title)
    return sheet.figure


def _draw_round(ax: Axes, graph: nx.DiGraph, title: str) -> None:
    count = len(graph)
    place = nx.circular_layout(graph) if count > 1 else {0: np.zeros(2)}
    place = {agent: np.array([x, y]) @ np.array([[0, 1], [1, 0]]) for agent, (x, y) in place.items()}  # 0 on top
    sent = np.array([sum(data["weight"] for *_, data in graph.out_edges(agent, data=True)) for agent in range(count)])
    share = sent / max(float(sent.max(initial=0.0)), 1e-12)
    disc = min(620.0, 9000.0 / max(count, 1))
    sizes = disc * (0.45 + 0.55 * share)
    top = max((data["weight"] for *_, data in graph.edges(data=True)), default=1.0)
    thin = min(1.0, 8 / count)
    for agent in range(count):
        edges = list(graph.out_edges(agent, data=True))
        if not edges:
            continue
        nx.draw_networkx_edges(
            graph,
            place,
            edgelist=[(j, i) for j, i, _ in edges],
            ax=ax,
            width=[(0.4 + 3.6 * data["weight"] / top) * thin for *_, data in edges],
            edge_color=style.colour(agent),
            alpha=[0.15 + 0.75 * data["share"] for *_, data in edges],
            arrowsize=11 * max(thin, 0.4),
            node_size=sizes.tolist(),
            connectionstyle="arc3,rad=0.14",
        )
    nx.draw_networkx_nodes(
        graph,
        place,
        ax=ax,
        node_size=sizes.tolist(),
        node_color=[style.colour(agent) for agent in range(count)],
        edgecolors="white",
        linewidths=1.2,
    )
    if count <= 60:
        labels = {agent: str(agent) for agent in range(count)}
        nx.draw_networkx_labels(graph, place, labels, ax=ax, font_size=9 * max(thin, 0.5), font_color="white")
    ax.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), aspect="equal")
    ax.set_title(title, fontsize=9, color=style.INK)
    ax.axis("off")
