"""Messages of topic `planner` as a velocity command, for controllers that take one. Pure.

SONIC's planner makes motions of them; here the same direction, facing and speed steer a walking controller. Directions
are the sender's, whose x is where the robot faced when it was first heard. Modes: NVlabs/GR00T-WholeBodyControl @
1983e88, `gear_sonic_deploy/src/g1/g1_deploy_onnx_ref/include/localmotion_kplanner.hpp`: 0 idle, 1 slow walk, 2 walk,
3 run; the others (squats, crawling, boxing) no walking controller can do, they stand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.steering import Steering

F32 = npt.NDArray[np.float32]
SILENT_NS = 1_000_000_000
"""Then it stands, as SONIC's program does (`zmq_manager.hpp` of the same)."""
SPEEDS_M_S = {1: 0.3, 2: 0.6, 3: 1.0}
"""Of a mode whose message names no speed (-1): ours, slow enough for every controller shipped."""
TURN_PER_S = 2.0
"""Yaw rate for each rad that it faces elsewhere: half a turn is behind it after two seconds, within the ranges."""
LEAST = 1e-3
"""A direction shorter than this is none."""


class PlannerCommand:
    """Turns the newest message into a ramped command.

    Args:
        ranges: of the controller: vx, vy (m/s), yaw rate (rad/s).
        period_s: of a control tick.
    """

    def __init__(self, ranges: tuple[tuple[float, float], ...], period_s: float) -> None:
        self._steering = Steering(ranges, period_s)
        self._asked: F32 = np.zeros(3, np.float32)
        self._heading_rad: float | None = None

    def tick(self, record: Mapping[str, Any], quat_wxyz: Any, now_ns: int) -> F32:
        """(3,) vx, vy, yaw rate, base frame; `record` has the fields of `STREAM_DTYPE`."""
        heard_ns = int(record["planner_ns"])
        if not heard_ns or now_ns - heard_ns > SILENT_NS:
            self._heading_rad = None
            return self._steering.tick(None)
        heading = rotation.heading_rad(quat_wxyz)
        if self._heading_rad is None:
            self._heading_rad = heading
        turned = heading - self._heading_rad
        self._asked[:] = 0
        mode, speed = int(record["planner_mode"]), float(record["speed_m_s"])
        if mode not in SPEEDS_M_S:
            return self._steering.tick(self._asked)
        x, y = (float(part) for part in record["movement"][:2])
        length = math.hypot(x, y)
        if length > LEAST:
            speed = speed if speed >= 0 else SPEEDS_M_S[mode]
            cos, sin = math.cos(turned) * speed / length, math.sin(turned) * speed / length
            self._asked[:2] = cos * x + sin * y, cos * y - sin * x
        face_x, face_y = (float(part) for part in record["facing"][:2])
        if math.hypot(face_x, face_y) > LEAST:
            self._asked[2] = TURN_PER_S * math.remainder(math.atan2(face_y, face_x) - turned, 2 * math.pi)
        return self._steering.tick(self._asked)
