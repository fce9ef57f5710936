"""The gate's bus as a run names it: a Unitree robot over DDS, or a serial one by its wiring file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from firmware_bridge.dds import DdsSettings
from firmware_bridge.motor_bus import F32, MotorBus
from firmware_bridge.unitree_bus import PROFILES, Profile, UnitreeBus
from firmware_bridge.wiring import Wiring, read_wiring, wiring_path
from runtime.errors import Refused
from runtime.robot import Robot
from runtime.settings import GATE_HZ, SERIAL, RunSettings

if TYPE_CHECKING:
    from firmware_bridge.serial_bus import SerialBus

GAIN_SLACK = 1.001
"""Beyond what its protocol carries by a thousandth, a gain is still the same."""


class GateBus(MotorBus, Protocol):
    """What the gate needs of a bus beyond its ticks: to begin, and to lend it the time between them."""

    def wait(self, timeout_s: float) -> bool:
        """Whether a state arrives within the time; for start-up."""
        ...

    def is_sealed(self) -> bool:
        """Whether its states carry what tells a robot from an unchecked simulator."""
        ...

    def open_writer(self) -> None:
        """From here on commands reach the motors; drives that have a switch for torque get it. An operator's doing."""
        ...

    def echo(self, mode_machine: int) -> None:
        """The variant that commands name, where they name one."""
        ...

    def watch(self) -> None:
        """A tick that commands nothing: a bus whose states are asked for asks."""
        ...

    def statistics(self) -> list[dict[str, Any]]:
        """Of each port of drives, for the report; nothing where there are none."""
        ...

    def pump(self, until_ns: int) -> None:
        """The time until the next tick, for what the wire needs meanwhile; may return at once."""
        ...


def profile_of(settings: RunSettings) -> Profile:
    """How strictly the robot keeps Unitree's rules."""
    return PROFILES["unitree-mujoco" if settings.target == "unitree-mujoco" else "unitree"]


def open_gate_bus(settings: RunSettings, robot: Robot) -> GateBus:
    """The bus of a run, without a writer; a serial one is connected: watchdogs set, no torque.

    Raises:
        BridgeError: the wire cannot be had, or is not as its file says.
    """
    if settings.target != SERIAL:
        dds = DdsSettings(settings.domain, settings.interface, settings.peers)
        return UnitreeBus(dds, robot.wire, robot.motors, profile_of(settings), "exoactor-gate")
    return open_serial_bus(settings, robot)


def open_serial_bus(settings: RunSettings, robot: Robot) -> SerialBus:
    """The bus of a wiring file, connected: watchdogs set, no torque.

    Raises:
        BridgeError: a port or a drive is missing, or is not as the file says.
    """
    from firmware_bridge.serial_robot import make_serial_bus

    bus = make_serial_bus(refuse_misfit(read_wiring(wiring_path(settings.wiring or "")), robot), 1 / GATE_HZ)
    bus.connect()
    return bus


def refuse_clipped_gains(wiring: Wiring, robot: Robot, kp: F32, kd: F32) -> None:
    """Gains that a drive's protocol cannot carry would silently be others: a knee with less damping, for instance.

    Args:
        kp, kd: (motors,) of the controller; the robot's own damping is looked at too.

    Raises:
        Refused: naming the worst joint.
    """
    from firmware_bridge.serial_robot import make_serial_bus

    reach = make_serial_bus(wiring, 1 / GATE_HZ).gain_reach()
    wanted = np.stack([kp, np.maximum(kd, robot.column("damping_kd"))], axis=1)
    ratio = wanted / reach
    motor, column = np.unravel_index(int(ratio.argmax()), ratio.shape)
    if ratio[motor, column] > GAIN_SLACK:
        raise Refused(
            f"drive of {wiring.table.joints[motor]}",
            expected=f"{('kp', 'kd')[column]} {wanted[motor, column]:.2f}, as controller and robot say",
            found=f"at most {reach[motor, column]:.2f} in its protocol",
            what_to_do="choose another model of drive, one behind a gear, or a controller with lower gains")


def refuse_misfit(wiring: Wiring, robot: Robot) -> Wiring:
    """The wiring again, when it is this robot's.

    Raises:
        Refused: other joints, or a walking robot without an IMU.
    """
    joints = [""] * robot.motors
    for joint in robot.joints:
        joints[joint.motor] = joint.name
    if list(wiring.table.joints) != joints:
        raise Refused(f"--robot {Path(wiring.path).name}", expected=f"the joints of {robot.name}, as the controller",
                      found=f"those of {wiring.table.robot}", what_to_do="choose the controller of this robot")
    if robot.feet and wiring.imu is None:
        raise Refused(f"wiring file {Path(wiring.path).name}", expected="an imu: this robot walks", found="none",
                      what_to_do="add `imu` to the file (docs/serial.md)")
    return wiring
