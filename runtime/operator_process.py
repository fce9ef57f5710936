"""The operator's sources as a process: sockets, keys, gamepads and buttons in, one slot and a ring of frames out.

    python -m runtime.operator_process SETTINGS.json

The lowest place of the real-time class, below all that moves the robot: nothing here commands it, and yet a process
that is not scheduled for 100 ms is a pressed stop. Each look asks every source without waiting; between two looks it
sleeps at most 3 ms, less when something arrives, and at least as long as the look took, so that a flood can use no more
than half a core. What it publishes is decided in `runtime.operator_state`.
"""

from __future__ import annotations

import secrets
import select
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from firmware_bridge.errors import BridgeError
from runtime.child_life import Life
from runtime.deadman import ButtonDeadman, Deadman, GamepadDeadman, KeyboardDeadman, parse_deadman
from runtime.errors import Refused
from runtime.estop_sources import (
    ButtonStop,
    EstopSource,
    EstopSpec,
    GamepadStop,
    GpioStop,
    KeyboardStop,
    TeleopStop,
    parse_estops,
)
from runtime.events import emit, emit_refusal
from runtime.gamepad import Gamepad
from runtime.keyboard import Keyboard, Terminal
from runtime.lease import Lease
from runtime.network_stop import StopEndpoint
from runtime.operator_key import Address, check_bind, parse_address, read_key
from runtime.operator_link import Link
from runtime.operator_message import Count, Message, OtherJoints, Pose, pose_form, stream_form
from runtime.operator_state import OperatorState, TeleopInput
from runtime.realtime import go_first
from runtime.records import CONTROL_DTYPE, OPERATOR_DTYPE, STREAM_RING, status_dtype, stream_dtype
from runtime.robot import Robot, load_robot
from runtime.settings import RunSettings
from runtime.slots import Ring, Slot
from runtime.teleop_sources import GamepadTeleop, KeyboardTeleop, NetworkTeleop, TeleopSource

LOOK_S, REST_S = 0.003, 0.0005
PRIORITY, NICE = 20, -15
"""Of SCHED_FIFO, and where that is not permitted the place in the normal class."""


class Sources:
    """Every source of a run, opened.

    Raises:
        BridgeError: one that cannot be opened.

    Attributes:
        teleop: what commands, or None.
        stops: the emergency stops, in the order of `RunSettings.operator`.
        lease: of the network source.
        keyboard: the run's terminal for commands and stops, or None.
        terminal: that, or the dead-man's, not taken yet; or None.
        deadman: of a routine, or None.
    """

    def __init__(self, settings: RunSettings, robot: Robot) -> None:
        self.keyboard: Keyboard | None = None
        self.terminal: Terminal | None = None
        self.deadman: Deadman | None = None
        self._pads: dict[str | None, Gamepad] = {}
        self.links: list[Link] = []
        self.stops: list[EstopSource] = []
        try:
            self._open(settings, robot)
        except BridgeError:
            self.close()
            raise

    def _open(self, settings: RunSettings, robot: Robot) -> None:
        self._key = read_key(Path(settings.operator_key)) if settings.operator_key else None
        self._form = pose_form([joint.name for joint in robot.joints])
        specs = parse_estops(settings.estops)
        kinds = {settings.teleop, *(spec.kind for spec in specs)}
        if "keyboard" in kinds:
            self.terminal = self.keyboard = Keyboard(_terminal(settings))
        self.lease = Lease(_draw)
        self.teleop: TeleopSource | None = self._teleop(settings, specs)
        self._own_link(settings, [spec for spec in specs if spec.kind == "network" and spec.where is None])
        for spec in specs:
            self.stops.append(self._stop_of(spec))
        if self.teleop is not None:
            self.stops.append(TeleopStop(self.teleop))
        if settings.deadman is not None:
            self._hold(settings, settings.deadman)

    def _hold(self, settings: RunSettings, deadman: str) -> None:
        kind, where = parse_deadman(deadman)
        if kind == "keyboard":
            self.terminal = self.deadman = KeyboardDeadman(_terminal(settings))
        elif kind == "gamepad":
            self.deadman = GamepadDeadman(self._pad(where))
        elif kind == "button":
            self.deadman = ButtonDeadman(where or "")

    def _teleop(self, settings: RunSettings, specs: Iterable[EstopSpec]) -> TeleopSource | None:
        if settings.teleop == "network":
            return NetworkTeleop(self.lease)
        if settings.teleop == "gamepad":
            named = [spec.where for spec in specs if spec.kind == "gamepad"]
            return GamepadTeleop(self._pad(named[0] if named else None))
        return KeyboardTeleop(self.keyboard) if settings.teleop == "keyboard" and self.keyboard is not None else None

    def _own_link(self, settings: RunSettings, stops: list[EstopSpec]) -> None:
        """The link at --teleop-bind, for a commander, for a stop endpoint, or for both."""
        self._endpoint = StopEndpoint(_draw)
        teleop = self.teleop if isinstance(self.teleop, NetworkTeleop) else None
        if teleop is None and not stops:
            return
        address = parse_address(settings.operator_bind, "--teleop-bind")
        self._bind(address, "--teleop-bind", self._endpoint if stops else None, teleop)

    def _bind(self, address: Address, option: str, stop: StopEndpoint | None, teleop: NetworkTeleop | None) -> None:
        check_bind(address, self._key, option)
        lease = self.lease if teleop is not None else None
        self.links.append(Link(address, self._key, self._form, lease=lease, teleop=teleop, stop=stop))

    def _pad(self, path: str | None) -> Gamepad:
        return self._pads.setdefault(path, Gamepad(path))

    def _stop_of(self, spec: EstopSpec) -> EstopSource:
        if spec.kind == "keyboard" and self.keyboard is not None:
            return KeyboardStop(self.keyboard)
        if spec.kind == "gamepad":
            return GamepadStop(self._pad(spec.where))
        if spec.kind == "network":
            return self._network_stop(spec)
        return ButtonStop(spec.where or "") if spec.kind == "button" else GpioStop(spec.where or "")

    def _network_stop(self, spec: EstopSpec) -> StopEndpoint:
        if spec.where is None:
            return self._endpoint
        endpoint = StopEndpoint(_draw)
        self._bind(parse_address(spec.where, "--estop network"), "--estop network", endpoint, None)
        return endpoint

    def pump(self, now_ns: int) -> bool:
        """Take in what arrived; true when a link may hold more."""
        if self.terminal is not None:
            self.terminal.pump(now_ns)
        for pad in self._pads.values():
            pad.pump(now_ns)
        return any([link.pump(now_ns) for link in self.links])

    def wait(self, timeout_s: float) -> None:
        """Until something arrives or the time is over."""
        devices = [self.terminal, *self._pads.values()]
        open_devices = [device for device in devices if device and device.is_open]
        select.select([*open_devices, *(file for link in self.links for file in link.files)], [], [], timeout_s)

    def close(self) -> None:
        """Give everything back, the terminal above all."""
        if self.terminal is not None:
            self.terminal.close()
        for pad in self._pads.values():
            pad.close()
        for link in self.links:
            link.close()
        for stop in self.stops:
            if isinstance(stop, ButtonStop | GpioStop):
                stop.close()
        if isinstance(self.deadman, ButtonDeadman):
            self.deadman.close()


def _draw() -> int:
    return secrets.randbits(64)


def _terminal(settings: RunSettings) -> str:
    if settings.terminal is None:
        raise Refused("keyboard", expected="a run started in a terminal", found="none",
                      what_to_do="start it in one, or use another source")
    return settings.terminal


class OperatorProcess:
    """Looks, decides, publishes.

    Args:
        sources: of the run.
    """

    def __init__(self, settings: RunSettings, robot: Robot, sources: Sources) -> None:
        self._sources = sources
        self._state = OperatorState(len(sources.stops))
        shared, run = Path(settings.shared), settings.run
        self._slot = Slot(shared / "operator", OPERATOR_DTYPE, run)
        self._control = Slot(shared / "control", CONTROL_DTYPE, run)
        self._status = Slot(shared / "status", status_dtype(robot.motors), run)
        self._ring = Ring(shared / "stream_ring", stream_dtype(len(robot.joints)), run, STREAM_RING)
        self._epoch = 0

    def look(self, now_ns: int) -> bool:
        """One look at everything, published; true when a link may hold more."""
        sources, state = self._sources, self._state
        self._take_the_terminal()
        is_more = sources.pump(now_ns)
        stops = [stop.poll(now_ns) for stop in sources.stops]
        teleop = sources.teleop.look(now_ns) if sources.teleop is not None else None
        keys = sources.keyboard.keys if sources.keyboard is not None else None
        held, gestures = False, keys.gestures + keys.resumes if keys is not None else 0
        if sources.deadman is not None:
            held, gestures = sources.deadman.look(now_ns)
        state.update(now_ns, teleop, stops, gestures)
        self._publish(now_ns, teleop, held=held)
        for link in sources.links:
            for frame in link.frames:
                self._push(frame, now_ns)
            link.frames.clear()
            self._status.read()
            link.tell(now_ns, int(self._status.record["mode"][0]), state.refusal, state.source)
        self._say_who_commands()
        return is_more

    def _take_the_terminal(self) -> None:
        """Only once the supervisor has asked for anything: until then the terminal is its own."""
        terminal = self._sources.terminal
        if terminal is not None and not terminal.was_open and self._control.read():
            terminal.open()

    def _publish(self, now_ns: int, teleop: TeleopInput | None, *, held: bool) -> None:
        state, record, links = self._state, self._slot.record, self._sources.links
        record["beat_ns"], record["heard_ns"], record["engages"] = now_ns, state.heard_ns, state.engages
        for which in Count:
            record[which.value] = sum(link.count(which) for link in links)
        record["dropped"] = sum(link.dropped for link in links)
        record["latency_s"] = teleop.age_s if teleop is not None else 0.0
        record["command"][0] = state.command
        record["source"], record["held"] = state.source, state.held or held
        record["stop"], record["silent"] = state.stop, state.silent
        self._slot.publish()

    def _push(self, message: Message, now_ns: int) -> None:
        frame, record = message.body, self._ring.record
        assert isinstance(frame, Pose | OtherJoints)
        record["form"] = stream_form(frame.names)
        record["source_ns"], record["received_ns"], record["sequence"] = message.sent_ns, now_ns, message.sequence
        if isinstance(frame, Pose):
            record["joint_pos"][0], record["joint_vel"][0] = frame.joint_pos, frame.joint_vel
            record["root_pos"][0], record["root_quat_wxyz"][0] = frame.root_pos, frame.root_quat_wxyz
        else:
            for name in ("joint_pos", "joint_vel", "root_pos", "root_quat_wxyz"):
                record[name] = np.nan
        self._ring.push()

    def _say_who_commands(self) -> None:
        lease = self._sources.lease
        if lease.epoch != self._epoch:
            self._epoch = lease.epoch
            emit("warning", message=f"lease {lease.epoch}: {lease.holder or 'somebody without a name'} commands")


def main(argv: list[str]) -> int:
    """Entry of the process."""
    life = Life(argv)
    settings = life.settings
    try:
        robot = load_robot(settings.robot)
        sources = Sources(settings, robot)
    except BridgeError as error:
        emit_refusal(error)
        return 2
    if settings.real_time and (lacking := go_first(NICE, PRIORITY)):
        emit("warning", message=f"operator without {lacking}")
    try:
        process = OperatorProcess(settings, robot, sources)
        emit("ready", sources=settings.operator, listens=[list(link.address) for link in sources.links])
        while not life.is_over:
            began = time.monotonic_ns()
            is_more = process.look(began)
            took_s = (time.monotonic_ns() - began) * 1e-9
            time.sleep(max(REST_S, took_s))
            sources.wait(0.0 if is_more else max(0.0, LOOK_S - 2 * took_s))
    except Exception as error:  # the gate damps when this process is no longer heard
        emit("error", message=f"{type(error).__name__}: {error}")
        return 1
    finally:
        sources.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
