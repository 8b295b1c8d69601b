"""Records episodes of the package pogema (1.4.0, MIT) into pogema_*.npz and .json beside this file.

Runs with pogema and the old numpy it needs: ``python pogema_record.py``. Data only; read by
tests/envs/test_path_finding_golden.py.
"""

import json
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pogema import GridConfig
from pogema.envs import Pogema, PogemaCoopFinish, PogemaLifeLong
from pogema.generator import bfs, generate_obstacles

KINDS = {"finish": Pogema, "nothing": PogemaCoopFinish, "restart": PogemaLifeLong}
MEANING = {
    "obstacle": "[E, size, size] 1 obstacle",
    "order": "[E, size * size] free cells in the order in which they are paired up, then -1",
    "pos": "[E, T + 1, N, 2] (row, column); where an agent vanished, its goal",
    "goal": "[E, T + 1, N, 2] (row, column)",
    "active": "[E, T + 1, N] the agent is there",
    "action": "[E, T, N] 0 stay 1 up 2 down 3 left 4 right",
    "reward": "[E, T, N]",
    "terminated": "[E, T, N]",
    "obs": "packed bits (numpy.packbits) of [E, T + 1, N, 3, 2 r + 1, 2 r + 1], all 0 or 1",
    "obs_shape": "shape of obs before packing",
}


def choose(rng, env, config):
    """Half at random, half straight towards the goal, which makes agents meet."""
    action = rng.integers(5, size=config.num_agents)
    for agent, ((x, y), (a, b)) in enumerate(zip(env.grid.positions_xy, env.grid.finishes_xy, strict=True)):
        if rng.random() < 0.5:
            down, right = a - x, b - y
            if abs(down) >= abs(right):
                action[agent] = 1 if down < 0 else 2 if down > 0 else 0
            else:
                action[agent] = 3 if right < 0 else 4
    return action.tolist()


def snapshot(env, obs):
    radius = env.grid_config.obs_radius
    return {
        "pos": np.array(env.grid.positions_xy) - radius,
        "goal": np.array(env.grid.finishes_xy) - radius,
        "active": [env.grid.is_active[agent] for agent in range(env.grid_config.num_agents)],
        "obs": np.array(obs),
    }


def shuffled_cells(config):
    """As the package does it before it places starts and goals."""
    grid = generate_obstacles(config)
    obstacle = grid.copy()
    bfs(grid, tuple(config.MOVES), 2, free_cell=0)
    order = [(x, y) for x in range(config.height) for y in range(config.width) if grid[x, y] >= 2]
    np.random.default_rng(config.seed).shuffle(order)
    cells = np.full(config.size**2, -1)
    cells[: len(order)] = [x * config.size + y for x, y in order]
    return obstacle, cells


def episode(config, steps, seed):
    env, rng = KINDS[config.on_target](config), np.random.default_rng(1000 + seed)
    obs, _ = env.reset()
    obstacle, order = shuffled_cells(config)
    assert (env.grid.get_obstacles(ignore_borders=True) == obstacle).all()
    states, taken = [snapshot(env, obs)], []
    for _ in range(steps):
        action = choose(rng, env, config)
        obs, reward, terminated, _, _ = env.step(list(action))
        states.append(snapshot(env, obs))
        taken.append({"action": action, "reward": reward, "terminated": terminated})
    lists = {name: np.array([state[name] for state in states]) for name in states[0]}
    lists |= {name: np.array([each[name] for each in taken]) for name in taken[0]}
    return lists | {"obstacle": obstacle, "order": order}


def record(name, episodes, steps, **settings):
    found, seed = [], 0
    while len(found) < episodes:
        with suppress(OverflowError):  # no room for all agents on this map
            found.append(episode(GridConfig(seed=seed, **settings), steps, seed))
        seed += 1
    arrays = {key: np.stack([each[key] for each in found]) for key in found[0]}
    obs = arrays.pop("obs")
    assert set(np.unique(obs)) <= {0.0, 1.0}
    small = {key: value.astype(np.float32 if key == "reward" else np.int16) for key, value in arrays.items()}
    small |= {"obs": np.packbits(obs.astype(bool)), "obs_shape": np.array(obs.shape)}
    here = Path(__file__).parent
    np.savez_compressed(here / f"{name}.npz", **small)
    about = {
        "file": f"{name}.npz",
        "provenance": {
            "source": "https://github.com/Cognitive-AI-Systems/pogema (PyPI package pogema)",
            "version": version("pogema"),
            "numpy": np.__version__,
            "licence": "MIT",
        },
        "config": {"episodes": episodes, "steps": steps, **settings},
        "arrays": {key: {"shape": value.shape, "dtype": str(value.dtype)} for key, value in small.items()},
        "meaning": MEANING,
    }
    (here / f"{name}.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    for on_target in KINDS:
        for number, system in enumerate(("priority", "block_both", "soft")):
            record(
                f"pogema_{on_target}_{system}",
                episodes=12,
                steps=32,
                on_target=on_target,
                collision_system=system,
                size=(8, 6, 6)[number],
                num_agents=(8, 6, 7)[number],
                density=0.25,
                obs_radius=(2, 5, 3)[number],
            )
