"""The scene of a task that nobody described: what the words name, as things of everyday size at likely places."""

from __future__ import annotations

import math
import re

import numpy as np

from firmware_bridge.scene import Scene, Thing

_FAR_M, _ASIDE_M = (1.1, 1.6), 0.35
_STANDS = {
    "table": ("box", (0.4, 0.9, 0.62)), "shelf": ("box", (0.3, 0.8, 0.8)), "counter": ("box", (0.4, 1.0, 0.7)),
    "desk": ("box", (0.45, 1.0, 0.6)), "chair": ("box", (0.4, 0.42, 0.42)), "stool": ("cylinder", (0.34, 0.42)),
    "bench": ("box", (0.4, 1.0, 0.42)), "basket": ("box", (0.35, 0.35, 0.45)), "bin": ("cylinder", (0.35, 0.5)),
    "obstacle": ("box", (0.05, 1.0, 0.05)), "cone": ("cylinder", (0.2, 0.4)), "stand": ("box", (0.3, 0.3, 0.5)),
    "door": ("box", (0.05, 0.8, 1.6)), "window": ("box", (0.05, 0.9, 1.6)), "wall": ("box", (0.05, 2.0, 1.6)),
}
"""Shape and whole lengths of what stands on the floor."""
_SMALL = {
    "bottle": ("cylinder", (0.07, 0.22), 0.4), "cup": ("cylinder", (0.08, 0.1), 0.2),
    "box": ("box", (0.2, 0.3, 0.2), 0.5), "ball": ("sphere", (0.16,), 0.3),
    "can": ("cylinder", (0.07, 0.12), 0.3), "book": ("box", (0.15, 0.2, 0.04), 0.4),
    "bag": ("box", (0.2, 0.28, 0.25), 0.5), "toy": ("box", (0.15, 0.15, 0.15), 0.2),
}
"""Shape, lengths and mass of what lies on something."""
_BARS = ("bar", "beam", "rope", "pole")
"""What one ducks under or steps over: its height is the action's."""
STAND = "stand"
"""What carries a small thing where the task names nothing that could."""
_CONTAINERS = ("basket", "bin")


def known_things() -> list[str]:
    """Everything that can be named."""
    return sorted([*_STANDS, *_SMALL, *_BARS])


def furnish(task: str, seed: int) -> Scene:
    """Everything the task names, in front of who acts, who stands at the origin and looks along x.

    The first thing that carries carries what is small; without one a stand does. A seat stands behind its user.
    """
    words = re.findall(r"[a-z]+", task.lower())
    named = [word for word in dict.fromkeys(words) if word in {*_STANDS, *_SMALL, *_BARS} - {STAND}]
    random = np.random.default_rng(seed)
    things: list[Thing] = []
    stands = [name for name in named if name in _STANDS]
    small = [name for name in named if name in _SMALL]
    if small and all(name in _CONTAINERS for name in stands):
        stands.insert(0, STAND)
    for i, name in enumerate(stands):
        shape, size = _STANDS[name]
        far = random.uniform(*_FAR_M) + (0.0 if len(stands) == 1 else 0.3 * i)
        aside = 0.0 if len(stands) == 1 else (-1) ** i * (_ASIDE_M + 0.25)
        things.append(Thing(name, shape, size, (far, aside + random.uniform(-0.1, 0.1), size[-1] / 2 + 1e-4)))
    for i, name in enumerate(small):
        shape, lengths, mass = _SMALL[name]
        below = things[0]
        x, y, z = below.position_m
        near = x - (below.size_m[0] / 2 - lengths[0] / 2 - 0.02 if below.shape == "box" else 0.0)
        y += 0.3 * i - (0.15 if len(small) > 1 else 0.0)
        top = z + below.size_m[-1] / 2
        things.append(Thing(name, shape, lengths, (near, y, top + lengths[-1] / 2 + 1e-3), 0.0, mass))
    for name in (name for name in named if name in _BARS):
        high = 1.2 if re.search(r"\b(duck|under|crouch)", task.lower()) else 0.02
        things.append(Thing(name, "box", (0.05, 1.6, 0.05), (random.uniform(0.5, 0.7), 0.0, high + 0.005)))
    return Scene(tuple(things))


def scaled(scene: Scene, ratio: float) -> Scene:
    """The same scene, so many times as large."""
    return Scene(tuple(
        Thing(thing.name, thing.shape, tuple(length * ratio for length in thing.size_m),
              (thing.position_m[0] * ratio, thing.position_m[1] * ratio, thing.position_m[2] * ratio), thing.yaw_rad,
              thing.mass_kg) for thing in scene.things))


def reach_m(thing: Thing) -> float:
    """From its middle to its side."""
    return thing.size_m[0] / 2 if thing.shape != "box" else math.hypot(thing.size_m[0], thing.size_m[1]) / 2 * 0.7
