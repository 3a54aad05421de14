"""Draw scenes of pizza, steak, and sushi from a random generator, with Pillow and NumPy.

A table, clutter, and one dish are painted as stacks of polygons seen by a tilted camera
(`stage.py`), then lit and photographed (`light.py`).
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from visionsweep.data.synthetic.light import photograph
from visionsweep.data.synthetic.pizza import pizza
from visionsweep.data.synthetic.shapes import TAU, spokes
from visionsweep.data.synthetic.stage import Stage
from visionsweep.data.synthetic.steak import steak
from visionsweep.data.synthetic.sushi import sushi
from visionsweep.data.synthetic.tableware import distractor, table

DISHES: dict[str, Callable[[Stage], None]] = {"pizza": pizza, "steak": steak, "sushi": sushi}


def draw_scene(rng: np.random.Generator, label: str, width: int, height: int) -> Image.Image:
    """Return an RGB photograph of a dish amid clutter, at most 511 pixels wide and high."""
    s = Stage(rng, width, height)
    table(s)
    count = int(rng.integers(1, 6))
    spots = spokes(rng.uniform(0, TAU, count), rng.uniform(1.05, 1.5, count)).tolist()
    spots = sorted(filter(s.sees, spots), key=s.depth)
    for spot in (p for p in spots if s.depth(p) < 0.4):
        distractor(s, *spot)
    DISHES[label](s)
    for spot in (p for p in spots if s.depth(p) >= 0.4):
        distractor(s, *spot)
    return photograph(s)
