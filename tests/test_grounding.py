"""Motions led to what stands in their scene, within bounds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

for library in ("mujoco",):
    pytest.importorskip(library, reason=f"missing dependency: {library}")

from export.evaluation.reference import length_ratio, palm_path, reference_of
from export.evaluation.trial import reference_bodies
from export.imagine.acting import STOP_M, before
from export.imagine.actions import action
from export.imagine.assembly import shows_its_scene
from export.imagine.body import HANDS, body_of
from export.imagine.grounding import MOST_HAND_M, PALM_M, Spot, ground, moved_hand
from export.imagine.measures import acting
from export.imagine.run_folder import BY_HAND, RunFolder
from export.motion import tasks
from export.motion.actor import Actor
from firmware_bridge.scene import Scene, Thing
from runtime import rotation
from runtime.human_motion import HumanMotion
from runtime.robot import load_robot
from runtime.tracking_bodies import WRISTS

ROBOT = load_robot("g1_29dof")
BASKET = Thing("basket", "box", (0.35, 0.35, 0.3), (1.5, 0.4, 0.15))


def acted(do: object, *args: object) -> HumanMotion:
    actor = Actor()
    actor.hold(0.4)
    do(actor, *args)  # type: ignore[operator]
    actor.hold(0.4)
    return actor.motion("acted")


@pytest.fixture(scope="module")
def walk() -> HumanMotion:
    """Up to the basket, seen 6 % too short and turned by 4 degrees."""
    goal = np.array(before((0.0, 0.0), BASKET, STOP_M * length_ratio())) / length_ratio()
    turn = 0.07
    wrong = 0.94 * goal @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return acted(tasks.walk_to, tuple(wrong))


def test_a_walk_ends_before_its_thing_and_faces_it(walk: HumanMotion) -> None:
    done = ground(walk, action("walk to", "basket"), Scene((BASKET,)), Spot(), ROBOT)
    goal = before((0.0, 0.0), BASKET, STOP_M * length_ratio())
    np.testing.assert_allclose((done.end.x, done.end.y), goal, atol=0.02)
    assert done.end.heading == pytest.approx(np.arctan2(0.4 - goal[1], 1.5 - goal[0]), abs=0.03)
    assert len(done.notes) == 1 and "led there" in done.notes[0]
    again = ground(done.motion, action("walk to", "basket"), Scene((BASKET,)), Spot(), ROBOT)
    np.testing.assert_allclose(again.motion.pelvis_m, done.motion.pelvis_m, atol=0.02)


def test_a_walk_that_begins_elsewhere_in_the_scene_is_led_from_there(walk: HumanMotion) -> None:
    turned = Thing("basket", "box", (0.35, 0.35, 0.3), (2.0 - 0.4, 3.0 + 1.5, 0.15), 0.5)
    start = Spot(2.0, 3.0, np.pi / 2)
    done = ground(walk, action("walk to", "basket"), Scene((turned,)), start, ROBOT)
    np.testing.assert_allclose((done.end.x, done.end.y), before((2.0, 3.0), turned, STOP_M * length_ratio()), atol=0.02)


def test_a_walk_that_ends_far_off_stays_as_it_was(walk: HumanMotion) -> None:
    away = replace(BASKET, position_m=(1.5, -0.4, 0.15))
    done = ground(walk, action("walk to", "basket"), Scene((away,)), Spot(), ROBOT)
    assert done.motion is walk and "too far" in done.notes[0]


def test_what_has_no_thing_in_the_scene_stays_as_it_was(walk: HumanMotion) -> None:
    for step, scene in ((action("walk to", "basket"), Scene()), (action("go round", "basket"), Scene((BASKET,)))):
        done = ground(walk, step, scene, Spot(), ROBOT)
        assert done.motion is walk and done.notes == () and done.end.x > 0.5


def palm_of(motion: HumanMotion, hand: int) -> npt.NDArray[np.float64]:
    clip = reference_of(motion)
    return palm_path(reference_bodies(clip), WRISTS[hand]) - [*clip.root_pos[0, :2], 0.0]


@pytest.mark.parametrize(("side", "down_m"), [("left", 0.03), ("right", -0.05)])
def test_a_wiping_hand_comes_to_the_height_of_the_table(side: str, down_m: float) -> None:
    motion = acted(tasks.wipe, side)
    hand = ("left", "right").index(side)
    x, y, z = palm_of(motion, hand)[150:200].mean(axis=0)
    table = Thing("table", "box", (0.3, 0.8, 0.04), (x + 0.12, y, z - PALM_M - 0.02 - down_m))
    done = ground(motion, action("wipe", "table", side), Scene((table,)), Spot(), ROBOT)
    after = palm_of(done.motion, hand)
    assert after[150:200, 2].mean() == pytest.approx(table.position_m[2] + 0.02 + PALM_M, abs=0.012)
    assert np.ptp(after[130:280, 1]) > 0.8 * np.ptp(palm_of(motion, hand)[130:280, 1]), "it still goes to and fro"
    np.testing.assert_allclose(after[0], palm_of(motion, hand)[0], atol=0.01)


def test_a_sweeping_hand_meets_the_bottle() -> None:
    motion = acted(tasks.sweep_aside, "left")
    palm = palm_of(motion, 0)
    x, y, z = palm[np.argmax(np.where(np.abs(palm[:, 1]) < 0.12, palm[:, 0], -1))]
    bottle = Thing("bottle", "cylinder", (0.07, 0.22), (x - 0.05, y, z - 0.12), 0.0, 0.4)
    step = action("sweep", "bottle", "left")
    done = ground(motion, step, Scene((bottle,)), Spot(), ROBOT)
    after = palm_of(done.motion, 0)
    nearest = after[np.argmin(np.linalg.norm(after[:, :2] - bottle.position_m[:2], axis=1))]
    assert np.linalg.norm(nearest[:2] - bottle.position_m[:2]) < 0.025
    assert abs(nearest[2] - bottle.position_m[2]) < 0.11
    far = replace(bottle, position_m=(x, y, z - 0.12 - MOST_HAND_M))
    left = ground(motion, step, Scene((far,)), Spot(), ROBOT)
    assert left.motion is motion and "too far" in left.notes[0]


def test_hands_that_lift_come_to_the_middle_of_the_box() -> None:
    motion = acted(tasks.lift)
    step = action("lift", "box", "both")
    frames = np.flatnonzero(acting(body_of(motion), step).all(axis=1))
    frame = frames[len(frames) // 2]
    middle = (palm_of(motion, 0) + palm_of(motion, 1))[frame] / 2
    x, y, z = middle + np.array([-0.04, 0.0, 0.06])
    done = ground(motion, step, Scene((Thing("box", "box", (0.2, 0.2, 0.2), (x, y, z), 0.0, 0.4),)), Spot(), ROBOT)
    after = (palm_of(done.motion, 0) + palm_of(done.motion, 1))[frame] / 2
    np.testing.assert_allclose(after, [x, y, z], atol=0.015)


def test_a_hand_goes_where_it_is_moved_and_its_wrist_keeps_its_bend() -> None:
    motion = acted(tasks.reach, "right")
    by = np.zeros((motion.frames, 3))
    by[:] = np.linspace(0, 1, motion.frames)[:, None] * [-0.05, 0.04, 0.06]
    moved = moved_hand(motion, 1, by)
    before_m, after_m = motion.in_world()[0], moved.in_world()[0]
    np.testing.assert_allclose(after_m[:, HANDS[1]], before_m[:, HANDS[1]] + by, atol=1e-6)
    rest = [joint for joint in range(24) if joint not in (19, 21, 23)]
    np.testing.assert_allclose(after_m[:, rest], before_m[:, rest], atol=1e-9)
    np.testing.assert_array_equal(moved.local_wxyz[:, 21], motion.local_wxyz[:, 21])
    assert np.abs(np.linalg.norm(moved.local_wxyz, axis=-1) - 1).max() < 1e-9


def test_a_hand_that_cannot_come_so_far_goes_as_far_as_the_arm_does() -> None:
    motion = acted(tasks.reach, "right")
    moved = moved_hand(motion, 1, np.full((motion.frames, 3), [2.0, 0.0, 0.0]))
    joints = moved.in_world()[0]
    away = joints[:, HANDS[1]] - joints[:, 17]
    assert np.isfinite(joints).all()
    np.testing.assert_allclose(away[:, 1:] / np.linalg.norm(away, axis=1, keepdims=True), 0, atol=0.4)
    turn = rotation.rotation_vector_many(moved.local_wxyz[:, 19])
    assert np.linalg.norm(turn, axis=1).max() < 0.7, "the elbow is nearly straight"


@pytest.mark.parametrize(("scene", "film", "estimate", "is_shown"), [
    ("embedded", "embedded", "embedded", True), ("embedded", "fal-kling-v1", "demo.py", False),
    ("embedded", BY_HAND, "embedded", False), ("embedded", "embedded", BY_HAND, False),
    (BY_HAND, BY_HAND, BY_HAND, True),
])
def test_motions_are_led_only_in_the_scene_that_they_show(
    tmp_path: Path, scene: str, film: str, estimate: str, is_shown: bool,
) -> None:
    run = RunFolder(tmp_path / "run")
    for name, provider in (("scene", scene), ("film", film), ("estimate", estimate)):
        run.row(name).provider = provider
    assert shows_its_scene(run) is is_shown
    (tmp_path / "scene.json").write_text(Scene((BASKET,)).as_json())
    run.ask("walk to the basket", 0, {"scene": tmp_path / "scene.json"})
    assert shows_its_scene(run), "a person described it"
