"""Every method by name, as the parts that it is made of."""

from __future__ import annotations

from gnncomm.methods.method import Method

commnet = Method(
    "commnet",
    "CommNet",
    "Sukhbaatar, Szlam and Fergus 2016, arXiv:1605.07736",
    {"comm": "mean", "integration": "previous", "memory": "lstm"},
    "the mean of what the others remember joins the observation",
    released="commnet_ic3net",
)
ic3net = Method(
    "ic3net",
    "IC3Net",
    "Singh, Jain and Sukhbaatar 2019, arXiv:1812.09755",
    {"comm": "mean", "scheduler": "gate:first_silent=true", "integration": "previous", "memory": "lstm"},
    "CommNet with a sampled gate: each agent decides when to talk",
    released="commnet_ic3net",
)
