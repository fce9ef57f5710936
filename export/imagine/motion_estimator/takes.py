"""Takes: what the motion estimator learns from and is judged by; each another body, camera, light and motion.

A take is fixed by a seed, whether it is held out, and its number; nothing else decides what is in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from export.imagine.acting import Performance, perform
from export.imagine.actions import VERBS, Action, Plan, action
from export.imagine.film import looks_of, view_of
from export.imagine.mannequin import Looks, Set, View
from export.imagine.motion_estimator.body import shaped
from export.imagine.motion_estimator.layout import SHAPE
from export.imagine.props import furnish, scaled
from export.motion.actor import FPS, Actor
from firmware_bridge.scene import Scene, Thing
from runtime import rotation
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, HumanMotion, Skeleton

F64 = npt.NDArray[np.float64]
Random = np.random.Generator
LARGE = 1.3
"""A human by a G1, about: scenes are furnished for the robot."""
_TASKS = ("table", "chair", "box table", "bottle table", "basket box", "bar", "shelf", "stool cup", "door", "cone", "")
_DRAWS = 40
MOST_HIDDEN = 0.4
"""Of a person's joints over a take, by any one thing: nobody could tell what is behind a pillar all the time."""
FRAMES = 24
"""Of a take that is learnt from, far apart in time; judged takes are whole videos."""


@dataclass(frozen=True)
class Take:
    """A motion and all that is in the picture; `kind` says what sort of motion."""

    kind: str
    motion: HumanMotion
    around: Set
    shape: F64


def draw(seed: int, number: int, *, held_out: bool = False) -> Take:
    """The take of a number; held-out takes share no random number with the others."""
    random = np.random.default_rng([seed, int(held_out), number])
    for _ in range(_DRAWS):
        try:
            return _draw(random)
        except Refused:  # a motion that these legs cannot do: another
            continue
    raise Refused(f"take {number}", expected=f"a motion that legs can do within {_DRAWS} draws", found="none",
                  what_to_do="take another seed")


def _draw(random: Random) -> Take:
    shape = _shape(random)
    kind = "acted" if random.random() < 0.65 else "free"
    scene = scaled(furnish(str(random.choice(_TASKS)), int(random.integers(1 << 30))), LARGE)
    if kind == "acted":
        done = _acted(random, scene, shaped(shape))
        motion, held = done.whole, done.held
    else:
        motion, held = _free(random, shaped(shape)), ()
    if random.random() < (0.5 if kind == "acted" else 0.8):
        motion = replace(motion, hand_states=_hands(random, motion.frames))
    joints = motion.in_world()[0].reshape(-1, 3)
    things = np.array([thing.position_m for thing in scene.things]).reshape(-1, 3)
    view = _view(random, joints, np.concatenate([joints, things]))
    return Take(kind, motion, Set(view, scene, _looks(random), _occluders(random, view, joints), held), shape)


def _shape(random: Random) -> F64:
    """A third of all are the plain body, as our own films show it."""
    if random.random() < 0.33:
        return np.zeros(len(SHAPE))
    return np.asarray(random.uniform(-0.07, 0.07) + random.uniform(-0.05, 0.05, len(SHAPE)))


def _acted(random: Random, scene: Scene, skeleton: Skeleton) -> Performance:
    """One to three actions of a plan."""
    named = [thing.name for thing in scene.things]
    actions = []
    for _ in range(int(random.integers(1, 4))):
        verb = VERBS[int(random.integers(len(VERBS)))]
        if verb.object == "needed" and not named:
            continue
        thing = str(random.choice(named)) if named and (verb.object == "needed" or random.random() < 0.5) else ""
        low, _, high = verb.seconds
        actions.append(action(verb.name, "" if verb.object == "none" else thing, str(random.choice(verb.hands)),
                              float(random.uniform(low, min(high, 8.0)))))
    plan = Plan("a take", tuple(actions) or (Action("hold", "", "none", 2.0, ""),))
    return perform(plan, scene, int(random.integers(1 << 30)), skeleton)


def _free(random: Random, skeleton: Skeleton) -> HumanMotion:
    """Smooth ways between poses that no action has, with heads, wrists and backs that the actor keeps still."""
    actor = Actor(heading=float(random.uniform(-math.pi, math.pi)), skeleton=skeleton)
    ranges = {"forward": (-0.06, 0.06), "aside": (-0.05, 0.05), "drop": (0.0, 0.32), "lean": (-0.1, 0.45),
              "bend": (-0.1, 0.6), "twist": (-0.6, 0.6)}
    for side in ("left", "right"):
        ranges |= {f"{side}_swing": (-0.5, 2.3), f"{side}_out": (0.0, 1.3), f"{side}_turn": (-0.8, 0.8),
                   f"{side}_elbow": (0.0, 2.1)}
    for _ in range(int(random.integers(3, 7))):
        if random.random() < 0.35:
            actor.turn_to(actor.heading + float(random.uniform(-1.5, 1.5)))
        if random.random() < 0.35:
            way = actor.heading + float(random.uniform(-0.5, 0.5))
            far = float(random.uniform(0.3, 1.2))
            x, y = actor.place
            actor.walk(np.array([[x, y], [x + far * math.cos(way), y + far * math.sin(way)]]), 0.5)
        names = [name for name in ranges if random.random() < 0.7]
        actor.move(float(random.uniform(0.6, 1.6)), **{name: float(random.uniform(*ranges[name])) for name in names})
    motion = actor.motion("free")
    return replace(motion, local_wxyz=_loosened(random, motion.local_wxyz))


def _loosened(random: Random, local_wxyz: F64) -> F64:
    out: F64 = local_wxyz.copy()
    spread = {"neck": 0.15, "head": 0.25, "left_wrist": 0.4, "right_wrist": 0.4, "spine1": 0.06, "spine3": 0.06,
              "left_collar": 0.08, "right_collar": 0.08, "left_shoulder": 0.2, "right_shoulder": 0.2}
    time = np.arange(len(out)) / FPS
    for name, size in spread.items():
        waves = [np.sin(2 * np.pi * time * random.uniform(0.1, 0.5) + random.uniform(0, 6.28)) for _ in range(3)]
        turn = rotation.quat_from_vector_many(size * np.stack(waves, axis=1))
        joint = HUMAN_JOINTS.index(name)
        out[:, joint] = rotation.multiply_many(out[:, joint], turn)
    return out


def _hands(random: Random, frames: int) -> npt.NDArray[np.int8]:
    """(T, 2) states that change every second or so."""
    out = np.zeros((frames, 2), np.int8)
    for column in out.T:
        at = 0
        while at < frames:
            until = at + round(random.uniform(0.6, 2.5) * FPS)
            column[at:until] = random.integers(3)
            at = until
    return out


def _colour(random: Random, low: float, high: float) -> tuple[float, float, float]:
    r, g, b = random.uniform(low, high, 3)
    return float(r), float(g), float(b)


def _looks(random: Random) -> Looks:
    """Half as our films choose them, half of any build."""
    looks = looks_of(int(random.integers(1 << 30)))
    if random.random() < 0.5:
        return looks
    return replace(looks, torso_m=random.uniform(0.115, 0.15), thigh_m=random.uniform(0.066, 0.088),
                   shin_m=random.uniform(0.048, 0.064), arm_m=random.uniform(0.039, 0.053),
                   head_m=random.uniform(0.095, 0.115), trousers=_colour(random, 0.05, 0.9),
                   shoes=_colour(random, 0.05, 0.9))


def _view(random: Random, joints: F64, everything: F64) -> View:
    """A third as our films have it; else from anywhere, nearer or farther, by another lens, in other colours."""
    quality = [(0, 0), (1024, 0), (1024, 4)][int(random.choice(3, p=[0.3, 0.53, 0.17]))]
    if random.random() < 0.33:
        return replace(view_of(everything, int(random.integers(1 << 30))), shadow_px=quality[0], samples=quality[1])
    low, high = joints.min(axis=0), joints.max(axis=0)
    middle = (low + high) / 2
    radius = float(np.linalg.norm((high - low)[:2])) / 2 + 0.3
    fovy = math.radians(random.uniform(36, 58))
    away = max((radius / math.tan(fovy / 2)) * 0.75 + 0.6 * radius, 1.15 / math.tan(fovy / 2) + radius)
    away *= random.uniform(0.95, 1.4)
    azimuth = random.uniform(-math.pi, math.pi)
    target = (float(middle[0] + random.uniform(-0.15, 0.15)), float(middle[1] + random.uniform(-0.15, 0.15)),
              random.uniform(0.75, 1.05))
    position = (target[0] + away * math.cos(azimuth), target[1] + away * math.sin(azimuth), random.uniform(0.8, 2.1))
    grey = random.uniform(0.25, 0.8)
    floor = (_near(random, grey), _near(random, grey - random.uniform(0.04, 0.15)))
    return View(position, target, fovy, floor, _colour(random, 0.4, 0.98),
                (random.uniform(-2, 2), random.uniform(-2, 2), 3.5), random.uniform(0.25, 0.55), *quality)


def _near(random: Random, grey: float) -> tuple[float, float, float]:
    r, g, b = np.clip(grey + random.uniform(-0.08, 0.08, 3), 0.02, 0.98)
    return float(r), float(g), float(b)


def _occluders(random: Random, view: View, joints: F64) -> tuple[Thing, ...]:
    """In two takes of five: up to two boxes or pillars somewhere between the camera and the person, none of which hides
    the person for the most part."""
    if random.random() > 0.4:
        return ()
    out = []
    for i in range(int(random.integers(1, 3))):
        goal = joints[int(random.integers(len(joints)))]
        share = random.uniform(0.3, 0.75)
        x, y = (1 - share) * np.array(view.position_m[:2]) + share * goal[:2] + random.uniform(-0.3, 0.3, 2)
        wide, tall = random.uniform(0.06, 0.45), random.uniform(0.3, 0.8) if random.random() < 0.7 else 2.2
        if tall > 1:
            wide = random.uniform(0.05, 0.12)
        thing = Thing("o" * int(random.integers(1, 40)) + f"{i}", "box", (wide, wide, tall),
                      (float(x), float(y), tall / 2), random.uniform(0, 1.5))
        if hidden_share(thing, view.position_m, joints) <= MOST_HIDDEN:
            out.append(thing)
    return tuple(out)


def hidden_share(box: Thing, eye_m: tuple[float, float, float], points: F64) -> float:
    """The share of points (n, 3) in whose line of sight a box stands."""
    turn = np.array([math.cos(box.yaw_rad / 2), 0.0, 0.0, -math.sin(box.yaw_rad / 2)])
    eye, ends = (rotation.rotate_many(turn, place - np.array(box.position_m)) for place in (np.array(eye_m), points))
    with np.errstate(divide="ignore", invalid="ignore"):
        sides = np.stack([(sign * np.array(box.size_m) / 2 - eye) / (ends - eye) for sign in (-1, 1)])
    near, far = sides.min(axis=0).max(axis=1), sides.max(axis=0).min(axis=1)
    return float(((near <= far) & (far > 0) & (near < 1)).mean())
