"""Teams in plain shapes, for loops written by hand: ``MultiAgentLearner``, ``Agent``, ``CommunicationGraph``.

    learner = MultiAgentLearner(num_agents=5, state_dim=env.state_dim, action_dim=env.action_dim)
    actions = learner.step(observations)        # [N, D] -> [N]
    learner.update(rewards, done)               # [N] or one number for all; done may be left out

``learner.step`` is the joint form of the loop that a team of agents runs on its own::

    for agent, message in zip(learner.agents, graph.exchange(learner.agents)):
        agent.update_beliefs(message)
    actions = [agent.select_action(obs) for agent, obs in zip(learner.agents, observations)]

Messages depend on what an agent remembers from the steps before (``Integration.PREVIOUS``), so that they can be
exchanged before anybody has seen anything of the present step.

For many environments at once, with metrics, checkpoints and the command line, there is ``gnncomm.train``.
"""

from gnncomm.multiagent.agents import Agent
from gnncomm.multiagent.graph import CommunicationGraph
from gnncomm.multiagent.learner import MultiAgentLearner
from gnncomm.multiagent.settings import DEFAULT_PPO, Settings

__all__ = ["DEFAULT_PPO", "Agent", "CommunicationGraph", "MultiAgentLearner", "Settings"]
