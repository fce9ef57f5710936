"""The robot's state as the runtime sees it: one flat record, so a slot or a log takes it in one copy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firmware_bridge.motor_bus import MotorSample

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


def state_dtype(motors: int) -> np.dtype[np.void]:
    """Fields of a state record, largest alignment first (its bytes are then also valid CDR)."""
    return np.dtype(
        [
            ("received_ns", "<i8"),
            ("sequence", "<u8"),
            ("tick", "<u4"),
            ("q", "<f4", (motors,)),
            ("dq", "<f4", (motors,)),
            ("tau", "<f4", (motors,)),
            ("quat_wxyz", "<f4", (4,)),
            ("gyro", "<f4", (3,)),
            ("accel", "<f4", (3,)),
        ]
    )


@dataclass(frozen=True)
class ImuCalibration:
    """What turns an IMU's readings into the base's.

    Attributes:
        base_from_imu: (3, 3), turns vectors of the IMU's axes into the base's; `mounting_wxyz` the same rotation.
        gyro_bias_rad_s, accel_bias_m_s2: (3,) subtracted, in the IMU's axes.
        accel_scale: (3,) measured over true.
    """

    base_from_imu: F64
    mounting_wxyz: F64
    gyro_bias_rad_s: F64
    accel_bias_m_s2: F64
    accel_scale: F64


class Calibration:
    """What turns raw readings into calibrated ones and targets into commands; neutral without a calibration file.

    Attributes:
        encoder_offset_rad: (motors,) subtracted from measured positions.
        command_offset_rad: (motors,) added to commanded positions.
        imu: of the base's IMU; None leaves its readings as they are.
    """

    def __init__(self, motors: int, imu: ImuCalibration | None = None) -> None:
        self.encoder_offset_rad = np.zeros(motors, np.float32)
        self.command_offset_rad = np.zeros(motors, np.float32)
        self.imu = imu


class RobotState:
    """Calibrated state in MOTOR order, with the time it was received.

    Attributes:
        record: (1,) structured, `state_dtype`.
        q, dq, tau: (motors,) float32 views, rad, rad/s, N m.
        quat_wxyz, gyro, accel: float32 views, base orientation in world, rad/s and m/s^2 in base.
        floats: every measured float as one flat view: q, dq, tau, quat_wxyz, gyro, accel.
        received_view, sequence_view, tick_view: (1,) views of the record's other fields.
    """

    def __init__(self, motors: int) -> None:
        dtype = state_dtype(motors)
        self.record = np.zeros(1, dtype)
        self.q: F32 = self.record["q"][0]
        self.dq: F32 = self.record["dq"][0]
        self.tau: F32 = self.record["tau"][0]
        self.quat_wxyz: F32 = self.record["quat_wxyz"][0]
        self.gyro: F32 = self.record["gyro"][0]
        self.accel: F32 = self.record["accel"][0]
        assert dtype.fields is not None
        start = dtype.fields["q"][1]
        self.floats: F32 = self.record.view(np.uint8)[start:].view(np.float32)
        self.quat_wxyz[0] = 1.0
        self.received_view = self.record["received_ns"]
        self.sequence_view = self.record["sequence"]
        self.tick_view = self.record["tick"]

    @property
    def received_ns(self) -> int:
        """When this state arrived, monotonic; 0 before the first."""
        return int(self.received_view[0])

    @property
    def sequence(self) -> int:
        """Counts accepted samples."""
        return int(self.sequence_view[0])


class Intake:
    """Takes samples into a state, whole or not at all: `read` one, look at it, then `take` it.

    Args:
        state: to be kept up to date.
        calibration: applied on the way in.

    Attributes:
        q: (motors,) float32, calibrated positions of the sample last read, rad.
    """

    def __init__(self, state: RobotState, calibration: Calibration) -> None:
        n = len(state.q)
        self._state, self._offset = state, calibration.encoder_offset_rad
        self._floats: F32 = np.zeros_like(state.floats)
        self._zeros: F32 = np.zeros_like(state.floats)
        self.q, self._dq, self._tau = (self._floats[i * n : (i + 1) * n] for i in range(3))
        self._motors, self._imu = self._floats[: 3 * n], self._floats[3 * n :]
        self._motor_zeros = self._zeros[: 3 * n]
        self._imu_calibration = calibration.imu

    def read(self, sample: MotorSample) -> bool:
        """Bring a sample here; False when a number of it is not finite."""
        np.subtract(sample.q, self._offset, out=self.q)
        self._dq[:] = sample.dq
        self._tau[:] = sample.tau
        self._imu[:] = sample.imu
        # 0 * x is 0 for every finite x and NaN for the others: one product tells, and it cannot overflow as a sum does.
        return bool(self._zeros.dot(self._floats) == 0)

    def imu_of_base(self) -> list[float] | None:
        """Orientation (w, x, y, z), rates and specific force of the base, once the IMU's of the sample last read.

        Changes what `take` takes; None without an IMU's calibration: the IMU's readings are the base's.
        """
        imu = self._imu_calibration
        if imu is None:
            return None
        aw, ax, ay, az = self._imu[:4].tolist()
        w, x, y, z = imu.mounting_wxyz.tolist()
        # The base's orientation is the IMU's times the mounting's inverse.
        self._imu[:4] = (aw * w + ax * x + ay * y + az * z, ax * w - aw * x - ay * z + az * y,
                         ay * w - aw * y - az * x + ax * z, az * w - aw * z - ax * y + ay * x)
        self._imu[4:7] = imu.base_from_imu @ (self._imu[4:7] - imu.gyro_bias_rad_s)
        self._imu[7:] = imu.base_from_imu @ ((self._imu[7:] - imu.accel_bias_m_s2) / imu.accel_scale)
        values: list[float] = self._imu.tolist()
        return values

    def motors_are_finite(self) -> bool:
        """Whether the sample last read is finite as far as its motors go."""
        return bool(self._motor_zeros.dot(self._motors) == 0)

    def imu_is_finite(self) -> bool:
        """Whether the sample last read is finite as far as its IMU goes."""
        return bool(self._zeros[: len(self._imu)].dot(self._imu) == 0)

    def take(self, sample: MotorSample, received_ns: int) -> None:
        """The sample last read into the state."""
        state = self._state
        state.floats[:] = self._floats
        state.tick_view[0] = sample.tick[0]
        state.received_view[0] = received_ns
        state.sequence_view[0] += 1
