"""What the passes over a whole motion weigh against each other, on motions that nobody tuned them with."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")

from export.evaluation.reference import length_ratio
from export.evaluation.tasks import TASKS
from export.motion.retarget import RetargetReport, retarget
from runtime import smoothing
from runtime.human_motion import HumanMotion
from runtime.robot import load_robot
from runtime.smoothing import SIGNS, Roughness

ROBOT = load_robot("g1_29dof")


def task(name: str, seed: int) -> HumanMotion:
    plan = next(each for each in TASKS if each.name == name).plan(np.random.default_rng(seed), length_ratio())
    return plan.actor.motion(name)


def report(motion: HumanMotion, *, smooth: bool = True) -> RetargetReport:
    return retarget(motion, ROBOT, smooth=smooth)[1]


@pytest.mark.parametrize("name", ["wipe", "lift and stand"])
def test_a_calm_motion_is_smoothed_by_more_than_a_walk_would_bear(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one weight for all motions calm ones kept 0.92 and 0.96 of the baseline's jerk; half of it costs little."""
    motion = task(name, 3)
    scaled = report(motion)
    monkeypatch.setattr(smoothing, "MOST", 1.0)
    plain = report(motion)
    assert scaled.jerk_rad_s3 < 0.75 * plain.jerk_rad_s3
    assert scaled.cost < 1.006 * plain.cost


@pytest.mark.parametrize("seed", range(2))
def test_a_foot_whose_target_moves_while_it_stands_is_not_held_back(seed: int) -> None:
    """Held against the floor it slid more once let go: 1.25 of the baseline's skate, at 1.012 of its cost."""
    motion = task("go round", seed)
    rough, smooth = report(motion, smooth=False), report(motion)
    assert smooth.skate_mm_s < 1.1 * rough.skate_mm_s
    assert smooth.cost < 1.005 * rough.cost
    assert smooth.jerk_rad_s3 < 0.7 * rough.jerk_rad_s3


def test_a_motion_that_stands_still_stays_what_it_is() -> None:
    motion = task("wipe", 0)
    still = HumanMotion(**{**motion.__dict__, "local_wxyz": np.repeat(motion.local_wxyz[:1], 60, axis=0),
                           "pelvis_m": np.repeat(motion.pelvis_m[:1], 60, axis=0), "hand_states": None})
    rough, smooth = report(still, smooth=False), report(still)
    assert smooth.cost == pytest.approx(rough.cost, rel=0.02)
    assert smooth.jerk_rad_s3 <= rough.jerk_rad_s3


def test_what_smoothing_leaves_of_joints_alone_is_foretold() -> None:
    """Independent joints are smoothed by a band of their own; half of its rows would be wrong with another order."""
    random = np.random.default_rng(2)
    frames, stiff = 400, np.array([1.0, 30.0, 900.0])
    q = np.zeros((frames, 10))
    q[:, 7:] = random.normal(size=(frames, 3))
    bends = np.zeros((frames - 3, frames))
    for place, sign in enumerate(SIGNS):
        bends[np.arange(frames - 3), np.arange(frames - 3) + place] = sign
    likely = Roughness(bends @ q[:, 7:], 1 / stiff)
    assert likely.share(q) == pytest.approx(1.0)
    weight = likely.weight(0.4)
    smooth = q.copy()
    for joint in range(3):
        whole = np.eye(frames) + weight / stiff[joint] * bends.T @ bends
        smooth[:, 7 + joint] = np.linalg.solve(whole, q[:, 7 + joint])
    assert likely.share(smooth) == pytest.approx(0.4, rel=0.03)
    assert likely.weight(0.2) > weight
    assert likely.stiffer(0.9) > 1 > likely.stiffer(0.2)
