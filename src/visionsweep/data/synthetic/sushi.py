"""Paint sushi: rolls and nigiri in rows, in a ring, or scattered."""

import math

import numpy as np

from visionsweep.data.synthetic.bites import bite, pile
from visionsweep.data.synthetic.shapes import (
    TAU,
    blob,
    box,
    inside,
    place,
    rings,
    specks,
    spokes,
    strip,
)
from visionsweep.data.synthetic.stage import Paint, Stage
from visionsweep.data.synthetic.tableware import WOODS, dish

NORI, RICE = Paint(46, 56, 48, 0.5, 0.5), Paint(240, 238, 228, 0.35, 0.15)
FILLINGS = (
    *(Paint(240, 128, 84, 0.7, 0.2), Paint(176, 34, 44, 0.7, 0.2), Paint(140, 176, 74, 0.5, 0.2)),
    *(Paint(246, 204, 84, 0.4, 0.3), Paint(250, 246, 240, 0.5, 0.1), Paint(110, 150, 60, 0.5)),
)
# What lies on a nigiri and its stripes: salmon, tuna, prawn, omelette, eel, sea bream.
FISH: tuple[tuple[Paint, Paint | None], ...] = (
    (Paint(244, 130, 82, 0.8, 0.1), Paint(255, 196, 160, 0.8)),
    (Paint(178, 36, 48, 0.7, 0.1), None),
    (Paint(246, 190, 160, 0.8, 0.1), Paint(232, 104, 60, 0.8)),
    (Paint(246, 206, 88, 0.4, 0.3), None),
    (Paint(122, 66, 30, 1.0, 0.3), Paint(90, 44, 20, 1.0)),
    (Paint(240, 226, 214, 0.8, 0.1), Paint(222, 150, 140, 0.8)),
)


def roll(s: Stage, kind: str, filling: Paint, x: float, y: float, z: float, size: float) -> None:
    """Paint an upright roll: maki (nori outside), uramaki (rice outside), gunkan (roe on top)."""
    rng, angle, spot = s.rng, s.rng.uniform(0, TAU), np.array([x, y])
    long = size * (1.3 if kind == "gunkan" else 1)
    body = place(blob(rng, 0.03, 26), x, y, long, size, angle)
    wall = s.vary(RICE if kind == "uramaki" else NORI, 5)
    top = s.solid(body, z, size * rng.uniform(1.0, 1.3), wall, 0.03, 8)
    s.fill(rings(body, (0.9,)), top - 0.004, s.vary(RICE, 5))
    if kind == "gunkan":
        heap = place(inside(rng, 16, 0, 0, 0.75) * (long, size), x, y, 1, 1, angle).tolist()
        for rx, ry in sorted(heap, key=s.depth):
            bite(s, "roe", rx, ry, top, size * 0.24)
        return
    for tone in (0.93, 1.05):
        grains = specks(rng, inside(rng, 16, x, y, size * 0.84), size * 0.1, 2.0)
        s.fill(grains, top + 0.004 * tone, RICE, tone)
    if kind == "uramaki":
        s.fill(rings(body, (0.58,)), top, NORI)
        sesame = Paint(30, 26, 24, 0.4) if filling.red < 200 else Paint(236, 200, 130, 0.4)
        seeds = spokes(rng.uniform(0, TAU, 26), size * rng.uniform(0.62, 0.98, 26)) + spot
        s.fill(specks(rng, seeds, size * 0.05, 1.7), top + 0.004, sesame)
    for k in range(int(rng.integers(1, 4))):
        px, py = (spot + rng.normal(0, 0.1, 2) * size * min(k, 1)).tolist()
        part = place(box(3, 16), px, py, size * 0.4, size * 0.36 / (k + 1), rng.uniform(0, TAU))
        core = s.vary(FILLINGS[rng.integers(len(FILLINGS))] if k else filling, 8)
        s.fill(part, top + 0.005, core)


def nigiri(s: Stage, kind: int, x: float, y: float, z: float, size: float, angle: float) -> None:
    """Paint an oblong of rice under a slice of fish, prawn, or omelet."""
    rng, (fish, stripe) = s.rng, FISH[kind]
    long, wide = size * 1.75, size * 0.82
    top = s.solid(place(box(3), x, y, long, wide, angle), z, size * 0.6, s.vary(RICE, 5), 0.12, 6)
    grains = place(box(3, 36), x, y, long, wide, angle)
    s.fill(specks(rng, grains, size * 0.11, 2.0), z + size * 0.25, RICE, 0.95)
    drape = box(3)
    drape[:, 1] += 0.12 * drape[:, 0] ** 2
    cover = place(drape, x, y, long * 1.1, wide * 1.02, angle)
    peak = s.solid(cover, top - size * 0.12, size * 0.36, s.vary(fish, 9), 0.3, 6)
    if stripe is not None:
        slant = angle + rng.uniform(0.9, 1.3)
        for far in (np.linspace(-0.72, 0.72, 7) * long).tolist():
            sx, sy = x + far * math.cos(angle), y + far * math.sin(angle)
            s.fill(strip(sx, sy, wide * 0.62, size * 0.045, slant, 0.25), peak - 0.015, stripe)
    if kind >= 3 and rng.random() < 0.7:
        band = place(box(8), x, y, size * 0.28, wide * 1.04, angle)
        s.solid(band, top, size * 0.27, NORI, 0.06, 3)


def arrangement(rng: np.random.Generator, size: float) -> list[tuple[float, float, int]]:
    """Return position and kind (0 to 2) of each piece: in rows, in a ring, or scattered."""
    layout = rng.random()
    if layout < 0.55:
        across, down = int(rng.integers(2, 6)), int(rng.integers(1, 4))
        step, row = size * rng.uniform(2.1, 2.5), size * rng.uniform(2.6, 3.2)
        rows = [
            ((i - (across - 1) / 2) * step, (k - (down - 1) / 2) * row, k)
            for k in range(down)
            for i in range(across)
        ]
        return [piece for piece in rows if math.hypot(*piece[:2]) < 0.72]
    if layout < 0.8:
        count = int(rng.integers(5, 10))
        ring = spokes(np.arange(count) * TAU / count, max(size * 2.4 * count / TAU, 0.3)).tolist()
        return [(0.0, 0.0, 1), *((x, y, i % 2) for i, (x, y) in enumerate(ring))]
    pieces: list[tuple[float, float, int]] = []
    for x, y in inside(rng, 40, 0, 0, 0.62).tolist():
        if all(math.dist((x, y), other[:2]) > size * 2.5 for other in pieces):
            pieces.append((x, y, len(pieces) % 3))
    return pieces


def sushi(s: Stage) -> None:
    """Paint rolls and nigiri, with wasabi, ginger, a garnish, or chopsticks."""
    rng = s.rng
    z = dish(s, 0, 0, rng.uniform(0.85, 1.1))
    size, angle = rng.uniform(0.13, 0.19), rng.uniform(0, TAU)
    cos, sin = math.cos(angle), math.sin(angle)
    pieces = [(x * cos - y * sin, x * sin + y * cos, k) for x, y, k in arrangement(rng, size)]
    kinds = rng.choice(["maki", "maki", "uramaki", "gunkan", "nigiri", "nigiri"], 3).tolist()
    fish, filling = rng.integers(0, len(FISH), 3), rng.integers(0, len(FILLINGS), 3)
    for k, (x, y) in enumerate(spokes(rng.uniform(0, TAU, 3), rng.uniform(0.5, 0.75, 3)).tolist()):
        crowded = any(math.dist((x, y), piece[:2]) < size * 2.2 for piece in pieces)
        if crowded or rng.random() < 0.5:
            continue
        if k == 0:
            wasabi = Paint(150, 180, 90, 0.2, 0.9)
            s.solid(place(blob(rng, 0.15), x, y, 0.09, 0.08), z, 0.06, wasabi, 0.7, 5)
        else:
            kind = ("ginger",) if k == 1 else ("cucumber", "basil", "lemon")
            pile(s, kind, 6 if k == 1 else 3, x, y, z, 0.08, 0.08)
    for x, y, k in sorted(pieces, key=lambda piece: s.depth(piece[:2])):
        if kinds[k] == "nigiri":
            askew = angle + TAU / 4 + rng.normal(0, 0.08)
            nigiri(s, int(fish[k]), x, y, z, size * 0.86, askew)
        else:
            roll(s, kinds[k], FILLINGS[filling[k]], x, y, z, size)
    if rng.random() < 0.35:
        turn, far = rng.uniform(0, TAU), rng.uniform(0.7, 0.95)
        lacquer = Paint(120, 40, 30, 0.6, 0.1) if rng.random() < 0.5 else WOODS[2]
        for aside in (-0.035, 0.035):
            x, y = (far + aside) * math.cos(turn), (far + aside) * math.sin(turn)
            stick = strip(x, y, 1.1, 0.022, turn + TAU / 4 + aside, 0)
            s.solid(stick, z + 0.06, 0.04, lacquer, 0.1, 2)
