"""SONIC's output topics from our log records: `g1_debug` each control tick, `robot_config` every two seconds. Pure.

Keys, orders and what stands where nothing is measured: NVlabs/GR00T-WholeBodyControl @ 1983e88,
`gear_sonic_deploy/src/g1/g1_deploy_onnx_ref/include/output_interface/` (`zmq_output_handler.hpp`,
`output_interface.hpp`). A message is its topic and, right behind it, a msgpack map. Joints in motor order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from firmware_bridge.hand_bus import SIDES
from firmware_bridge.motor_bus import Q
from runtime import rotation
from runtime.bodies import Chain
from runtime.channels import CHANNELS
from runtime.imu_checks import TORSO_BODY
from runtime.manifest import Manifest
from runtime.pilot import Phase
from runtime.settings import RunSettings

DEBUG, CONFIG = b"g1_debug", b"robot_config"
CONFIG_S = 2.0
HAND_JOINTS = 7
BESIDE_M = (0.0, -1.0, 0.793)
"""Where viewers draw the measured robot: a place of the protocol's own, nobody measures one."""
STEP_S = 1e-3
Values = list[float]
Pack = Callable[[Any], bytes]


class DebugMessage:
    """Fills the map of `g1_debug`.

    Args:
        manifest: of the controller whose records come.
    """

    def __init__(self, manifest: Manifest) -> None:
        robot = manifest.robot
        self._motors, self._index = robot.motors, robot.motor_index(manifest.order)
        names = [""] * robot.motors
        for joint in robot.joints:
            names[joint.motor] = joint.name
        self._torso = Chain(robot.bodies, TORSO_BODY, names) if TORSO_BODY in robot.bodies else None
        self._before = Phase.WAIT
        self._init_quat: Values | None = None

    def fill(self, policy: Any, gate: Any, hands: Any = None) -> dict[str, Any]:
        """The map of a tick: the policy's record of it, and the gate's newest records by then.

        Args:
            hands: of a run with hands, None before the first and without; those of another number of joints than the
                protocol's seven are as good as none.
        """
        base, q = gate["quat_wxyz"].tolist(), gate["q"].tolist()
        phase = Phase(int(policy["phase"]))
        if phase is Phase.PLAY and self._before is not Phase.PLAY:
            self._init_quat = base
        self._before = phase
        torso_quat, torso_rate = self._torso_of(base, gate)
        message: dict[str, Any] = {
            "control_loop_type": "cpp", "index": int(policy["sequence"]), "ros_timestamp": 0.0,
            "base_quat": base, "base_ang_vel": gate["gyro"].tolist(),
            "body_torso_quat": torso_quat, "body_torso_ang_vel": torso_rate,
            "body_q": q, "body_dq": gate["dq"].tolist(),
            "last_action": policy["target"][:, Q].tolist(),
            "token_state": [], "motor_temperature": np.repeat(gate["temperature_c"], 2).tolist(),
        }
        if self._init_quat is not None:
            message |= {"init_base_quat": self._init_quat, "delta_heading": 0.0}
        return message | self._targets(policy, base, q) | _hands_of(hands)

    def _targets(self, policy: Any, base: Values, q: Values) -> dict[str, Any]:
        """What viewers draw: the reference, and beside it the robot."""
        target_q = np.zeros(self._motors)
        target_q[self._index] = policy["reference_q"]
        quat = policy["root_quat_wxyz"].tolist()
        points, back = np.reshape(CHANNELS["vr_position"].idle_values(), (3, 3)), rotation.conjugate(quat)
        return {
            "base_trans_target": [*policy["reference_xy_m"].tolist(), float(policy["root_height_m"])],
            "base_quat_target": quat, "body_q_target": target_q.tolist(),
            "base_trans_measured": list(BESIDE_M), "base_quat_measured": base, "body_q_measured": q,
            "vr_3point_position": [float(x) for point in points for x in rotation.rotate_inverse(back, point)],
            "vr_3point_orientation": CHANNELS["vr_orientation"].idle_values().tolist(),
            "vr_3point_compliance": CHANNELS["vr_compliance"].idle_values().tolist(),
        }

    def _torso_of(self, base: Values, gate: Any) -> tuple[Values, Values]:
        """The torso's orientation and turn rate in its own axes, from the pelvis through the waist."""
        if self._torso is None:
            return base, gate["gyro"].tolist()
        q = gate["q"].astype(np.float64)
        now, soon = (self._torso.orientation(q + gate["dq"] * step_s) for step_s in (0.0, STEP_S))
        turned = rotation.multiply(rotation.conjugate(now), soon)
        carried = rotation.rotate_inverse(now, gate["gyro"].astype(np.float64))
        rates = [2 * part / STEP_S + float(own) for part, own in zip(turned[1:], carried, strict=True)]
        return [float(part) for part in rotation.multiply(base, now)], rates


def _hands_of(hands: Any) -> dict[str, Values]:
    """What was measured of both hands and what they were told; zeros where there are none."""
    keys = {"{}_hand_q": "q", "{}_hand_dq": "dq", "last_{}_hand_action": "target", "{}_hand_q_measured": "q"}
    is_known = hands is not None and hands["q"].shape == (len(SIDES), HAND_JOINTS)
    return {key.format(side): hands[name][row].tolist() if is_known else [0.0] * HAND_JOINTS
            for key, name in keys.items() for row, side in enumerate(SIDES)}


def config_of(settings: RunSettings, manifest: Manifest) -> dict[str, Any]:
    """The map of `robot_config`; there is no planner here, and nothing runs in half precision."""
    stages = [stage.name for stage in manifest.stages]
    return {
        "model_path": settings.model or str(manifest.path),
        "reference_motion_path": settings.clip or settings.stream or "",
        "planner_path": "", "obs_config_path": str(manifest.path),
        "encoder_file": ",".join(stages),
        "control_frequency": float(manifest.rate_hz), "planner_frequency": 0.0,
        "is_using_encoder": bool(stages), "policy_fp16": False, "planner_fp16": False,
    }
