"""`exoactor sim`: a process that looks to the network like a Unitree robot, with MuJoCo behind it.

It does with `rt/lowcmd` what the firmware is known to do: drops commands with a wrong CRC or another variant's
mode_machine, obeys the rest, and keeps the last one for ever.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np

from firmware_bridge.ailments import Ailments
from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.dex3_robot import DdsHands
from firmware_bridge.ending import Ending, ask_real_time
from firmware_bridge.errors import BridgeError
from firmware_bridge.layout import GO_SPORT_MODE_STATE, HG_BMS_STATE, HG_IMU_STATE, Layout
from firmware_bridge.motion_service import SimulatedMotionService
from firmware_bridge.motor_bus import MotorCommand, MotorSample, Reading
from firmware_bridge.sim_options import add_robot_options, make_ailments, make_robot, parse_press
from firmware_bridge.simulated_hands import read_hand_table
from firmware_bridge.simulated_robot import SimulatedRobot
from firmware_bridge.unitree_bus import BATTERY_TOPIC, COMMAND_TOPIC, STATE_TOPIC, TORSO_TOPIC, sample_over, wire_named

TRUTH_TOPIC = "rt/sportmodestate"
TRUTH_EVERY, CALLS_EVERY, BATTERY_EVERY = 5, 10, 250
CHARGE_PERCENT = 80
GYRO_LSB_RAD_S = 1e-4
"""Half the width of what is added to the gyro: a real IMU never repeats itself to the bit, a robot that hangs here
would, and the gate takes that for a frozen one."""
RATE_HZ, PRIORITY = 500, 40
ORPHAN_S = 4.0
"""How long a robot stays after the run that started it died: longer than its gate damps."""


class DdsRobot:
    """A `SimulatedRobot` on DDS.

    Args:
        motion_service: the mode its motion switcher says is active; "" for none.
        ailments: what will be wrong with it; None for nothing.

    Attributes:
        obeyed, dropped: commands taken and commands refused (CRC, variant).
        buttons: bits of the simulated wireless remote.
        charge_percent: of the battery.
    """

    def __init__(
        self, robot: SimulatedRobot, settings: DdsSettings, wire: str = "unitree_hg", motion_service: str = "",
        ailments: Ailments | None = None,
    ) -> None:
        self.robot, self._ailments = robot, ailments
        self._intruder: Participant | None = None
        self._wire = wire_named(wire)
        self._settings = settings
        self._participant = Participant(settings, "exoactor-sim")
        self._refuse_another_robot(settings)
        low_cmd, low_state = self._wire.low_cmd, self._wire.low_state
        self._commands = self._participant.reader(COMMAND_TOPIC, low_cmd)
        self._states = self._participant.writer(STATE_TOPIC, low_state)
        self._truth = self._participant.writer(TRUTH_TOPIC, GO_SPORT_MODE_STATE)
        self._torso = self._participant.writer(TORSO_TOPIC, HG_IMU_STATE)
        self._battery = self._participant.writer(BATTERY_TOPIC, HG_BMS_STATE) if self._wire.head is None else None
        self._motion_service = SimulatedMotionService(self._participant, motion_service)
        n = robot.motors
        self._out = sample_over(self._wire, self._states.buffer, n)
        self._rpy = low_state.view(self._states.buffer, "imu_state.rpy")
        self._seal = low_state.seal(self._states.buffer)
        self._crc = low_state.view(self._states.buffer, "crc")
        self._command_seal = low_cmd.seal(self._commands.buffer)
        self._command_block = low_cmd.block(self._commands.buffer, "motor_cmd", "q", "kd")[:n]
        self._command_modes = low_cmd.offsets("motor_cmd.mode")[:n]
        self._variant = low_cmd.view(self._commands.buffer, "mode_machine") if self._wire.head is None else None
        self._command = MotorCommand(n)
        self.obeyed = self.dropped = self.buttons = 0
        self.charge_percent = CHARGE_PERCENT
        self._count = 0
        self._fill_constants(low_state)

    def _refuse_another_robot(self, settings: DdsSettings) -> None:
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            others = self._participant.foreign_writers(STATE_TOPIC)
            if others:
                raise BridgeError(
                    "simulated robot", expected=f"no other robot on domain {settings.domain}",
                    found=f"{STATE_TOPIC} written by {'; '.join(others)}",
                    what_to_do="choose another --domain, or stop the other one",
                )
            time.sleep(0.02)

    def _fill_constants(self, low_state: Layout) -> None:
        buffer = self._states.buffer
        buffer[low_state.offsets("motor_state.mode")[: self.robot.motors]] = 1
        self._out.mode_machine[0] = self.robot.mode_machine
        self._out.remote[:2] = (0x55, 0x51)
        if self._battery is None:
            low_state.view(buffer, "bms_state.soc")[0] = self.charge_percent

    def tick(self) -> None:
        """Obey, step, publish."""
        if self._commands.take():
            self._obey()
        sample = self.robot.step()
        self._count += 1
        if self._count % CALLS_EVERY == 0:
            self._motion_service.pump()
        if self.robot.lose_frame():
            return
        self.robot.sense_accelerometer()
        reading = Reading.NEW
        if self._ailments is not None:
            reading, sample = self._ail(self._ailments, sample)
            if reading is Reading.NONE:
                return
        out = self._out
        out.q[:], out.dq[:], out.tau[:], out.temperature_c[:] = sample.q, sample.dq, sample.tau, sample.temperature_c
        out.quat_wxyz[:], out.gyro[:], out.accel[:] = sample.quat_wxyz, sample.gyro, sample.accel
        out.gyro[:] += GYRO_LSB_RAD_S * ((self._count * 40503 & 0xFFFF) / 32768 - 1)  # Knuth's 16-bit multiplier
        out.tick[0] = sample.tick[0]
        out.remote[2], out.remote[3] = self.buttons & 0xFF, self.buttons >> 8
        w, x, y, z = sample.quat_wxyz.tolist()
        self._rpy[0] = np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))
        self._rpy[1] = np.arcsin(min(max(2 * (w * y - z * x), -1.0), 1.0))
        self._rpy[2] = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        self._seal.write()
        if reading is Reading.REJECTED:
            self._crc[0] ^= 1
        self._states.write()
        self._publish_torso()
        if self._count % BATTERY_EVERY == 0:
            self._publish_battery()
        if self._count % TRUTH_EVERY == 0:
            self._publish_truth()

    def _ail(self, ailments: Ailments, sample: MotorSample) -> tuple[Reading, MotorSample]:
        """What is left of a state, with everything that a healthy robot's never changes."""
        reading, sample = ailments.carry(Reading.NEW, sample)
        out = self._out
        out.motor_error[:], out.motor_lost[:] = sample.motor_error, sample.motor_lost
        out.mode_machine[:], out.remote[:] = sample.mode_machine, sample.remote
        self.charge_percent = int(max(ailments.charge_percent, 0))
        self.buttons |= int(sample.remote[2]) | int(sample.remote[3]) << 8
        if self._intruder is None and ailments.has("second-writer"):
            self._intruder = Participant(self._settings, "exoactor-sim-intruder")
            self._intruder.writer(COMMAND_TOPIC, self._wire.low_cmd)
        return reading, sample

    def _obey(self) -> None:
        robot = self.robot
        if not self._command_seal.matches() or (
            self._variant is not None and int(self._variant[0]) != robot.mode_machine
        ):
            self.dropped += 1
            return
        self.obeyed += 1
        enabled = self._commands.buffer[self._command_modes] != 0
        self._command.enabled = bool(enabled.any())
        np.multiply(self._command_block, enabled[:, None], out=self._command.block)
        if np.isfinite(self._command.block).all():
            robot.command(self._command)

    def _publish_torso(self) -> None:
        quat, gyro, accel = self.robot.torso_imu()
        if self._ailments is not None:
            quat = self._ailments.sample.torso_quat_wxyz.astype(np.float64)
        view, buffer = HG_IMU_STATE.view, self._torso.buffer
        view(buffer, "quaternion")[:], view(buffer, "gyroscope")[:] = quat, gyro
        view(buffer, "accelerometer")[:] = accel
        self._torso.write()

    def _publish_battery(self) -> None:
        if self._battery is not None:
            HG_BMS_STATE.view(self._battery.buffer, "soc")[0] = self.charge_percent
            self._battery.write()

    def _publish_truth(self) -> None:
        view, buffer, robot = GO_SPORT_MODE_STATE.view, self._truth.buffer, self.robot
        view(buffer, "position")[:] = robot.base_position
        view(buffer, "velocity")[:] = robot.base_velocity
        view(buffer, "imu_state.quaternion")[:] = robot.sample.quat_wxyz
        self._truth.write()

    def close(self) -> None:
        """Leave the network."""
        if self._intruder is not None:
            self._intruder.close()
        self._participant.close()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor sim`."""
    parser.epilog = "example: exoactor sim --domain 7 --noise 0.01 --push 3,0.1,250,0,0"
    parser.add_argument("--domain", type=int, default=1, help="DDS domain (default 1)")
    parser.add_argument("--interface", help="network interface (default: loopback)")
    parser.add_argument("--peer", action="append", default=[], metavar="ADDRESS", help="unicast peer; repeatable")
    add_robot_options(parser)
    parser.add_argument("--hands", metavar="FILE.json", help="give it hands (docs/hands.md)")
    parser.add_argument("--motion-service", default="", metavar="NAME",
                        help="let its motion switcher say that this mode is active (default: all released)")
    parser.add_argument("--seconds", type=float, help="stop after this long")
    parser.add_argument("--follow", type=int, metavar="PID", help="stop soon after this parent process is gone")
    parser.add_argument("--view", action="store_true", help="open MuJoCo's viewer (needs a display)")
    parser.add_argument("--picture", metavar="FILE.png", help="on exit, a contact sheet of what happened (off-screen)")
    parser.add_argument("--no-realtime", action="store_true", help="do not ask for SCHED_FIFO")


def run(args: argparse.Namespace, beside: Callable[[SimulatedRobot], Callable[[], None]] | None = None) -> int:
    """Run until a signal or `--seconds`; what `beside` makes of the robot is called once a period too."""
    ending = Ending()
    press_s, buttons = parse_press(args.press)

    def on_press(number: int, frame: FrameType | None) -> None:
        nonlocal press_s
        press_s = 0.0

    signal.signal(signal.SIGUSR1, on_press)
    robot = make_robot(args)
    if not args.no_realtime:
        ask_real_time("sim", PRIORITY)
    settings = DdsSettings(args.domain, args.interface, tuple(args.peer))
    dds = DdsRobot(robot, settings, motion_service=args.motion_service, ailments=make_ailments(args, robot))
    hands = DdsHands(read_hand_table(Path(args.hands)), settings) if args.hands else None
    where = args.interface or "lo"
    print(json.dumps({"event": "ready", "domain": args.domain, "interface": where, "motors": robot.motors,
                      "pid": os.getpid()}), flush=True)
    watch = _Watch(robot, args)
    tick_beside = None if beside is None else beside(robot)
    period = 1 / RATE_HZ
    deadline = time.monotonic()
    end = deadline + args.seconds if args.seconds else float("inf")
    while not ending.has_come and time.monotonic() < end:
        if robot.time_s >= press_s:
            dds.buttons = buttons
        dds.tick()
        if hands is not None:
            hands.tick()
        watch.look()
        if tick_beside is not None:
            tick_beside()
        if args.follow and end == float("inf") and os.getppid() != args.follow:
            end = time.monotonic() + ORPHAN_S
        deadline += period
        left = deadline - time.monotonic()
        if left > 0:
            time.sleep(left)
        elif left < -0.1:
            deadline = time.monotonic()
    dds.close()
    if hands is not None:
        hands.close()
    watch.close()
    print(json.dumps({"event": "done", "obeyed": dds.obeyed, "dropped": dds.dropped}), flush=True)
    return 0


class _Watch:
    """Viewer window and contact sheet, both optional."""

    FRAMES, COLUMNS = 12, 4

    def __init__(self, robot: SimulatedRobot, args: argparse.Namespace) -> None:
        self._robot, self._args = robot, args
        self._poses: list[np.ndarray] = []
        self._next = 0.0
        self._gap = 0.5
        self._viewer = robot.open_viewer() if args.view else None
        self._count = 0

    def look(self) -> None:
        self._count += 1
        if self._viewer is not None and self._count % 16 == 0:
            self._viewer.sync()
        if self._args.picture and self._robot.time_s >= self._next:
            self._poses.append(self._robot.pose())
            if len(self._poses) == 2 * self.FRAMES:
                self._poses, self._gap = self._poses[::2], self._gap * 2
            self._next = self._robot.time_s + self._gap

    def close(self) -> None:
        if self._viewer is not None:
            self._viewer.close()
        if self._args.picture:
            from firmware_bridge.picture import contact_sheet, render_poses, save_png

            frames = render_poses(Path(self._args.plant), self._poses[: self.FRAMES], (320, 240), "track")
            save_png(Path(self._args.picture), contact_sheet(frames, self.COLUMNS))
