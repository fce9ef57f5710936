"""Atomic actions of a human, by parameters: each takes an `Actor` from where it stands to where it stands afterwards.

Actions follow each other on one actor, so that a task is what is called in a row; a place or heading is the world's.
"""

from __future__ import annotations

import math

import numpy as np

from export.motion.actor import Actor

Place = tuple[float, float]


def walk_to(actor: Actor, goal: Place, speed: float = 0.5, heading: float | None = None) -> None:
    """Turns to a place, walks there in a straight line, and turns to a heading where one is given."""
    start = actor.place
    if math.dist(start, goal) > 0.05:
        actor.turn_to(math.atan2(goal[1] - start[1], goal[0] - start[0]))
        actor.walk(np.array([start, goal]), speed)
    if heading is not None:
        actor.turn_to(heading)


def go_round(actor: Actor, centre: Place, goal: Place, radius: float, speed: float = 0.5) -> None:
    """To a goal beyond something, past its left at a distance, seen along the straight way."""
    start, end = np.array(actor.place), np.array(goal)
    ahead = (end - start) / np.linalg.norm(end - start)
    left = np.array([-ahead[1], ahead[0]])
    reach = float((np.array(centre) - start) @ ahead)
    s = np.linspace(0, 1, 60)
    along = s * float(np.linalg.norm(end - start))
    bulge = radius * np.exp(-0.5 * ((along - reach) / (0.8 * radius)) ** 2)
    bulge -= bulge[0] * (1 - s) + bulge[-1] * s
    bulge *= radius / bulge.max()
    way = start + along[:, None] * ahead + bulge[:, None] * left
    first = way[5] - way[0]
    actor.turn_to(math.atan2(first[1], first[0]))
    actor.walk(way, speed)


def reach(
    actor: Actor, side: str, swing: float = 1.1, elbow: float = 0.4, out: float = 0.05, seconds: float = 1.2
) -> None:
    """One arm forwards."""
    actor.move(seconds, **{f"{side}_swing": swing, f"{side}_elbow": elbow, f"{side}_out": out})


def wave(actor: Actor, side: str = "right", times: int = 3, seconds: float = 0.7) -> None:
    """An arm up and to and fro, then down."""
    sign = 1.0 if side == "left" else -1.0
    actor.move(1.2, **{f"{side}_swing": 1.3, f"{side}_out": 0.5, f"{side}_elbow": 1.4})
    for _ in range(times):
        actor.move(seconds, **{f"{side}_turn": 0.35 * sign})
        actor.move(seconds, **{f"{side}_turn": -0.25 * sign})
    actor.move(1.2, **{f"{side}_swing": 0.05, f"{side}_out": 0.15, f"{side}_elbow": 0.35, f"{side}_turn": 0.0})


def sweep_aside(actor: Actor, side: str = "right", width: float = 0.9, seconds: float = 1.2) -> None:
    """A stretched arm from its own side across the front, and back."""
    sign = 1.0 if side == "left" else -1.0
    actor.move(1.2, **{f"{side}_swing": 0.9, f"{side}_elbow": 0.5, f"{side}_turn": 0.5 * width * sign})
    actor.move(seconds, **{f"{side}_turn": -0.5 * width * sign})
    actor.hold(0.3)
    actor.move(0.6, **{f"{side}_swing": 1.2, f"{side}_turn": 0.0})
    actor.relax(1.2)


def wipe(actor: Actor, side: str = "right", times: int = 3, seconds: float = 0.8) -> None:
    """A hand to and fro over a table, bent towards it."""
    sign = 1.0 if side == "left" else -1.0
    actor.move(1.4, bend=0.3, **{f"{side}_swing": 0.8, f"{side}_elbow": 0.7, f"{side}_turn": 0.25 * sign})
    for _ in range(times):
        actor.move(seconds, **{f"{side}_turn": -0.3 * sign})
        actor.move(seconds, **{f"{side}_turn": 0.25 * sign})
    actor.relax(1.4)


def sit_down(actor: Actor, drop: float = 0.38, back: float = 0.27, seconds: float = 2.5) -> None:
    """Onto a seat behind; stays seated."""
    arms = {f"{side}_{part}": value for side in ("left", "right") for part, value in (("swing", 0.6), ("elbow", 0.6))}
    actor.move(seconds, drop=drop, forward=-back, lean=0.35, bend=0.25, **arms)
    actor.move(0.8, lean=0.05, bend=0.1)


def stand_up(actor: Actor, seconds: float = 2.5) -> None:
    """From a seat, the trunk first."""
    actor.move(0.8, lean=0.4, bend=0.25)
    actor.relax(seconds)


def lift(actor: Actor, drop: float = 0.25, apart: float = 0.02, seconds: float = 2.0) -> None:
    """Squats before a box, takes it between both hands and stands with it."""
    arms = {"swing": 0.85, "elbow": 0.55, "out": 0.3}
    actor.move(seconds, drop=drop, forward=-0.06, lean=0.35, bend=0.25, **both(arms))
    close(actor, apart)
    actor.move(seconds, drop=0.0, forward=0.0, lean=0.0, bend=0.05, **both({"swing": 0.55, "elbow": 0.9}))


def both(arm: dict[str, float]) -> dict[str, float]:
    """The same of both arms."""
    return {f"{side}_{part}": value for side in ("left", "right") for part, value in arm.items()}


def close(actor: Actor, apart: float) -> None:
    """Both hands together; told to close."""
    for side in ("left", "right"):
        actor.hand(side, 2)
    actor.move(0.7, **both({"out": apart}))


def put_down(actor: Actor, drop: float = 0.1, seconds: float = 1.5) -> None:
    """What both hands hold, onto something in front; then upright."""
    actor.move(seconds, drop=drop, lean=0.15, bend=0.25)
    for side in ("left", "right"):
        actor.hand(side, 0)
    actor.move(0.7, **both({"out": 0.35}))
    actor.relax(1.5)


def duck(actor: Actor, goal: Place, drop: float = 0.12, bend: float = 0.5, speed: float = 0.35) -> None:
    """Bends, walks bent to a place in front, and rises."""
    actor.move(1.2, drop=drop, lean=0.25, bend=bend, forward=-0.04)
    actor.walk(np.array([actor.place, goal]), speed)
    actor.relax(1.2)


def step_over(actor: Actor, length: float = 0.45, height: float = 0.2, seconds: float = 1.2) -> None:
    """Both feet, one after the other, high over something in front."""
    x, y = actor.place
    heading = actor.heading
    goal = (x + length * math.cos(heading), y + length * math.sin(heading))
    for side, lean in (("left", -1.0), ("right", 1.0)):
        actor.move(0.6, aside=0.05 * lean)
        actor.step(side, goal, heading, seconds, height)
    actor.move(0.6, aside=0.0)
