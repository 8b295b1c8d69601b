"""Every method by name, as the parts that it is made of."""

from __future__ import annotations

from gnncomm.methods.method import Method

adversarial_comms = Method(
    "adversarial_comms",
    "Adversarial Comms",
    "Blumenkamp and Prorok 2020, arXiv:2008.02616",
    {"comm": "graph_filter", "topology": "radius:r=16,ensure_connected=true", "memory": "none"},
    "a graph filter of two taps among agents in range",
    released="adversarial_comms_graph_filter",
    trained="PPO, one team after the other",
)
atoc = Method(
    "atoc",
    "ATOC",
    "Jiang and Lu 2018, arXiv:1805.07733",
    {"comm": "attention", "topology": "knn:k=3", "scheduler": "gate", "memory": "none"},
    "each agent decides whether those near it shall share its thought",
    trained="DDPG; the gate by what talking adds to Q",
    learner="pqn",
    training={"losses": "atoc", "scheduler": "gate:taught=true"},
)
cacom = Method(
    "cacom",
    "CACOM",
    "Li and Zhang 2024, AAMAS",
    {"comm": "attention", "scheduler": "request", "codec": "lsq:bits=2"},
    "two-bit numbers from those whose answer is worth it",
    trained="QMIX; the gate by what an answer adds to Q",
    learner="pqn:mixer=qmix",
    training={"losses": "cacom", "scheduler": "request:taught=true"},
)
commformer = Method(
    "commformer",
    "CommFormer",
    "Hu, Shen, Zhang and Tao 2024, arXiv:2405.08550",
    {"comm": "commformer", "scheduler": "learned_static", "memory": "none"},
    "a transformer block over a learned graph of few senders",
    released="commformer",
    trained="PPO; the graph in updates of its own, actions one agent after the other",
    learner="ppo:graph_every=5",
    training={"scheduler": "learned_static:share=0.4"},
)
commformer_gate = Method(
    "commformer_gate",
    "CommFormer, with a gate",
    "Hu, Shen, Zhang and Tao 2024, arXiv:2411.00382",
    {"comm": "commformer", "scheduler": "learned_static:gate=true", "memory": "none"},
    "CommFormer whose agents decide at each step whether to listen",
    trained="PPO; the graph in updates of its own, actions one agent after the other",
    learner="ppo:graph_every=5",
    training={"scheduler": "learned_static:share=0.4,gate=true"},
)
commnet = Method(
    "commnet",
    "CommNet",
    "Sukhbaatar, Szlam and Fergus 2016, arXiv:1605.07736",
    {"comm": "mean", "integration": "previous", "memory": "lstm"},
    "the mean of what the others remember joins the observation",
    released="commnet_ic3net",
    trained="REINFORCE with a baseline",
    learner="reinforce:shared_reward=1",
)
conv = Method(
    "conv",
    "GATv2 behind the wire",
    "Brody, Alon and Yahav 2022, arXiv:2105.14491",
    {"comm": "gatv2", "integration": "after", "memory": "gru"},
    "a stock PyG convolution as the layer; any other by its name",
)
dcc = Method(
    "dcc",
    "DCC",
    "Ma, Luo and Pan 2021, arXiv:2109.05413",
    {"comm": "dcc", "rounds": 2, "share_rounds": True, "topology": "radius:r=4"},
    "ask those in view, update a cell by what comes back",
    trained="double DQN, recurrent and dueling",
    learner="pqn",
    training={"losses": "dcc", "scheduler": "request:taught=true"},
)
dgn = Method(
    "dgn",
    "DGN",
    "Jiang, Dun, Huang and Lu 2020, arXiv:1810.09202",
    {"comm": "dgn", "rounds": 2, "topology": "knn:k=3", "memory": "none"},
    "two rounds of rectified attention over oneself and the three nearest; the heads read all rounds",
    released="dgn",
    trained="DQN; a loss on attention from step to step",
    learner="pqn",
    training={"losses": "dgn"},
)
dial = Method(
    "dial",
    "DIAL",
    "Foerster, Assael, de Freitas and Whiteson 2016, arXiv:1605.06676",
    {"comm": "mean:msg_channels=8", "codec": "dru", "integration": "previous"},
    "eight bits from the memory of the step before, real numbers with noise while training",
    released="dial_dru",
    trained="Q-learning; gradients through the channel",
    learner="pqn",
)
dicg = Method(
    "dicg",
    "DICG",
    "Li, Gupta, Morales, Allen and Kochenderfer 2021, arXiv:2006.11438",
    {"comm": "dicg", "rounds": 2, "integration": "before", "memory": "lstm"},
    "graph convolutions whose weights are attention, added to what was observed",
    released="dicg",
    trained="PPO with a critic of the same form",
    training={"critic": "graph"},
)
expocomm = Method(
    "expocomm",
    "ExpoComm",
    "Li, Wang, Bai and Zhang 2025, ICLR",
    {"comm": "expocomm", "topology": "exponential", "integration": "previous"},
    "attention over senders 1, 2, 4, ... places away: news reach everyone in log N steps",
    released="expocomm",
    trained="IDQN or QMIX; an auxiliary loss on messages",
    learner="pqn",
    training={"losses": "expocomm"},
)
expocomm_one_peer = Method(
    "expocomm_one_peer",
    "ExpoComm, one-peer",
    "Li, Wang, Bai and Zhang 2025, ICLR",
    {"comm": "expocomm_one_peer", "topology": "one_peer_exponential", "integration": "previous"},
    "one message a step, from 1, 2, 4, ... places away in turn",
    released="expocomm",
    trained="IDQN or QMIX; an auxiliary loss on messages",
    learner="pqn",
    training={"losses": "expocomm"},
)
g2anet = Method(
    "g2anet",
    "G2ANet",
    "Liu et al. 2020, arXiv:1911.10715",
    {"comm": "attention:heads=1,rectified=true", "scheduler": "hard_soft", "integration": "after", "memory": "gru"},
    "hard attention chooses whom to hear, soft attention weighs rectified values",
    released="g2anet",
    trained="actor-critic",
    learner="a2c",
)
ga_comm = Method(
    "ga_comm",
    "GA-Comm",
    "Liu et al. 2020, arXiv:1911.10715",
    {"comm": "attention:heads=1", "scheduler": "hard_soft", "integration": "after", "memory": "lstm"},
    "hard attention chooses whom to hear, soft attention weighs what they say",
    released="gacomm",
    trained="REINFORCE with a baseline",
    learner="reinforce",
)
hetgppo = Method(
    "hetgppo",
    "HetGPPO",
    "Bettini, Shankar and Prorok 2023, arXiv:2301.07137",
    {"comm": "hetgppo", "memory": "none"},
    "messages by a network of the sender's row and its relative position, added up",
    released="hetgppo_matposconv",
    trained="PPO",
)
i2c = Method(
    "i2c",
    "I2C",
    "Ding, Huang and Lu 2020, arXiv:2006.06455",
    {"comm": "mean", "scheduler": "request", "memory": "none"},
    "a prior network decides whom to ask",
    trained="actor-critic; the prior by labels of causal effect",
    learner="a2c",
    training={"losses": "i2c", "scheduler": "request:taught=true", "algo": "mappo"},
)
ic3net = Method(
    "ic3net",
    "IC3Net",
    "Singh, Jain and Sukhbaatar 2019, arXiv:1812.09755",
    {"comm": "mean", "scheduler": "gate:first_silent=true", "integration": "previous", "memory": "lstm"},
    "CommNet with a sampled gate: each agent decides when to talk",
    released="commnet_ic3net",
    trained="REINFORCE with a baseline",
    learner="reinforce",
)
informarl = Method(
    "informarl",
    "InforMARL",
    "Nayak et al. 2023, arXiv:2211.02127",
    {"comm": "informarl", "rounds": 2, "topology": "radius:r=4"},
    "messages embedded with their distance, then attended to, among agents in range",
    released="informarl",
    trained="MAPPO, the critic on the graph",
    training={"critic": "graph"},
)
magat = Method(
    "magat",
    "MAGAT",
    "Li, Lin, Liu and Prorok 2021, arXiv:2011.13219",
    {"comm": "magat", "rounds": 2, "topology": "radius:r=5", "memory": "none"},
    "a graph filter of three taps whose shift is key-query attention",
    released="magat",
    trained="imitation of a planner",
)
magic = Method(
    "magic",
    "MAGIC",
    "Niu, Paleja and Gombolay 2021, AAMAS, p. 964",
    {
        "comm": "magic:own=true >> magic:heads=1,average=true,own=true",
        "rounds": 2,
        "scheduler": "gumbel_edges",
        "integration": "after",
        "memory": "lstm",
    },
    "a scheduler that sees the team draws a graph for each of two rounds of graph attention",
    released="magic",
    trained="REINFORCE with a baseline",
    learner="reinforce",
)
maic = Method(
    "maic",
    "MAIC",
    "Yuan, Wang, Zhang, Wang, Zhang, Guan, Yu and Zhou 2022, AAAI",
    {"comm": "maic"},
    "incentives drawn from what others say of themselves, added to the values of actions",
    released="maic",
    trained="QMIX or QPLEX; losses on teammate models",
    learner="pqn:mixer=qmix",
    training={"losses": "maic", "codec": "bottleneck:sigma=0.045,beta=0"},
)
masia = Method(
    "masia",
    "MASIA",
    "Guan et al. 2022, NeurIPS 35",
    {"comm": "masia"},
    "messages attend to each other; each agent looks at the result through its own gate",
    trained="QMIX or similar; reconstruction and prediction of the state",
    learner="pqn:mixer=qmix",
    training={"losses": "masia"},
)
ndq = Method(
    "ndq",
    "NDQ",
    "Wang, Wang, Zheng and Zhang 2020, arXiv:1910.05366",
    {"comm": "mean:msg_channels=3", "codec": "bottleneck", "integration": "before"},
    "three noisy numbers with a price on what they tell",
    released="ndq",
    trained="QMIX or VDN; losses on what messages tell",
    learner="pqn:mixer=qmix",
    training={"losses": "ndq"},
)
schednet = Method(
    "schednet",
    "SchedNet",
    "Kim et al. 2019, arXiv:1902.01554",
    {"comm": "mean:msg_channels=4", "scheduler": "topk:k=1", "memory": "none"},
    "those with the largest weights get the medium, for few numbers each",
    trained="actor-critic; the weights by a critic of their own",
    learner="a2c",
    training={"losses": "schednet", "scheduler": "topk:k=1,taught=true", "algo": "mappo"},
)
tarmac = Method(
    "tarmac",
    "TarMAC",
    "Das et al. 2019, arXiv:1810.11187",
    {"comm": "attention:heads=1,value_channels=32,own=true", "integration": "previous", "memory": "gru"},
    "signatures and queries: receivers weigh what senders say, and themselves",
    trained="actor-critic with a central critic",
    learner="a2c",
    training={"algo": "mappo"},
)
tarmac2 = Method(
    "tarmac2",
    "TarMAC, 2 rounds",
    "Das et al. 2019, arXiv:1810.11187",
    {
        "comm": "attention:heads=1,value_channels=32,own=true",
        "rounds": 2,
        "share_rounds": True,
        "integration": "previous",
        "memory": "gru",
    },
    "TarMAC with a second round by the same weights",
    trained="actor-critic with a central critic",
    learner="a2c",
    training={"algo": "mappo"},
)
tarmac_ic3net = Method(
    "tarmac_ic3net",
    "TarMAC + IC3Net",
    "Das et al. 2019, arXiv:1810.11187",
    {
        "comm": "attention:heads=1,own=true",
        "scheduler": "gate:first_silent=true",
        "integration": "previous",
        "memory": "lstm",
    },
    "TarMAC with IC3Net's gate: each agent decides when to talk",
    released="tarmac_ic3net",
    trained="REINFORCE with a baseline",
    learner="reinforce",
)
tmc = Method(
    "tmc",
    "TMC",
    "Zhang, Zhang and Lin 2020, arXiv:2010.14391",
    {"comm": "mean:msg_channels=10", "scheduler": "event_triggered"},
    "a message when there is something new, else the last one is read again",
    released="tmc",
    trained="QMIX; losses for smooth and robust messages",
    learner="pqn:mixer=qmix",
    training={"losses": "tmc"},
)
transformer = Method(
    "transformer",
    "Transformer",
    "Vaswani et al. 2017, arXiv:1706.03762",
    {"comm": "transformer_block", "integration": "after", "memory": "gru"},
    "the plain baseline: a transformer block over the inbox and the own row",
)
