"""BenchMARL trains MAPPO with a layer of ours: on its own task, then on one of our environments."""

from benchmarl.algorithms import MappoConfig
from benchmarl.environments import VmasTask
from benchmarl.experiment import Experiment, ExperimentConfig
from benchmarl.models import MlpConfig
from torch import nn

from gnncomm.integrations.benchmarl import CommModelConfig, CommTask

critic = MlpConfig(num_cells=[64], activation_class=nn.Tanh, layer_class=nn.Linear)


def trained(task, model, frames, iterations):
    """The mean return of each iteration."""
    config = ExperimentConfig.get_from_yaml()
    config.max_n_iters, config.max_n_frames, config.evaluation = iterations, None, False
    config.on_policy_collected_frames_per_batch, config.on_policy_n_envs_per_worker = frames, 64
    config.on_policy_minibatch_size, config.on_policy_n_minibatch_iters, config.lr = frames // 2, 4, 3e-3
    config.loggers, config.create_json, config.save_folder = [], False, "."
    experiment = Experiment(
        task=task,
        algorithm_config=MappoConfig.get_from_yaml(),
        model_config=model,
        critic_model_config=critic,
        seed=0,
        config=config,
    )
    returns, log = [], experiment.logger.log_collection
    experiment.logger.log_collection = lambda *args, **named: returns.append(log(*args, **named)) or returns[-1]
    experiment.run()
    return returns


navigation = VmasTask.NAVIGATION.get_from_yaml()
navigation.config["n_agents"] = 3
near = CommModelConfig(comm="dgn", topology="knn:k=2", position="observation[0:2]")
print("navigation, return:", [round(x, 2) for x in trained(navigation, near, 3200, 2)])

lossy = CommModelConfig(comm="attention:heads=2", channel="loss:p=0.02", codec="int8", moment=True)
found = trained(CommTask("relay", num_symbols=4), lossy, 1024, 12)
print("relay, return:", [round(x, 2) for x in found])
