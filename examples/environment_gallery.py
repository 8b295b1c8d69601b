"""Draw every bundled environment after a few steps of its ceiling policy: environments.png."""

from __future__ import annotations

from PIL import Image, ImageDraw

from gnncomm import envs

TILE, COLUMNS, STEPS = 260, 6, 6
SHOWN = {  # where an environment has a view that shows more than its default
    "traffic_junction": "traffic_junction/medium-v0",
    "formation": "formation/square-9-v0",
    "predator_prey": "predator_prey/10x10-5-v0",
    "chemical": "chemical/rooms-v0",
}


def picture(name: str) -> Image.Image:
    """One environment, in a frame with its name."""
    env = envs.make(name, num_envs=1)
    now = env.reset(seed=4)
    for _ in range(STEPS):
        if now.done.any():
            break
        now = env.step(env.ceiling_action())
    drawn = Image.fromarray(env.render("rgb"))
    scale = TILE / max(drawn.size)
    drawn = drawn.resize([max(1, round(side * scale)) for side in drawn.size])
    frame = Image.new("RGB", (TILE + 16, TILE + 32), "white")
    frame.paste(drawn, (8, 24))
    ImageDraw.Draw(frame).text((8, 6), name, fill=(40, 40, 44))
    return frame


names = sorted({name.partition("/")[0] for name in envs.names()})
tiles = [picture(SHOWN.get(name, name)) for name in names]
width, height = tiles[0].size
sheet = Image.new("RGB", (width * COLUMNS, height * -(-len(tiles) // COLUMNS)), "white")
for number, tile in enumerate(tiles):
    sheet.paste(tile, (width * (number % COLUMNS), height * (number // COLUMNS)))
sheet.save("environments.png", optimize=True)
print(f"{len(tiles)} environments in environments.png")
