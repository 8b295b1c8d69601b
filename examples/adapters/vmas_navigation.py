"""A team of ours on a task of VMAS: trained, measured beside its controls, and drawn from the simulator's positions."""

from gnncomm import default_config, evaluate, load, train
from gnncomm.recording import record

config = default_config(
    "vmas:navigation",
    env_settings={"n_agents": 3, "done_is_success": True, "step_limit": 50},
    comm="attention:heads=2",
    topology="knn:k=2",  # by the positions of the world
    num_envs=32,
    rollout=25,
    steps=8_000,  # a taste: its return rises for some hundred thousand
)
train(config, "runs/navigation", overwrite=True)
run = load("runs/navigation", trust_env=True)  # a run names code of another package
print(evaluate(run.policy, run.make_env(32), episodes=32).verdict())

episode = record(run.policy, run.make_env(1), seed=3)
print(f"{len(episode.rewards)} steps, {len(episode.messages)} messages")
