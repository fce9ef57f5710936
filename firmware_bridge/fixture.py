"""Fixtures of known geometry that hold two limbs' ends to each other: a plate under both feet, a bar in both hands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from firmware_bridge.errors import BridgeError

HOLD_S = 0.004
"""Time constant of the simulated one: two physics steps, the stiffest that MuJoCo integrates well."""


@dataclass(frozen=True)
class Fixture:
    """One fixture.

    Attributes:
        name: for people and options.
        bodies: the two that it holds.
        position_m: of the second body's origin, in the first one's axes.
        quat_wxyz: of the second body, in the first one's axes, unit.
        position_tolerance_m, angle_tolerance_rad: standard deviations, each axis, of one that was made with care.
    """

    name: str
    bodies: tuple[str, str]
    position_m: tuple[float, float, float]
    quat_wxyz: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    position_tolerance_m: float = 0.0002
    angle_tolerance_rad: float = 0.0005

    def add_to(self, spec: Any, bodies: set[str]) -> None:
        """Weld the two bodies of a model's specification to each other.

        Raises:
            BridgeError: the robot, whose `bodies` are named, lacks one.
        """
        missing = [body for body in self.bodies if body not in bodies]
        if missing:
            raise BridgeError(f"fixture {self.name}", expected=f"bodies {' and '.join(self.bodies)}",
                              found=f"no {' and no '.join(missing)}", what_to_do="this robot does not fit into it")
        weld = spec.add_equality(name=f"fixture {self.name}", type=mujoco.mjtEq.mjEQ_WELD,
                                 objtype=mujoco.mjtObj.mjOBJ_BODY, name1=self.bodies[0], name2=self.bodies[1])
        weld.data[:11] = np.concatenate([[0, 0, 0], self.position_m, self.quat_wxyz, [1]])
        weld.solref, weld.solimp = [HOLD_S, 1], [0.9999, 0.9999, 0.001, 0.5, 2]


FIXTURES = {fixture.name: fixture for fixture in (
    Fixture("feet", ("left_ankle_roll_link", "right_ankle_roll_link"), (0.0, -0.23701, 0.0)),
    Fixture("hands", ("left_wrist_yaw_link", "right_wrist_yaw_link"), (0.0, -0.29731, 0.0)),
)}
"""Of a G1: what it holds stands as it does with all joints at zero."""
