from gnncomm.learn import TrainConfig


def run(config, console):
    return 0
