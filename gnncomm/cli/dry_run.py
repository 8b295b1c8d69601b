def run(config, console):
    return 0
