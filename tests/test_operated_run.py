"""Runs with an operator in lock-step: hand-over while walking, a released dead-man, a silent link, an ended stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from runtime.faults import FAULTS, Mode, flag_names
from runtime.mux import Source
from runtime.pilot import Phase
from tests.scripted_operator import Streamer

pytest.importorskip("mujoco", reason="missing dependency: mujoco")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")

from runtime.clip import load_clip
from runtime.steered import USUAL
from tests.handover_trial import OperatedRun, operated, walk_and_hand_over

OWN = "g1-tracker"
DETECT_S = {fault.flag: fault.detect_s for fault in FAULTS}


@pytest.fixture(scope="module")
def steered() -> dict[str, str]:
    return {"teleop_controller": USUAL}


@pytest.mark.parametrize("seed", [0, 1])
def test_a_walking_robot_is_handed_over_and_back(steered: dict[str, str], seed: int) -> None:
    run = walk_and_hand_over(operated(OWN, "walk", steered), seed)
    assert not run.fell
    assert run.modes == [Mode.DISARMED, Mode.READY, Mode.TRACK]
    assert run.sources == [Source.NONE, Source.CLIP, Source.NETWORK, Source.CLIP]
    assert run.walked_m_s > 0.2
    assert run.policy.pilot.phase is Phase.PLAY
    assert run.steps["hand-over"].demanded <= 1, "the gate never had to hold a joint back"
    assert run.steps["hand-over"].kp > 0, "the gains went over too"


def test_a_released_dead_man_stands_until_a_fresh_gesture(steered: dict[str, str]) -> None:
    run = OperatedRun(operated(OWN, "walk", steered))
    run.until(Phase.PLAY)
    run.go_on(0.5)
    run.operator.engage(Source.NETWORK, (0.6, 0.0, 0.0))
    run.go_on(3.0)
    run.operator.release()
    run.go_on(0.012)
    assert run.gate.machine.mode is Mode.HOLD
    assert FAULTS[run.gate.machine.cause].flag == "DEADMAN_RELEASED"
    run.go_on(4.0)
    assert run.speed(1.0) < 0.05, "it stands"
    assert run.gate.machine.mode is Mode.HOLD
    run.operator.engage(Source.NETWORK, (0.6, 0.0, 0.0))
    run.go_on(2.0)
    assert run.gate.machine.mode is Mode.TRACK
    assert run.speed(2.0) > 0.3
    assert not run.fell


def test_a_silent_link_holds_then_stands_each_in_its_time(steered: dict[str, str]) -> None:
    run = OperatedRun(operated(OWN, "walk", steered))
    run.until(Phase.PLAY)
    run.operator.engage(Source.NETWORK, (0.5, 0.0, 0.0))
    run.go_on(2.0)
    run.operator.is_heard = False
    for mode, flag in ((Mode.HOLD, "OPERATOR_LATE"), (Mode.STAND, "OPERATOR_LOST")):
        run.go_on(DETECT_S[flag] - (0.0 if mode is Mode.HOLD else DETECT_S["OPERATOR_LATE"]))
        assert run.gate.machine.mode is mode
        assert FAULTS[run.gate.machine.cause].flag == flag
    run.go_on(3.0)
    run.operator.is_heard = True
    run.go_on(2.0)
    assert run.gate.machine.mode is Mode.STAND, "a link that comes back engages nobody"
    assert run.speed(1.0) < 0.05
    assert not run.fell


def waving(run: OperatedRun) -> Callable[[float], tuple[Any, Any, Any]]:
    """The shipped `wave`, once a second for ever, in the order of the robot's table."""
    robot = run.policy.manifest.robot
    clip = load_clip("wave", robot)
    joints = clip.joint_pos[:, clip.order.index_of(robot.order)]

    def pose(time_s: float) -> tuple[Any, Any, Any]:
        low = min(max(time_s * clip.fps, 0.0), len(joints) - 1.001)
        i, s = int(low), low % 1
        return (1 - s) * joints[i] + s * joints[i + 1], clip.root_pos[i], clip.root_quat_wxyz[i]

    return pose


def test_a_stream_is_followed_and_its_end_is_noticed_in_time() -> None:
    run = OperatedRun(operated(OWN, "sway", {"teleop_controller": "none"}))
    run.until(Phase.PLAY)
    run.operator.frames = Streamer(run.policy.manifest.robot, waving(run))
    run.go_on(0.5)
    run.operator.engage(Source.STREAM)
    run.go_on(3.0)
    assert run.policy.helm.source is Source.STREAM
    inputs, now = run.policy.controller.inputs, run.policy.controller.window.now
    assert float(np.abs(inputs.q - now.joint_pos).mean()) < 0.1, "it is followed"
    assert run.gate.machine.mode is Mode.TRACK
    run.operator.frames = lambda now_ns: ()
    run.go_on(DETECT_S["REFERENCE_LATE"])
    assert run.gate.machine.mode is Mode.HOLD
    run.go_on(DETECT_S["REFERENCE_LOST"] - DETECT_S["REFERENCE_LATE"])
    assert run.gate.machine.mode is Mode.STAND
    assert {"REFERENCE_LATE", "REFERENCE_LOST"} <= set(flag_names(run.gate.seen_flags))
    run.go_on(4.0)
    assert run.policy.pilot.phase is Phase.SETTLE_OUT, "it stands and stays"
    assert not run.fell
