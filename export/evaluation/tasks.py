"""The suite: for each task a human's motion by a seed, what stands around the robot, and when the task is done.

Lengths here are the ROBOT's; the human's are larger by the retarget table's ratio of legs. Things that hands meet are
put where the reference's hands pass, as an operator would put them; criteria are about the world, never the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.evaluation.reference import length_ratio, palm_path
from export.evaluation.trial import Seen
from export.motion import tasks
from export.motion.actor import Actor
from firmware_bridge.scene import Scene, Thing
from runtime.tracking_bodies import FEET, WRISTS

F64 = npt.NDArray[np.float64]
Furnish = Callable[[F64], Scene]
Judge = Callable[[Seen], tuple[bool, str]]


@dataclass(frozen=True)
class Plan:
    """One trial of a task.

    Attributes:
        actor: who has done it. furnish: the scene, from where the reference has the robot's bodies (T, 14, 3).
        judge: whether what was seen is the task done, and the measure in words.
        words: the task as a person says it, to whom the scene is shown. judge_of_words: where words leave open what
        the actor was told; None: the same.
    """

    actor: Actor
    furnish: Furnish
    judge: Judge
    words: str
    judge_of_words: Judge | None = None


@dataclass(frozen=True)
class Task:
    """A row of the suite: `plan(random, scale)` with the robot's lengths over the human's."""

    name: str
    tier: str
    summary: str
    plan: Callable[[np.random.Generator, float], Plan]


def _begin() -> Actor:
    actor = Actor()
    actor.hold(1.0)
    return actor


def _to_place(random: np.random.Generator, scale: float, things: Callable[[float, float, float], Scene], ahead_m: float,
              words: str) -> Plan:
    """To a place before things, which stand `ahead_m` beyond it at (x, y), turned to who comes."""
    far, bearing = random.uniform(1.0, 2.0), random.uniform(-0.5, 0.5)
    ahead = np.array([np.cos(bearing), np.sin(bearing)])
    stop, actor = far * ahead, _begin()
    tasks.walk_to(actor, tuple(stop / scale), random.uniform(0.35, 0.6))
    actor.hold(1.0)
    x, y = (far + ahead_m) * ahead
    scene = things(float(x), float(y), bearing)

    def judge(seen: Seen) -> tuple[bool, str]:
        away = float(np.linalg.norm(seen.bodies[-1, 0, :2] - stop))
        return away <= 0.3, f"stopped {away:.2f} m from the place (at most 0.3)"

    return Plan(actor, lambda bodies: scene, judge, words)


def _walk_to(random: np.random.Generator, scale: float) -> Plan:
    return _to_place(random, scale, lambda x, y, yaw: Scene((
        Thing("stand", "box", (0.25, 0.25, 0.5), (x, y, 0.25), yaw),
        Thing("bottle", "cylinder", (0.07, 0.2), (x, y, 0.601), 0.0, 0.5))), 0.45, "walk to the bottle")


def _walk_to_basket(random: np.random.Generator, scale: float) -> Plan:
    return _to_place(random, scale, lambda x, y, yaw: Scene((
        Thing("basket", "box", (0.35, 0.35, 0.3), (x, y, 0.1501), yaw, 2.0),)), 0.5, "walk to the basket")


def _go_round(random: np.random.Generator, scale: float) -> Plan:
    chair, goal, actor = np.array([random.uniform(1.1, 1.4), 0.0]), np.array([random.uniform(2.3, 2.7), 0.0]), _begin()
    tasks.go_round(actor, tuple(chair / scale), tuple(goal / scale), random.uniform(0.75, 0.9) / scale, 0.5)
    actor.hold(1.0)
    scene = Scene((Thing("chair", "box", (0.4, 0.4, 0.45), (float(chair[0]), 0.0, 0.2251), 0.0, 6.0),))

    def judge(seen: Seen) -> tuple[bool, str]:
        away = float(np.linalg.norm(seen.bodies[-1, 0, :2] - goal))
        push = float(np.linalg.norm(seen.objects["chair"][-1, :2] - chair))
        return away <= 0.5 and push < 0.05, f"ended {away:.2f} m from the goal (at most 0.5), chair moved {push:.2f} m"

    def is_behind(seen: Seen) -> tuple[bool, str]:
        past, aside = seen.bodies[-1, 0, :2] - chair
        push = float(np.linalg.norm(seen.objects["chair"][-1, :2] - chair))
        return bool(past >= 0.3 and abs(aside) <= 0.5 and push < 0.05), (
            f"ended {past:.2f} m past the chair (at least 0.3), {abs(aside):.2f} m aside (at most 0.5), chair moved "
            f"{push:.2f} m")

    return Plan(actor, lambda bodies: scene, judge, "go round the chair", is_behind)


def _sweep(random: np.random.Generator, scale: float) -> Plan:
    side = "left" if random.integers(2) else "right"
    hand, actor = WRISTS[0 if side == "left" else 1], _begin()
    tasks.sweep_aside(actor, side, random.uniform(0.8, 1.0), random.uniform(1.0, 1.5))
    actor.hold(0.5)

    def furnish(bodies: F64) -> Scene:
        path = palm_path(bodies, hand)
        x, y, z = path[np.argmax(np.where(np.abs(path[:, 1]) < 0.12, path[:, 0], -1))]
        return Scene((Thing("table", "box", (0.3, 0.9, 0.04), (x + 0.1, y, z - 0.14)),
                      Thing("bottle", "cylinder", (0.07, 0.22), (x, y, z - 0.009), 0.0, 0.4)))

    def judge(seen: Seen) -> tuple[bool, str]:
        moved = float(np.linalg.norm(seen.objects["bottle"][-1, :2] - seen.objects["bottle"][0, :2]))
        return moved >= 0.1, f"bottle moved {moved:.2f} m (at least 0.1)"

    return Plan(actor, furnish, judge, f"sweep the bottle aside with your {side} hand")


def _sit(random: np.random.Generator, scale: float) -> Plan:
    actor = _begin()
    tasks.sit_down(actor, drop=random.uniform(0.33, 0.38), seconds=random.uniform(2.5, 3.5))
    actor.hold(2.0)

    def furnish(bodies: F64) -> Scene:
        x, y, z = bodies[-1, 0]
        top = z - 0.16
        return Scene((Thing("chair", "box", (0.3, 0.4, top), (x - 0.1, y, top / 2)),))

    def judge(seen: Seen) -> tuple[bool, str]:
        force = float(seen.forces["chair"][-round(0.5 * seen.fps):].mean())
        return force >= 100, f"{force:.0f} N on the chair in the last half second (at least 100)"

    return Plan(actor, furnish, judge, "sit down on the chair")


def _box(bodies: F64, frame: int) -> tuple[Thing, Thing]:
    """A box between the hands of a frame, and the stand under it."""
    left, right = (palm_path(bodies[frame:frame + 1], hand)[0] for hand in WRISTS)
    x, y, z = (left + right) / 2
    wide = float(np.linalg.norm(left - right)) - 0.12
    top = z - 0.1
    return (Thing("stand", "box", (0.2, 0.24, top), (x, y, top / 2)),
            Thing("box", "box", (0.2, max(wide, 0.12), 0.2), (x, y, top + 0.101), 0.0, 0.4))


def _lift(random: np.random.Generator, scale: float) -> Plan:
    actor = _begin()
    down = random.uniform(1.8, 2.5)
    tasks.lift(actor, drop=random.uniform(0.2, 0.28), seconds=down)
    actor.hold(1.0)
    frame = round((1.0 + down) * 50)

    def judge(seen: Seen) -> tuple[bool, str]:
        rise = float(seen.objects["box"][-1, 2] - seen.objects["box"][0, 2])
        return rise >= 0.08, f"box rose by {rise:.2f} m (at least 0.08)"

    return Plan(actor, lambda bodies: Scene(_box(bodies, frame)), judge, "pick up the box")


def _duck(random: np.random.Generator, scale: float) -> Plan:
    actor = _begin()
    tasks.duck(actor, (random.uniform(1.2, 1.5) / scale, 0.0), drop=random.uniform(0.08, 0.12))
    actor.hold(1.0)
    height, place = 1.2, 0.6
    scene = Scene((Thing("bar", "box", (0.05, 2.0, 0.05), (place, 0.0, height)),))

    def judge(seen: Seen) -> tuple[bool, str]:
        past, touch = float(seen.bodies[-1, 0, 0]) - place, float(seen.forces["bar"].max())
        return past > 0.2 and touch == 0, f"ended {past:.2f} m past the bar (over 0.2), touched it with {touch:.0f} N"

    return Plan(actor, lambda bodies: scene, judge, "duck under the bar")


def _over(random: np.random.Generator, scale: float) -> Plan:
    actor = _begin()
    tasks.step_over(actor, random.uniform(0.4, 0.48) / scale, random.uniform(0.15, 0.2), random.uniform(1.0, 1.3))
    actor.hold(1.0)
    place = 0.22
    scene = Scene((Thing("bar", "box", (0.03, 1.2, 0.04), (place, 0.0, 0.02)),))

    def judge(seen: Seen) -> tuple[bool, str]:
        past, touch = float(seen.bodies[-1, FEET, 0].min()) - place, float(seen.forces["bar"].max())
        return past > 0.0 and touch == 0, f"feet ended {past:.2f} m past the bar, touched it with {touch:.0f} N"

    return Plan(actor, lambda bodies: scene, judge, "step over the bar")


def _wipe(random: np.random.Generator, scale: float) -> Plan:
    side = "left" if random.integers(2) else "right"
    hand, actor = WRISTS[0 if side == "left" else 1], _begin()
    tasks.wipe(actor, side, seconds=random.uniform(0.7, 1.0))
    actor.hold(0.5)

    def furnish(bodies: F64) -> Scene:
        path = palm_path(bodies, hand)[150:200]
        x, y, z = path.mean(axis=0)
        return Scene((Thing("table", "box", (0.3, 0.8, 0.04), (x + 0.12, y, z - 0.06)),))

    def judge(seen: Seen) -> tuple[bool, str]:
        rubs = seen.forces["table"] > 1
        path = palm_path(seen.bodies, hand)
        wide = float(np.ptp(path[rubs, 1])) if rubs.any() else 0.0
        return wide >= 0.15, f"rubbed {wide:.2f} m of the table (at least 0.15)"

    return Plan(actor, furnish, judge, f"wipe the table with your {side} hand")


def _pick_and_place(random: np.random.Generator, scale: float) -> Plan:
    actor = _begin()
    tasks.walk_to(actor, (random.uniform(0.6, 0.9) / scale, 0.0), 0.45)
    actor.hold(0.5)
    down = 2.0
    frame = round((actor.seconds + down) * 50)
    tasks.lift(actor, drop=0.15, seconds=down)
    actor.turn_to(np.pi / 2)
    x, y = actor.place
    actor.walk(np.array([[x, y], [x, y + random.uniform(0.4, 0.6) / scale]]), 0.4)
    actor.hold(0.5)
    put = round((actor.seconds + 1.4) * 50)
    tasks.put_down(actor)
    actor.hold(0.5)

    def furnish(bodies: F64) -> Scene:
        x, y, z = np.mean([palm_path(bodies[put:put + 1], hand)[0] for hand in WRISTS], axis=0)
        top = z - 0.13
        return Scene((*_box(bodies, frame), Thing("basket", "box", (0.4, 0.3, top), (x, y + 0.05, top / 2))))

    def judge(seen: Seen) -> tuple[bool, str]:
        away = np.abs(seen.objects["box"][-1, :3] - seen.objects["basket"][-1, :3])
        top = 2 * seen.objects["basket"][-1, 2]
        is_on = away[0] < 0.2 and away[1] < 0.15 and seen.objects["box"][-1, 2] > top + 0.05
        return bool(is_on), f"box {np.hypot(away[0], away[1]):.2f} m from the middle of the basket"

    return Plan(actor, furnish, judge, "pick up the box and put it in the basket")


TASKS = (
    Task("walk to", "B", "to a bottle on a stand", _walk_to),
    Task("go round", "B", "round a chair to a place behind it", _go_round),
    Task("sweep aside", "A", "a bottle on a table", _sweep),
    Task("sit down", "A", "on a chair behind", _sit),
    Task("lift and stand", "A", "a box between both hands", _lift),
    Task("duck", "A", "under a bar", _duck),
    Task("step over", "A", "a bar on the floor", _over),
    Task("wipe", "A", "a table with one hand", _wipe),
    Task("pick and place", "S", "walk, lift a box, carry it, put it on a basket", _pick_and_place),
    Task("walk to basket", "B", "to a basket on the floor", _walk_to_basket),
)


def plan_of(name: str, seed: int) -> Plan:
    """A trial of the task of that name."""
    number = next(i for i, task in enumerate(TASKS) if task.name == name)
    return TASKS[number].plan(np.random.default_rng([number, seed]), length_ratio())
