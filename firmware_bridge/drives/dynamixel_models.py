"""Dynamixel servos of the X series: their counts in SI, and gains for servos without MIT mode.

Numbers from ROBOTIS-GIT/emanual `_data/dxl_x_info.yml` @ 0028038 (stall torque and current, at 12 V or at 5 V) and
`docs/en/dxl/x/xh430-w350.md` @ 028a13d (registers, units). The servo's own position loop makes a PWM of its error,
P / 128 a count and D / 16 a count and sample, 885 being all of it (there,
`_includes/en/dxl/control_table_position_pid_gain.md`): so stiffness is that share of the stall torque. That holds at
the voltage of the table and near standstill; the length of a sample is not published and taken as 1 ms. Neither was
measured here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from firmware_bridge.drives.language import F64, Drive
from firmware_bridge.errors import BridgeError

COUNT_RAD = math.tau / 4096
VELOCITY_RAD_S = 0.229 * math.tau / 60
MOST_COUNTS = 1_048_575
"""Of a goal in extended position mode: 256 turns."""
FULL_PWM, P_SCALE, D_SCALE, SAMPLE_S = 885, 128, 16, 1e-3
MOST_GAIN = 16_383


class Mode(IntEnum):
    """Operating modes that are driven."""

    CURRENT = 0
    EXTENDED_POSITION = 4


@dataclass(frozen=True)
class Model:
    """One servo: its model number, N m and A at stall, A a count of current, and where its indirect data begin."""

    number: int
    stall_n_m: float
    stall_a: float
    current_a: float = 2.69e-3
    indirect_data: int = 224

    @property
    def torque_n_m(self) -> float:
        """Of one count of current."""
        return self.current_a * self.stall_n_m / self.stall_a

    @property
    def kp_count(self) -> float:
        """N m/rad of one count of P."""
        return self.stall_n_m / FULL_PWM / P_SCALE / COUNT_RAD

    @property
    def kd_count(self) -> float:
        """N m s/rad of one count of D."""
        return self.stall_n_m / FULL_PWM / D_SCALE / COUNT_RAD * SAMPLE_S


MODELS = {
    "XM430-W210": Model(1030, 3.0, 2.3), "XM430-W350": Model(1020, 4.1, 2.3),
    "XH430-W210": Model(1010, 2.5, 1.3), "XH430-W350": Model(1000, 3.4, 1.3),
    "XM540-W150": Model(1130, 7.3, 4.4), "XM540-W270": Model(1120, 10.6, 4.4),
    "XH540-W150": Model(1110, 7.1, 4.9), "XH540-W270": Model(1100, 9.9, 4.9),
    "XL330-M077": Model(1190, 0.215, 1.47, 1e-3, 208), "XL330-M288": Model(1200, 0.52, 1.47, 1e-3, 208),
    "XC330-T288": Model(1220, 0.92, 0.80, 1e-3, 208), "XC330-M288": Model(1240, 0.93, 1.80, 1e-3, 208),
}
CURRENT = "/current"
"""Behind a model's name: driven in current mode."""
MOST_ID = 252


class Scales:
    """Counts of one bus's servos.

    Raises:
        BridgeError: an unknown model, or an id that a servo cannot have.
    """

    def __init__(self, drives: Sequence[Drive]) -> None:
        for drive in drives:
            if drive.model.removesuffix(CURRENT) not in MODELS or not 0 <= drive.id <= MOST_ID:
                raise BridgeError(
                    f"drive {drive.name or drive.id}", expected=f"an id from 0 to {MOST_ID} and one of "
                    f"{', '.join(MODELS)} (with {CURRENT} for current mode)", found=f"{drive.model}, id {drive.id}",
                    what_to_do="correct the robot file")
        self.models = [MODELS[drive.model.removesuffix(CURRENT)] for drive in drives]
        self.is_current = np.array([drive.model.endswith(CURRENT) for drive in drives])
        self.torque_n_m, self.kp_count, self.kd_count, self.stall_n_m = (
            np.array([getattr(model, name) for model in self.models])
            for name in ("torque_n_m", "kp_count", "kd_count", "stall_n_m")
        )

    @property
    def modes(self) -> list[Mode]:
        """In which each has to be."""
        return [Mode.CURRENT if is_current else Mode.EXTENDED_POSITION for is_current in self.is_current]

    def gains(self, kp: F64, kd: F64) -> tuple[F64, F64]:
        """(n,) counts of P and D; beyond a register is its end."""
        p, d = np.rint(kp / self.kp_count), np.rint(kd / self.kd_count)
        return np.clip(p, 0, MOST_GAIN), np.clip(d, 0, MOST_GAIN)
