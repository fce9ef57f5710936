"""What a tracker is told beside its reference's velocities, so that it stays at its reference's place."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from runtime import rotation
from runtime.errors import Refused
from runtime.reference import ReferenceFrame
from runtime.root_feedback import FAR_M, LACK_M_S, LAST_M_S, MOST_M_S, PLACE_PER_S, RootFeedback

PERIOD_S = 0.02


class Walk:
    """A reference that goes straight and a robot that goes otherwise, both as exact as can be."""

    def __init__(self, facing: float, yaw: float, speed: float = 0.3) -> None:
        self.velocity = np.zeros(3, np.float32)
        self.feedback = RootFeedback(PERIOD_S, self.velocity)
        self.frame, self._facing, self._speed = ReferenceFrame(3), facing, speed
        self.yaw = yaw

    def go(self, seconds: float, robot: tuple[float, float] = (0.0, 0.0), turning: float = 0.0,
           way: tuple[float, float] = (1.0, 0.0)) -> list[float]:
        """What the controller is told in the end: forwards, to the left, yaw rate."""
        frame, step = self.frame, self._speed * PERIOD_S
        for _ in range(round(seconds / PERIOD_S)):
            self.yaw += turning * PERIOD_S
            self.velocity[:2] = robot
            x, y = way
            c, s = math.cos(self._facing), math.sin(self._facing)
            frame.root_pos[:2] += step * (c * x - s * y), step * (s * x + c * y)
            frame.root_rpy[2] = self._facing
            frame.root_lin_vel[:2], frame.root_ang_vel[2] = (self._speed * x, self._speed * y), 0.0
            self.feedback.apply(frame, [frame], rotation.quat_about_z(self.yaw))
        return [*frame.root_lin_vel[:2].tolist(), float(frame.root_ang_vel[2])]


@pytest.mark.parametrize("facing", [0.0, 2.5])
@pytest.mark.parametrize("yaw", [0.0, -3.0])
def test_a_robot_that_lags_is_told_more_wherever_either_faces(facing: float, yaw: float) -> None:
    walk = Walk(facing, yaw)
    told = walk.go(1.0, robot=(0.2, 0.0))
    ahead, left, turn = walk.feedback.behind
    assert ahead == pytest.approx(0.098, abs=1e-3) and (left, turn) == pytest.approx((0, 0), abs=1e-6)
    assert told == pytest.approx([0.3 + LACK_M_S + PLACE_PER_S * ahead, 0, 0], abs=1e-3)


def test_a_robot_that_drifts_to_its_right_is_told_to_go_left() -> None:
    walk = Walk(1.0, 0.0)
    told = walk.go(1.0, robot=(0.3, -0.1))
    assert walk.feedback.behind == pytest.approx((0, 0.098, 0), abs=1e-3) and told[1] > 0.1


def test_a_robot_that_turned_off_is_told_to_turn_back_and_meanwhile_to_keep_the_way() -> None:
    walk = Walk(0.0, 0.5)
    walk.go(0.5, robot=(0.3, 0.0))
    told = walk.go(0.2, robot=(0.3, 0.0), turning=1.0)
    _, left, turn = walk.feedback.behind
    assert turn == pytest.approx(-0.2, abs=1e-6) and told[2] == pytest.approx(-0.2, abs=1e-6)
    assert left < 0 and told[1] < 0.3 * math.sin(turn) + PLACE_PER_S * left + 0.02


def test_what_a_robot_leads_by_is_taken_off() -> None:
    assert Walk(0.0, 0.0).go(1.0, robot=(0.7, 0.0))[0] < 0.3


def test_who_walks_sideways_is_helped_sideways() -> None:
    told = Walk(0.7, 0.0).go(3.0, robot=(0.0, 0.3), way=(0.0, 1.0))
    assert told == pytest.approx([0, 0.3 + LACK_M_S, 0], abs=0.01)


@pytest.mark.parametrize("speed", [LAST_M_S + 0.1, 2.0])
def test_who_walks_fast_is_told_no_more_than_the_reference(speed: float) -> None:
    assert Walk(0.0, 0.0, speed).go(4.0, robot=(speed - 0.2, 0.0)) == pytest.approx([speed, 0, 0], abs=1e-3)


def test_a_reference_that_stands_sends_nobody_for_a_walk() -> None:
    walk = Walk(0.0, 0.0)
    walk.go(2.0, robot=(0.1, 0.0))
    assert walk.feedback.behind[0] > 0.35
    walk._speed = 0.0
    assert np.abs(walk.go(3.0)).max() < 0.01


def test_a_reference_that_leaps_elsewhere_is_no_way_to_go() -> None:
    walk = Walk(0.0, 0.0)
    walk.go(1.0, robot=(0.3, 0.0))
    walk.frame.root_pos[0] += 5.0
    walk.go(PERIOD_S, robot=(0.3, 0.0))
    assert walk.feedback.behind == pytest.approx((0, 0, 0), abs=0.02)


def test_however_far_behind_no_more_is_added() -> None:
    walk = Walk(0.0, 0.0)
    told = walk.go(30.0)
    assert walk.feedback.behind[0] == pytest.approx(FAR_M)
    assert told[0] == pytest.approx(0.3 + LACK_M_S + MOST_M_S, abs=1e-6)
    walk.feedback.reset()
    assert walk.feedback.behind == (0, 0, 0)


def test_our_tracker_comes_to_the_end_of_a_walk() -> None:
    pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
    pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    from export.recorder import measure, settings_for

    settings = settings_for("g1-tracker", clip="walk")
    drifts = [measure(replace(settings, keep_place=keep))["tracking"]["root_drift_m_per_m"] for keep in (None, False)]
    assert drifts[0] < 0.06 < 0.1 < drifts[1]


@pytest.mark.parametrize("controller", ["g1-velocity", "g1-tracker"])
def test_only_who_follows_velocities_of_a_motion_can_be_kept_at_its_place(
    controller: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
    from runtime import needs
    from runtime.policy import Policy
    from runtime.settings import RunSettings

    monkeypatch.setattr(needs, "ROOT_VELOCITIES", ())
    is_tracker = controller == "g1-tracker"
    settings = RunSettings(controller=controller, robot="g1_29dof", model=None, clip="walk" if is_tracker else None,
                           command=(0.0, 0.0, 0.0), duration_s=None, target="sim", domain=1, interface=None, peers=(),
                           out="", rate_hz=50.0, keep_place=True)
    with pytest.raises(Refused, match="keep_place: expected a tracker that is told ref_root_lin_vel_xy or"):
        Policy(settings)
