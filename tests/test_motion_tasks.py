"""Human motions made from parameters: feet that stand do not move, nothing sinks, nothing jumps, ends are as asked."""

from __future__ import annotations

import math

import numpy as np
import pytest

from export.motion import tasks
from export.motion.actor import FPS, Actor
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, HumanMotion

FEET = [HUMAN_JOINTS.index(f"{side}_{part}") for side in ("left", "right") for part in ("ankle", "foot")]
ANKLES, TOES = FEET[::2], FEET[1::2]


def acted(action, start=((0.3, -0.2), 0.4)) -> HumanMotion:
    actor = Actor(*start)
    actor.hold(0.5)
    action(actor)
    actor.hold(0.5)
    return actor.motion("test")


def sit_and_stand(actor: Actor) -> None:
    tasks.sit_down(actor)
    tasks.stand_up(actor)


def lift_and_put_down(actor: Actor) -> None:
    tasks.lift(actor)
    tasks.put_down(actor)


ACTIONS = {
    "walk": lambda a: tasks.walk_to(a, (1.8, 1.0), 0.6, 2.0),
    "fast walk": lambda a: tasks.walk_to(a, (3.0, 0.0), 1.0),
    "turn": lambda a: a.turn_to(-2.0),
    "go round": lambda a: tasks.go_round(a, (1.8, 0.0), (3.2, 0.3), 1.0),
    "sweep": tasks.sweep_aside, "wipe": tasks.wipe, "wave": tasks.wave, "sit and stand": sit_and_stand,
    "lift": lift_and_put_down, "reach": lambda a: tasks.reach(a, "left"), "step over": tasks.step_over,
    "duck": lambda a: tasks.duck(a, (1.2, 0.15)),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_actions_are_plausible(name):
    motion = acted(ACTIONS[name])
    joints, _ = motion.in_world()
    speed = np.linalg.norm(np.diff(joints, axis=0), axis=2) * FPS
    feet = joints[:, FEET]
    stands = (feet[1:, :, 2] < feet[:, :, 2].min() + 1e-3) & (feet[:-1, :, 2] < feet[:, :, 2].min() + 1e-3)
    low = np.stack([joints[:, toe, 2] < 0.0301 for toe in TOES], axis=1)
    slide = np.stack([speed[:, toe] for toe in TOES], axis=1)[low[1:] & low[:-1]]
    assert 1000 * slide.max() < 40 and 1000 * slide.mean() < 3, "feet that stand slide"
    assert stands.any() and joints[:, TOES, 2].min() > 0.0299, "feet sink"
    assert low.any(axis=1).all(), "it flies"
    assert speed.max() < 6 and np.abs(np.diff(joints, n=2, axis=0)).max() * FPS**2 < 60, "it jumps"
    assert np.abs(np.diff(joints[[0, 1, -2, -1]], axis=0))[[0, 2]].max() < 1e-3, "it does not begin and end at rest"


def test_a_walk_ends_where_and_how_it_was_told():
    actor = Actor((1.0, 2.0), -1.0)
    tasks.walk_to(actor, (-0.5, 2.5), 0.5, heading=1.0)
    assert actor.place == pytest.approx((-0.5, 2.5)) and actor.heading % (2 * math.pi) == pytest.approx(1.0)
    actor.hold(1.0)
    joints, _ = actor.motion("walk").in_world()
    assert np.allclose(joints[0, ANKLES, :2].mean(axis=0), (1.0, 2.0), atol=1e-6)
    assert np.allclose(joints[-1, ANKLES, :2].mean(axis=0), (-0.5, 2.5), atol=1e-6)
    left = joints[-1, ANKLES[0], :2] - joints[-1, ANKLES[1], :2]
    assert math.atan2(-left[0], left[1]) == pytest.approx(1.0), "its left is not to its left"


def test_a_walk_keeps_its_speed():
    actor = Actor()
    tasks.walk_to(actor, (4.0, 0.0), 0.6)
    motion = actor.motion("walk")
    middle = slice(round(2 * FPS), round(5 * FPS))
    assert float(np.gradient(motion.pelvis_m[middle, 0]).mean() * FPS) == pytest.approx(0.6, rel=0.1)


def test_going_round_keeps_its_distance():
    motion = acted(lambda a: tasks.go_round(a, (1.5, 0.0), (3.0, 0.0), 0.9), ((0.0, 0.0), 0.0))
    assert np.linalg.norm(motion.pelvis_m[:, :2] - [1.5, 0.0], axis=1).min() > 0.75


def test_knees_bend_forwards_and_elbows_to_the_front():
    joints, _ = acted(tasks.sit_down, ((0.0, 0.0), 0.0)).in_world()
    for side in ("left", "right"):
        hip, knee, ankle = (joints[-1, HUMAN_JOINTS.index(f"{side}_{part}")] for part in ("hip", "knee", "ankle"))
        assert knee[0] > (hip[0] + ankle[0]) / 2 + 0.1
    joints, _ = acted(lambda a: a.move(1, left_elbow=1.5, right_elbow=1.5), ((0.0, 0.0), 0.0)).in_world()
    for side, sign in (("left", 1), ("right", -1)):
        elbow, wrist = (joints[-1, HUMAN_JOINTS.index(f"{side}_{part}")] for part in ("elbow", "wrist"))
        assert wrist[0] > elbow[0] + 0.2 and sign * elbow[1] > 0.1


def test_hands_are_told_when_to_close_and_open():
    motion = acted(lift_and_put_down)
    assert motion.hand_states is not None
    changes = np.flatnonzero(np.diff(motion.hand_states[:, 0].astype(int)))
    assert motion.hand_states[0, 0] == 0 and motion.hand_states[-1, 0] == 0 and len(changes) == 2


def test_what_no_leg_reaches_is_refused():
    with pytest.raises(Refused):
        acted(lambda a: a.step("left", (2.0, 0.0), 0.0, 1.0))
    with pytest.raises(Refused):
        Actor().move(1.0, tail=1.0)
