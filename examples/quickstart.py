"""The shortest loop: five agents learn to find and neutralise chemical sources, one episode at a time."""

from gnncomm import MultiAgentLearner
from gnncomm.envs import MultiAgentEnv

env = MultiAgentEnv(num_agents=5, grid_size=10)
learner = MultiAgentLearner(num_agents=5, state_dim=env.state_dim, action_dim=env.action_dim)
successes = []
for episode in range(1000):
    observations = env.reset()
    done = False
    while not done:
        actions = learner.step(observations)
        observations, rewards, done = env.step(actions)
        learner.update(rewards)
    successes.append(env.success)
    if episode % 100 == 99:
        print(f"episodes {episode - 98:4} to {episode + 1:4}: success {sum(successes[-100:])} %")
