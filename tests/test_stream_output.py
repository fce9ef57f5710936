"""SONIC's output topics: what stands in them, and who may hear them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import exoactor
from runtime import rotation
from runtime.manifest_reader import load_manifest
from runtime.pilot import Phase
from runtime.records import gate_log_dtype, hand_log_dtype, policy_log_dtype
from runtime.stream_output import DebugMessage
from tests.sonic_output import DEBUG, LATER

MANIFEST = load_manifest("twist2")
def records() -> tuple[Any, Any]:
    gate = np.zeros(1, gate_log_dtype(29))[0]
    policy = np.zeros(1, policy_log_dtype(29, 29, 10))[0]
    gate["quat_wxyz"], policy["root_quat_wxyz"] = (1, 0, 0, 0), rotation.quat_about_z(0.5)
    gate["q"], gate["temperature_c"] = np.arange(29) * 0.01, np.arange(29)
    policy["reference_q"], policy["target"][:, 0] = np.arange(29), np.arange(29) * 0.1
    return policy, gate


def test_joints_stand_in_motor_order_and_targets_are_the_reference() -> None:
    policy, gate = records()
    message = DebugMessage(MANIFEST).fill(policy, gate)
    assert set(DEBUG) - LATER == set(message)
    np.testing.assert_allclose(message["body_q"], gate["q"])
    order = MANIFEST.robot.motor_index(MANIFEST.order)
    np.testing.assert_allclose(np.array(message["body_q_target"])[order], np.arange(29))
    np.testing.assert_allclose(message["last_action"], policy["target"][:, 0])
    assert message["motor_temperature"][:4] == [0, 0, 1, 1]
    point = np.array(message["vr_3point_position"][:3])
    turned = rotation.rotate_inverse(policy["root_quat_wxyz"], point)
    np.testing.assert_allclose(turned, [0.0903, 0.1615, -0.2411], atol=1e-6)


def test_hands_stand_in_it_left_and_right_where_there_are_seven_joints() -> None:
    policy, gate = records()
    assert DebugMessage(MANIFEST).fill(policy, gate)["left_hand_q"] == [0.0] * 7
    hands = np.zeros(1, hand_log_dtype(7))[0]
    hands["q"], hands["dq"], hands["target"] = [[1.0] * 7, [2.0] * 7], [[3.0] * 7, [4.0] * 7], [[5.0] * 7, [6.0] * 7]
    message = DebugMessage(MANIFEST).fill(policy, gate, hands)
    for key, left, right in (("{}_hand_q", 1, 2), ("{}_hand_dq", 3, 4), ("last_{}_hand_action", 5, 6),
                             ("{}_hand_q_measured", 1, 2)):
        assert message[key.format("left")] == [left] * 7
        assert message[key.format("right")] == [right] * 7
    assert set(DEBUG) - LATER == set(message)
    six = np.ones(1, hand_log_dtype(6))[0]
    assert DebugMessage(MANIFEST).fill(policy, gate, six)["left_hand_q"] == [0.0] * 7


def test_the_torso_turns_with_the_waist() -> None:
    policy, gate = records()
    yaw = next(joint.motor for joint in MANIFEST.robot.joints if joint.name == "waist_yaw_joint")
    gate["q"], gate["dq"] = 0, 0
    gate["q"][yaw], gate["dq"][yaw], gate["gyro"] = 0.4, 2.0, (0.0, 0.0, 0.5)
    message = DebugMessage(MANIFEST).fill(policy, gate)
    assert rotation.heading_rad(message["body_torso_quat"]) == pytest.approx(0.4, abs=1e-4)
    np.testing.assert_allclose(message["body_torso_ang_vel"], [0, 0, 2.5], atol=1e-3)


def test_the_heading_s_begin_is_that_of_the_motion_s() -> None:
    policy, gate = records()
    message = DebugMessage(MANIFEST)
    assert "init_base_quat" not in message.fill(policy, gate)
    policy["phase"], gate["quat_wxyz"] = Phase.PLAY, rotation.quat_about_z(0.3)
    message.fill(policy, gate)
    gate["quat_wxyz"] = 1, 0, 0, 0
    assert rotation.heading_rad(message.fill(policy, gate)["init_base_quat"]) == pytest.approx(0.3, abs=1e-6)


@pytest.mark.parametrize(("words", "found"), [
    (["--stream-out", "tcp://*:5557"], "key"), (["--stream-out", "tcp://192.168.1.9:5557"], "key"),
    (["--stream-out", "5557"], "tcp://"), (["--stream-out", "tcp://127.0.0.1:5557", "--lockstep"], "--lockstep"),
])
def test_nothing_is_published_to_others_without_a_key_nor_on_simulated_time(
    words: list[str], found: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exoactor.main(["run", *words, "--out", str(tmp_path)]) == 2
    assert found in capsys.readouterr().err
