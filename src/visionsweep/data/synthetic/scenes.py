"""Scenes of pizza, steak and sushi, drawn from a random generator with Pillow and numpy alone.

A scene is built like a stage set: a table, clutter and one dish are painted as stacks of polygons
seen by a tilted camera (stage.py), then lit and photographed (light.py). Imports go one way:
shapes, stage, bites, tableware, then the three dishes.
"""

from __future__ import annotations

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


def set_scene(rng: np.random.Generator, label: str, width: int, height: int) -> Stage:
    """Return a painted stage [height, width] with the labelled dish amid clutter, not yet lit."""
    s = Stage(rng, width, height)
    table(s)
    count = int(rng.integers(1, 6))
    spots = spokes(rng.uniform(0, TAU, count), rng.uniform(1.05, 1.5, count)).tolist()
    spots.sort(key=s.depth)
    spots = [spot for spot in spots if s.sees(spot)]
    for spot in (p for p in spots if s.depth(p) < 0.4):
        distractor(s, *spot)
    DISHES[label](s)
    for spot in (p for p in spots if s.depth(p) >= 0.4):
        distractor(s, *spot)
    return s


def draw_scene(rng: np.random.Generator, label: str, width: int, height: int) -> Image.Image:
    """Return a photograph [height, width] of the labelled dish; only the generator decides it.

    Args:
        rng: the dice of this scene; further draws from it are free to the caller.
        label: "pizza", "steak" or "sushi".
        width: pixels, at most 511.
        height: pixels, at most 511.
    """
    return photograph(set_scene(rng, label, width, height))
