"""By what a motion shows which action it is: a few signs a verb, so coarse that only another action lacks them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from export.imagine.actions import Action
from export.imagine.body import ANKLES, HANDS, SHOULDERS, SIDES, Body
from export.motion.limbs import ANKLE_M

Sign = Callable[[Body, Action], bool]
OPEN, CLOSED = 0, 2
SMALLEST_SPAN_M = 0.12


def acting_hands(step: Action) -> tuple[int, ...]:
    """Columns of the hands that an action is done with."""
    return tuple(column for column, side in enumerate(SIDES) if step.hand in (side, "both"))


def _turned(body: Body) -> float:
    return float(body.heading[-1] - body.heading[0])


def _hand_span(body: Body, hand: int) -> float:
    """How wide a hand goes from side to side while it is out."""
    out = body.hands_out[:, hand] > 0.2
    sideways = body.hand_places[out, hand, 1]
    return float(np.ptp(sideways)) if len(sideways) else 0.0


def _turns_of_hand(body: Body, hand: int) -> int:
    """How often a hand turns back from side to side, by SMALLEST_SPAN_M and more."""
    count, way, extreme = 0, 0, float(body.hand_places[0, hand, 1])
    for y in body.hand_places[:, hand, 1]:
        if way * (y - extreme) > 0 or (way == 0 and abs(y - extreme) > SMALLEST_SPAN_M):
            way, extreme = way or (1 if y > extreme else -1), float(y)
        elif way and abs(y - extreme) > SMALLEST_SPAN_M:
            count, way, extreme = count + 1, -way, float(y)
    return count


def _some_hand(holds: Callable[[Body, int], bool]) -> Sign:
    return lambda body, step: any(holds(body, hand) for hand in acting_hands(step))


def _states(first: Sequence[int], last: Sequence[int]) -> Sign:
    """Hands that begin and end in certain states; a motion without states shows it, as nothing speaks against it."""

    def holds(body: Body, step: Action) -> bool:
        if body.hands is None:
            return True
        known = [column[column >= 0] for column in body.hands.T]
        return all(not len(column) or (column[0] in first and column[-1] in last) for column in known)

    return holds


SIGNS: Mapping[str, Mapping[str, Sign]] = {
    "walk to": {"goes 0.2 m or more": lambda body, _: body.way_m >= 0.2},
    "go round": {"goes 0.5 m or more": lambda body, _: body.way_m >= 0.5},
    "turn left": {"turns left by 35 to 145 degrees": lambda body, _: 0.6 <= _turned(body) <= 2.53},
    "turn right": {"turns right by 35 to 145 degrees": lambda body, _: -2.53 <= _turned(body) <= -0.6},
    "turn around": {"turns by 125 degrees or more": lambda body, _: abs(_turned(body)) >= 2.18},
    "step over": {
        "lifts a foot by 0.12 m": lambda body, _: bool(body.joints[:, ANKLES, 2].max() >= ANKLE_M + 0.12),
        "goes 0.2 m or more": lambda body, _: body.way_m >= 0.2},
    "duck": {"lowers its head": lambda body, _: bool(np.cos(body.lean).min() * body.height.min() < 0.85),
             "goes 0.2 m or more": lambda body, _: body.way_m >= 0.2},
    "reach": {"a hand is out by 0.25 m": _some_hand(lambda body, hand: bool(body.hands_out[:, hand].max() >= 0.25))},
    "sweep": {"a hand goes 0.2 m across": _some_hand(lambda body, hand: _hand_span(body, hand) >= 0.2)},
    "wipe": {"a hand goes to and fro": _some_hand(lambda body, hand: _turns_of_hand(body, hand) >= 2)},
    "sit down": {"ends below three quarters of standing": lambda body, _: bool(body.height[-1] <= 0.75)},
    "stand up": {"ends upright": lambda body, _: bool(body.height[-1] >= 0.88)},
    "bend": {"leans by 25 degrees": lambda body, _: bool(body.lean.max() >= math.radians(25))},
    "lift": {"hands end closed": _states((OPEN, 1), (CLOSED,)),
             "a hand is out by 0.2 m at the end": lambda body, _: bool(body.hands_out[-1].max() >= 0.2)},
    "place": {"hands end open": _states((CLOSED, 1), (OPEN,))},
    "wave": {"a hand is above its shoulder": _some_hand(lambda body, hand: bool(
        (body.joints[:, HANDS[hand], 2] > body.joints[:, SHOULDERS[hand], 2]).any()))},
    "hold": {"stays": lambda body, _: body.way_m < 0.2 and abs(_turned(body)) < 0.6},
}
"""For each verb: what is seen of it, in words, and whether it is."""


def missing_signs(body: Body, step: Action) -> list[str]:
    """The signs of an action that a motion lacks."""
    return [words for words, holds in SIGNS[step.verb].items() if not holds(body, step)]


def exchanged(bodies: Sequence[Body], steps: Sequence[Action]) -> list[tuple[int, int]]:
    """(action, motion): actions that are missing in their own motion and seen in one that misses its own."""
    lacking = [i for i, (body, step) in enumerate(zip(bodies, steps, strict=True)) if missing_signs(body, step)]
    return [(i, j) for i in lacking for j in lacking
            if i != j and steps[i].verb != steps[j].verb and not missing_signs(bodies[j], steps[i])]
