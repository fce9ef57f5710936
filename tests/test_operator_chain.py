"""From the operator's hand to the gate: real datagrams, process and ring, the real gate and policy, simulated time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.faults import FAULTS, Mode, flag_names
from runtime.mux import Source
from runtime.operator_message import pose_form
from runtime.operator_state import GAP_NS
from runtime.pilot import Phase
from runtime.robot import load_robot
from runtime.settings import GATE_HZ

pytest.importorskip("mujoco", reason="missing dependency: mujoco")
pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")

from tests.handover_trial import OperatedRun, operated
from tests.linked_operator import LinkedOperator, linked
from tests.test_operated_run import OWN, steered, waving

__all__ = ["steered"]
ROBOT = load_robot("g1_29dof")
TICK_S = 1 / GATE_HZ


def cause(run: OperatedRun) -> str:
    return FAULTS[run.gate.machine.cause].flag


def playing(operator: LinkedOperator, clip: str, steered: dict[str, str]) -> OperatedRun:
    run = OperatedRun(operated(OWN, clip, steered), operator=operator)
    run.until(Phase.PLAY)
    run.go_on(0.5)
    assert run.policy.helm.source is Source.CLIP
    return run


def test_a_hand_that_lets_go_and_one_that_stops_are_answered_in_the_tick_of_the_record(tmp_path: Path) -> None:
    with linked(tmp_path, ROBOT) as operator:
        run = playing(operator, "sway", {"teleop_controller": "none"})
        operator.engage(Source.NETWORK)
        run.go_on(0.3)
        assert (run.gate.machine.mode, int(operator.record["held"][0])) == (Mode.TRACK, 1)
        operator.held = False
        run.go_on(TICK_S)
        assert int(operator.record["held"][0]) == 0
        assert (run.gate.machine.mode, cause(run)) == (Mode.HOLD, "DEADMAN_RELEASED")

        operator.held = True
        run.go_on(1.0)
        assert run.gate.machine.mode is Mode.HOLD, "a hand that holds again is no gesture"
        operator.is_heard = False
        run.go_on(3 * GAP_NS * 1e-9)
        operator.is_heard = True
        run.go_on(1.0)
        assert run.gate.machine.mode is Mode.HOLD, "nor is a link that comes back"
        operator.engage(Source.NETWORK)
        run.go_on(0.1)
        assert run.gate.machine.mode is Mode.TRACK

        operator.stop = 1
        run.go_on(TICK_S)
        assert int(operator.record["stop"][0]) == 1
        assert (run.gate.machine.mode, cause(run)) == (Mode.DAMP, "ESTOP")
        operator.engage(Source.NETWORK)
        operator.engage(Source.CLIP)
        run.go_on(1.0)
        assert run.gate.machine.mode is Mode.DAMP


def test_a_walking_robot_is_handed_back_and_goes_on_without_a_hand(steered: dict[str, str], tmp_path: Path) -> None:
    with linked(tmp_path, ROBOT) as operator:
        run = playing(operator, "walk", steered)
        operator.engage(Source.NETWORK, (0.5, 0.0, 0.0))
        run.go_on(2.0)
        assert run.policy.helm.source is Source.NETWORK
        operator.engage(Source.CLIP)
        run.go_on(TICK_S)
        assert (int(operator.record["source"][0]), int(operator.record["held"][0])) == (Source.CLIP, 0)
        run.go_on(0.5)
        operator.release()
        run.go_on(0.5)
        operator.is_heard = False
        run.go_on(1.5)
        assert run.modes == [Mode.DISARMED, Mode.READY, Mode.TRACK], "neither hand nor link is asked for"
        assert run.sources == [Source.NONE, Source.CLIP, Source.NETWORK, Source.CLIP]
        assert run.policy.pilot.phase is Phase.PLAY
        assert not run.fell
        operator.is_heard = True
        operator.stop = 1
        run.go_on(TICK_S)
        assert (run.gate.machine.mode, cause(run)) == (Mode.DAMP, "ESTOP"), "the stop works as ever"


def test_hand_back_without_the_dead_man_is_refused(tmp_path: Path) -> None:
    with linked(tmp_path, ROBOT) as operator:
        run = playing(operator, "sway", {"teleop_controller": "none"})
        operator.engage(Source.NETWORK)
        run.go_on(0.3)
        operator.release()
        run.go_on(0.3)
        operator.resumes += 1
        run.go_on(0.5)
        assert (run.gate.machine.mode, int(operator.record["engages"][0])) == (Mode.HOLD, 1)
        operator.engage(Source.CLIP)
        run.go_on(0.3)
        assert (run.gate.machine.mode, int(operator.record["engages"][0])) == (Mode.TRACK, 2)
        assert run.policy.helm.source is Source.CLIP
        operator.release()
        run.go_on(1.0)
        assert run.gate.machine.mode is Mode.TRACK


def test_a_stream_that_changes_its_joints_is_held(tmp_path: Path) -> None:
    with linked(tmp_path, ROBOT) as operator:
        run = playing(operator, "sway", {"teleop_controller": "none"})
        operator.pose = waving(run)
        run.go_on(0.5)
        operator.engage(Source.STREAM)
        run.go_on(1.0)
        assert run.policy.helm.source is Source.STREAM
        assert run.policy.stream is not None
        frames = run.policy.stream.buffer.rows.copy()
        operator.client._form = pose_form(ROBOT.order.names[::-1])
        run.go_on(0.05)
        assert (run.gate.machine.mode, cause(run)) == (Mode.HOLD, "STREAM_VERSION")
        assert "STREAM_MALFORMED" in flag_names(run.gate.seen_flags)
        run.go_on(0.1)
        moved = np.abs(run.policy.stream.buffer.rows[-1] - frames[-1]).max()
        assert moved < 0.1, "nothing of it was read"
        assert not run.fell
