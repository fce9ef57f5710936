"""The embedded default's actor: a human made of parameters does a plan in a scene, action after action.

It knows where things are, as the one who imagines a video does; lengths are the human's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from export.imagine.actions import Action, Plan
from export.imagine.mannequin import Held
from export.imagine.props import reach_m
from export.motion import tasks
from export.motion.actor import FPS, Actor
from firmware_bridge.scene import Scene, Thing
from runtime.errors import Refused
from runtime.human_motion import PLAIN, HumanMotion, Skeleton

STOP_M = 0.42
"""Between who stands before a thing and the thing's side."""
PAUSE_S = 0.4
"""Stillness at both ends of every action: where the next one's video begins."""
SHOULDER_M = 1.36


@dataclass(frozen=True)
class Performance:
    """What was done.

    Attributes:
        motions: one an action, each beginning where the one before ended.
        held: what was carried, in frames of the whole; `starts` of each action in them.
    """

    motions: tuple[HumanMotion, ...]
    whole: HumanMotion
    starts: tuple[int, ...]
    held: tuple[Held, ...]


def perform(plan: Plan, scene: Scene, seed: int, skeleton: Skeleton = PLAIN) -> Performance:
    """The plan, done.

    Args:
        scene: in human lengths; the human stands at the origin and looks along x.

    Raises:
        Refused: an object that the scene does not hold; a motion that no human's legs can do.
    """
    random = np.random.default_rng(seed)
    actor, things = Actor(skeleton=skeleton), {thing.name: thing for thing in scene.things}
    actor.hold(PAUSE_S)
    held: list[Held] = []
    carried: tuple[str, int] | None = None
    starts = [0]
    for i, step in enumerate(plan.actions):
        thing = things.get(step.object)
        if step.object and thing is None:
            raise Refused(f"action {i + 1}", expected=f"an object of the scene: {', '.join(things) or 'nothing'}",
                          found=step.object, what_to_do="put it into the scene, or say the task in its words")
        begun = _frames(actor)
        _DO[step.verb](actor, step, thing, random)
        if step.verb == "lift":
            carried = (step.object, begun + round(0.55 * (_frames(actor) - begun)))
        elif step.verb == "place" and carried is not None:
            held.append(Held(carried[0], "both", carried[1], begun + round(0.45 * (_frames(actor) - begun))))
            carried = None
        actor.hold(PAUSE_S)
        starts.append(_frames(actor))
    if carried is not None:
        held.append(Held(carried[0], "both", carried[1], _frames(actor)))
    whole = actor.motion("performance")
    return Performance(tuple(_cut(whole, a, b) for a, b in itertools.pairwise(starts)), whole,
                       tuple(starts[:-1]), tuple(held))


def _frames(actor: Actor) -> int:
    return round(actor.seconds * FPS)


def _cut(motion: HumanMotion, start: int, end: int) -> HumanMotion:
    hands = None if motion.hand_states is None else motion.hand_states[start:end]
    return replace(motion, local_wxyz=motion.local_wxyz[start:end], pelvis_m=motion.pelvis_m[start:end],
                   hand_states=hands)


Do = Callable[[Actor, Action, "Thing | None", np.random.Generator], None]


def before(place: tuple[float, float], thing: Thing, stop_m: float = STOP_M) -> tuple[float, float]:
    """The place in front of a thing, on the straight way to it from another one."""
    x, y = place
    away = math.dist((x, y), thing.position_m[:2])
    share = max(0.0, 1 - (stop_m + reach_m(thing)) / max(away, 1e-6))
    return x + share * (thing.position_m[0] - x), y + share * (thing.position_m[1] - y)


def _beyond(actor: Actor, thing: Thing, by: float) -> tuple[float, float]:
    x, y = actor.place
    way = math.atan2(thing.position_m[1] - y, thing.position_m[0] - x)
    return thing.position_m[0] + by * math.cos(way), thing.position_m[1] + by * math.sin(way)


def _face(actor: Actor, thing: Thing) -> None:
    x, y = actor.place
    actor.turn_to(math.atan2(thing.position_m[1] - y, thing.position_m[0] - x))


def _speed(step: Action, metres: float) -> float:
    return float(np.clip(metres / max(step.duration_s - 1.0, 0.5), 0.35, 0.6))


def _walk(actor: Actor, step: Action, thing: Thing | None, random: np.random.Generator) -> None:
    assert thing is not None
    goal = before(actor.place, thing)
    tasks.walk_to(actor, goal, _speed(step, math.dist(actor.place, goal)))
    _face(actor, thing)


def _round(actor: Actor, step: Action, thing: Thing | None, random: np.random.Generator) -> None:
    assert thing is not None
    goal = _beyond(actor, thing, reach_m(thing) + 0.9)
    tasks.go_round(actor, thing.position_m[:2], goal, reach_m(thing) + 0.55, 0.5)


def _turn(by: float) -> Do:
    def do(actor: Actor, step: Action, thing: Thing | None, random: np.random.Generator) -> None:
        actor.turn_to(actor.heading + by)

    return do


def _over(actor: Actor, step: Action, thing: Thing | None, random: np.random.Generator) -> None:
    assert thing is not None
    x, y = before(actor.place, thing, STOP_M - 0.22)
    if math.dist(actor.place, (x, y)) > 0.08:
        tasks.walk_to(actor, (x, y), 0.4)
    _face(actor, thing)
    tasks.step_over(actor, random.uniform(0.44, 0.5), random.uniform(0.17, 0.21), random.uniform(1.0, 1.2))


def _duck(actor: Actor, step: Action, thing: Thing | None, random: np.random.Generator) -> None:
    assert thing is not None
    _face(actor, thing)
    tasks.duck(actor, _beyond(actor, thing, 0.8), drop=random.uniform(0.08, 0.12))


def _swing(actor: Actor, thing: Thing | None, low: float = 0.5) -> float:
    """How far an arm is swung forwards to be at a thing's top."""
    if thing is None:
        return 1.2
    away = max(math.dist(actor.place, thing.position_m[:2]) - 0.1, 0.25)
    down = SHOULDER_M - (thing.position_m[2] + thing.size_m[-1] / 2)
    return float(np.clip(math.atan2(away, max(down, 0.05)), low, 1.5))


def _reach(actor: Actor, step: Action, thing: Thing | None, random: np.random.Generator) -> None:
    tasks.reach(actor, step.hand, _swing(actor, thing), 0.25, seconds=min(step.duration_s * 0.6, 2.0))
    actor.hold(0.3)


def _sweep(actor: Actor, step: Action, thing: Thing | None, random: np.random.Generator) -> None:
    tasks.sweep_aside(actor, step.hand, random.uniform(0.8, 1.0), random.uniform(1.0, 1.4))


def _wipe(actor: Actor, step: Action, thing: Thing | None, random: np.random.Generator) -> None:
    tasks.wipe(actor, step.hand, times=max(2, min(6, round((step.duration_s - 2.8) / 1.6))),
               seconds=random.uniform(0.7, 0.9))


def _sit(actor: Actor, step: Action, thing: Thing | None, random: np.random.Generator) -> None:
    if thing is not None:
        x, y = actor.place
        way = math.atan2(thing.position_m[1] - y, thing.position_m[0] - x)
        if math.dist((x, y), thing.position_m[:2]) > STOP_M + reach_m(thing) + 0.1:
            tasks.walk_to(actor, before(actor.place, thing), 0.45)
        actor.turn_to(way + math.pi)
    tasks.sit_down(actor, drop=random.uniform(0.33, 0.38), seconds=max(2.5, min(step.duration_s, 3.5)))


def _stand(actor: Actor, step: Action, thing: Thing | None, random: np.random.Generator) -> None:
    tasks.stand_up(actor, max(1.0, min(step.duration_s - 0.8, 2.5)))


def _bend(actor: Actor, step: Action, thing: Thing | None, random: np.random.Generator) -> None:
    actor.move(max(1.2, step.duration_s * 0.7), bend=0.5, lean=0.25, drop=0.08, forward=-0.05)


def _lift(actor: Actor, step: Action, thing: Thing | None, random: np.random.Generator) -> None:
    assert thing is not None
    low = SHOULDER_M - 0.55 - thing.position_m[2]
    tasks.lift(actor, drop=float(np.clip(low, 0.1, 0.28)), seconds=max(1.6, min(step.duration_s / 2.6, 2.5)))


def _place(actor: Actor, step: Action, thing: Thing | None, random: np.random.Generator) -> None:
    tasks.put_down(actor, drop=0.1, seconds=max(1.2, min(step.duration_s / 2.5, 2.0)))


def _wave(actor: Actor, step: Action, thing: Thing | None, random: np.random.Generator) -> None:
    tasks.wave(actor, step.hand, times=max(2, min(5, round((step.duration_s - 2.4) / 1.4))), seconds=0.65)


def _hold(actor: Actor, step: Action, thing: Thing | None, random: np.random.Generator) -> None:
    actor.hold(step.duration_s)


_DO: Mapping[str, Do] = {
    "walk to": _walk, "go round": _round, "turn left": _turn(math.pi / 2), "turn right": _turn(-math.pi / 2),
    "turn around": _turn(math.pi), "step over": _over, "duck": _duck, "reach": _reach, "sweep": _sweep, "wipe": _wipe,
    "sit down": _sit, "stand up": _stand, "bend": _bend, "lift": _lift, "place": _place, "wave": _wave, "hold": _hold,
}
