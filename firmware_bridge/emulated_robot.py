"""A whole robot behind emulated serial ports: its drives, its IMU, and the physics that they share."""

from __future__ import annotations

import select
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from firmware_bridge.drives.inspire_far_end import InspireFarEnd
from firmware_bridge.drives.language import F64, Drive
from firmware_bridge.drives.mcu_far_end import McuFarEnd
from firmware_bridge.drives.protocols import MCU, PROTOCOLS, make_far_end, make_imu_far_end
from firmware_bridge.emulated_drives import COOLING_PER_S, EmulatedMotors, Motor
from firmware_bridge.emulated_port import EmulatedPort
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, MotorCommand, Q
from firmware_bridge.serial_imu import into_base
from firmware_bridge.wiring import ImuWiring, Wiring

if TYPE_CHECKING:
    from firmware_bridge.simulated_robot import SimulatedRobot

STEP_S = 0.002
LATE_S = 0.1
"""Behind by more, the clock is set anew instead of catching up."""
GYRO_LSB_RAD_S = 1e-4
"""Half the width of what is added to the gyro: a real IMU never repeats itself to the bit."""
FULL_LOAD_C_PER_S = 2.0
"""Warming of a drive of the plant at its torque limit: 100 C above ambient in the end."""
LOOSE = Motor()


class JointsOfDrives:
    """The sign, gear and offset between drives and a robot's joints."""

    def __init__(self, drives: list[Drive]) -> None:
        self.slots = np.array([drive.motor for drive in drives], np.intp)
        sign, self._gear = np.array([float(d.sign) for d in drives]), np.array([d.gear for d in drives])
        self._offset = np.array([drive.offset_rad for drive in drives])
        self._turn, self._force = sign * self._gear, sign / self._gear

    def to_joints(self, target: F64) -> F64:
        """Targets of drives (n, 5) on the joints' side."""
        out: F64 = target.copy()
        out[:, Q] = out[:, Q] / self._turn + self._offset
        out[:, DQ] /= self._turn
        out[:, TAU] /= self._force
        out[:, KP] *= self._gear**2
        out[:, KD] *= self._gear**2
        return out

    def to_drives(self, q: F64, dq: F64, tau: F64) -> tuple[F64, F64, F64]:
        """Joints' states (n,) on the drives' side."""
        return (q - self._offset) * self._turn, dq * self._turn, tau * self._force


class PlantMotors(EmulatedMotors):
    """Drives of a simulated robot: the same codes, watchdogs and switches, with the plant's physics behind them.

    Args:
        drives: all of the robot, in the order of the rows.
    """

    def __init__(self, drives: list[Drive], robot: SimulatedRobot, effort_n_m: F64) -> None:
        super().__init__([LOOSE] * len(drives))
        self.robot, self._joints = robot, JointsOfDrives(drives)
        self.limit = effort_n_m[self._joints.slots] / np.array([drive.gear for drive in drives])
        self._command = MotorCommand(robot.motors)
        self._sense()

    def step(self, dt_s: float) -> None:
        """One control period of the plant, whatever `dt_s` is told; it is `STEP_S`."""
        self.now_s += dt_s
        self.watch()
        block = self._command.block
        block[self._joints.slots] = self._joints.to_joints(self.target)
        block[self._joints.slots[~(self.is_enabled & (self.faults == 0))]] = 0
        self.robot.command(self._command)
        self.robot.step()
        self._sense()
        self.warm(dt_s)

    def _sense(self) -> None:
        slots, sample = self._joints.slots, self.robot.sample
        states = [values[slots].astype(np.float64) for values in (sample.q, sample.dq, sample.tau)]
        self.q, self.dq, self.tau = self._joints.to_drives(states[0], states[1], states[2])

    def warm(self, dt_s: float) -> None:
        """By the square of the load."""
        load = self.tau / np.maximum(self.limit, 1e-6)
        self.temperature_c += dt_s * (FULL_LOAD_C_PER_S * load**2 - COOLING_PER_S * (self.temperature_c - 25.0))


class EmulatedRobot:
    """Every port of a wiring file as a pty.

    Args:
        wiring: what hangs where.
        robot: the plant behind the drives and the IMU; None lets each motor turn for itself, the IMU upright.
        links: put links at the file's own port paths.

    Attributes:
        motors: rows in the order of the file's drives.
        ports: the name of each port in the file to its pty.
        names: joint of each row.
        was_driven: (rows,) it has had torque since the start.
    """

    def __init__(self, wiring: Wiring, robot: SimulatedRobot | None = None, *, links: bool = True) -> None:
        others = [bus.port for bus in wiring.buses if not PROTOCOLS[bus.protocol].is_serial]
        if others:
            raise BridgeError("emulated robot", expected="serial ports in its wiring file", found=", ".join(others),
                              what_to_do="emulate the slcan protocols of the same drives instead")
        drives = [drive for bus in wiring.buses for drive in bus.drives]
        self.names = [drive.name for drive in drives]
        self._robot, self._links = robot, links
        efforts = np.array(wiring.table.effort_n_m)
        self.motors = EmulatedMotors([Motor(torque_limit=efforts[drive.motor] / drive.gear) for drive in drives]) \
            if robot is None else PlantMotors(drives, robot, efforts)
        self.was_driven = np.zeros(len(drives), np.bool_)
        self.ports: dict[str, EmulatedPort] = {}
        self._random = np.random.default_rng(0)
        row = 0
        try:
            for bus in wiring.buses:
                rows = list(range(row, row + len(bus.drives)))
                row += len(bus.drives)
                self._add(bus.port, EmulatedPort(
                    make_far_end(bus.protocol, list(bus.drives), self.motors, rows), self._link(bus.port)))
            self._mcu: McuFarEnd | None = None
            if wiring.hands is not None:
                for port in filter(None, (wiring.hands.left, wiring.hands.right)):
                    self._add(port, EmulatedPort(InspireFarEnd(1, lambda: self.motors.now_s), self._link(port)))
            if wiring.imu is not None:
                self._into_imu = into_base(wiring.imu.mounting_wxyz).T
                self._add_imu(wiring.imu)
        except Exception:
            self.close()
            raise
        self._due_s = time.monotonic()

    def _link(self, port: str) -> Path | None:
        is_ours = self._links and port.startswith("/") and not port.startswith("/dev/")
        return Path(port) if is_ours else None

    def _add(self, name: str, port: EmulatedPort) -> None:
        self.ports[name] = port

    def _add_imu(self, imu: ImuWiring) -> None:
        if imu.protocol == MCU:
            far_end = self.ports[imu.port].far_end
            assert isinstance(far_end, McuFarEnd)  # the wiring file was checked for it
            self._mcu = far_end
            return
        sensor = make_imu_far_end(imu.protocol, self.sense_imu, lambda: self.motors.now_s)
        self._add(imu.port, EmulatedPort(sensor, self._link(imu.port)))

    def sense_imu(self) -> F64:
        """(10,) orientation, turn rates and specific force in the IMU's own axes, now."""
        if self._robot is None:
            values = np.array([1, 0, 0, 0, 0, 0, 0, 0, 0, 9.81])
        else:
            self._robot.sense_accelerometer()
            values = self._robot.sample.imu.astype(np.float64)
        values[4:7] += self._random.uniform(-GYRO_LSB_RAD_S, GYRO_LSB_RAD_S, 3)
        out: F64 = self._into_imu @ values
        return out

    def serve_until(self, end_s: float) -> None:
        """Answer the ports and let the physics run in real time until this monotonic time."""
        while (now_s := time.monotonic()) < end_s:
            if now_s >= self._due_s:
                self.motors.step(STEP_S)
                self.was_driven |= self.motors.is_enabled
                if self._mcu is not None:
                    self._mcu.imu = self.sense_imu()
                for port in self.ports.values():
                    port.tick()
                self._due_s = self._due_s + STEP_S if now_s - self._due_s < LATE_S else now_s
                continue
            masters = {port.master: port for port in self.ports.values() if port.master >= 0}
            ready, _, _ = select.select(list(masters), [], [], min(self._due_s, end_s) - now_s)
            for master in ready:
                masters[master].serve()

    def close(self) -> None:
        """Let every port go."""
        for port in self.ports.values():
            port.close()
