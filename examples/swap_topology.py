"""The same training under other graphs: who can hear whom is one argument."""

from gnncomm import default_config, evaluate, train
from gnncomm.run import make_env

config = default_config("relay", steps=12_000, env_settings={"num_agents": 3, "num_symbols": 4}, rounds=2)
for topology in ("line", "star", "empty"):
    training = train(config.replace(topology=topology))
    report = evaluate(training.policy, make_env(config.replace(num_envs=500)), episodes=500)
    print(f"{topology:6} success {report.trained.success.mean:6.1%}   channel used: {report.channel_used}")
