"""What is looked at before a robot may be armed: each check with its measured value, its limit and what to do."""

from __future__ import annotations

import math
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from firmware_bridge.dds import DdsSettings
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import Reading
from firmware_bridge.remote import button_mask, buttons_in
from firmware_bridge.unitree_bus import PROFILES, UnitreeBus
from runtime.admission import admit, check_golden
from runtime.clip import load_clip
from runtime.needs import check_clip_feeds, mode_of
from runtime.robot import Robot
from runtime.settings import GATE_HZ, RunSettings

WATCH_S = 1.0
FREE_DISK_BYTES = 2 << 30
FREE_SHARED_BYTES = 64 << 20
LOST_RATIO = 0.05
GRAVITY_RAD = math.radians(10)
RANGE_SLACK_RAD = 0.1
HOT_C = 80


@dataclass(frozen=True)
class Check:
    """One line of the list. `required` false only advises."""

    check: str
    ok: bool
    measured: str
    limit: str
    what_to_do: str
    required: bool = True

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def check_machine(*, strict: bool) -> Iterator[Check]:
    """This computer: rights, room. `strict` for a real robot: missing real-time rights are then red."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Check("python", sys.version_info >= (3, 10), version, ">= 3.10", "install Python 3.10 or newer")
    soft = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    can_fifo = os.geteuid() == 0 or soft >= 80 or soft == resource.RLIM_INFINITY
    yield Check("real-time scheduling", can_fifo, "root" if os.geteuid() == 0 else f"rtprio {soft}", "rtprio >= 80",
                "add `@realtime - rtprio 90` to /etc/security/limits.conf and join the group", strict)
    locked = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    can_lock = os.geteuid() == 0 or locked == resource.RLIM_INFINITY
    yield Check("locked memory", can_lock, "root" if os.geteuid() == 0 else f"{locked} bytes", "unlimited",
                "add `@realtime - memlock unlimited` to /etc/security/limits.conf", strict)
    cores = len(os.sched_getaffinity(0))
    yield Check("processor cores", cores >= 2, str(cores), ">= 2", "gate and policy need a core each", strict)
    shared = shutil.disk_usage("/dev/shm").free
    yield Check("shared memory", shared >= FREE_SHARED_BYTES, f"{shared >> 20} MiB free",
                f">= {FREE_SHARED_BYTES >> 20} MiB", "empty /dev/shm or enlarge it")
    disk = shutil.disk_usage(Path.cwd()).free
    yield Check("disk for logs", disk >= FREE_DISK_BYTES, f"{disk >> 20} MiB free", f">= {FREE_DISK_BYTES >> 20} MiB",
                "make room: a run writes about 1 MiB a second")


def check_controller(settings: RunSettings) -> Iterator[Check]:
    """Manifest, bundle, model and motion, as far as they were named."""
    try:
        admitted = admit(settings.controller, target=settings.target, allow_unsigned=True)
        manifest, bundle = admitted.manifest, admitted.bundle
        mode = mode_of(manifest, settings.mode)
        yield Check("controller", True, f"{manifest.name} for {manifest.robot.name}", "a valid manifest", "")
        if bundle is not None:
            yield Check("bundle files", True, f"{len(bundle.files)} files as listed", "the listed hashes", "")
        needs_key = bundle is not None or settings.target == "g1"
        yield Check("controller signature", not admitted.warnings, admitted.trust,
                    "signed by a trusted key" if needs_key else "none for a manifest in simulation",
                    "have it exported and signed (docs/bundles.md), or say --allow-unsigned",
                    not settings.allow_unsigned)
        if settings.model is not None or manifest.model_file is not None:
            from runtime.policy import open_admitted

            notes: list[str] = []
            controller = open_admitted(admitted, settings.model, settings.backend, notes.append)
            yield Check("model", True, f"fits {manifest.name}, {'; '.join(notes)}", "sizes of the manifest", "")
            if bundle is not None:
                worst = check_golden(bundle, controller)
                yield Check("golden vectors", True,
                            ", ".join(f"{name} {entry.error:.1g}" for name, entry in worst.items()),
                            ", ".join(f"{name} {entry.limit:g}" for name, entry in worst.items()), "")
        if settings.clip is not None:
            clip = load_clip(settings.clip, manifest.robot)
            check_clip_feeds(manifest, mode, clip)
            yield Check("clip", True, f"{clip.duration_s:.1f} s at {clip.fps:.2f} Hz", "a valid motion", "")
    except BridgeError as error:
        yield Check(error.what, False, error.found, error.expected, error.what_to_do)


def check_robot(settings: RunSettings, robot: Robot) -> Iterator[Check]:
    """The robot on the network: watched for a second, nothing is written."""
    profile = PROFILES["unitree-mujoco" if settings.target == "unitree-mujoco" else "unitree"]
    where = f"domain {settings.domain}, interface {settings.interface or 'lo'}"
    try:
        dds = DdsSettings(settings.domain, settings.interface, settings.peers)
        bus = UnitreeBus(dds, robot.wire, robot.motors, profile, "exoactor-check")
    except BridgeError as error:
        yield Check(error.what, False, error.found, error.expected, error.what_to_do)
        return
    try:
        received, rejected = _watch(bus)
        yield Check("robot state", received > 0, f"{received} states in {WATCH_S:.0f} s on {where}", "some",
                    "check power, cable, interface and domain")
        if not received:
            return
        expected = GATE_HZ * WATCH_S * (0.4 if profile.simulator_only else 1)
        lost = max(0.0, 1 - received / expected)
        yield Check("states lost", lost <= LOST_RATIO, f"{100 * lost:.1f} %", f"<= {100 * LOST_RATIO:.0f} %",
                    "use a cable, look at the load of this computer", False)
        yield Check("state CRC", rejected == 0, f"{rejected} wrong", "0", "is this the robot's own message type?")
        yield from _check_sample(bus, robot, profile.simulator_only)
        others = bus.other_writers()
        yield Check("other commander", not others, "; ".join(others) or "none", "none",
                    "stop the other controller and the robot's own motion service")
    finally:
        bus.close()


def _watch(bus: UnitreeBus) -> tuple[int, int]:
    received = rejected = 0
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline and received == 0:
        if bus.wait(0.1):
            received += bus.read() is Reading.NEW
    received = 0
    end = time.monotonic() + WATCH_S
    while time.monotonic() < end:
        bus.wait(0.01)
        reading = bus.read()
        received += reading is Reading.NEW
        rejected += reading is Reading.REJECTED
    return received, rejected


def _check_sample(bus: UnitreeBus, robot: Robot, unchecked: bool) -> Iterator[Check]:
    sample = bus.sample
    mode = int(sample.mode_machine[0])
    yield Check("mode_machine", unchecked or mode in robot.mode_machine, str(mode), f"one of {robot.mode_machine}",
                "choose the controller of this variant")
    accel = [float(x) for x in sample.accel]
    size = math.sqrt(sum(x * x for x in accel))
    w, x, y, z = (float(part) for part in sample.quat_wxyz)
    up = (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y))
    cosine = sum(a * b for a, b in zip(accel, up, strict=True)) / max(size, 1e-9)
    angle = math.acos(min(max(cosine, -1.0), 1.0))
    yield Check("IMU against gravity", size > 1 and angle <= GRAVITY_RAD,
                f"{math.degrees(angle):.1f} deg" if size > 1 else "no gravity",
                f"<= {math.degrees(GRAVITY_RAD):.0f} deg", "axes or quaternion order are not as assumed")
    tilt = math.acos(min(max(up[2], -1.0), 1.0))
    yield Check("upright", tilt <= robot.limits.tilt_rad, f"{math.degrees(tilt):.1f} deg",
                f"<= {math.degrees(robot.limits.tilt_rad):.0f} deg", "hang or stand the robot upright")
    beyond = [
        joint.name for joint in robot.joints
        if not joint.lower_rad - RANGE_SLACK_RAD <= float(sample.q[joint.motor]) <= joint.upper_rad + RANGE_SLACK_RAD
    ]
    yield Check("joints within range", not beyond, ", ".join(beyond) or "all", f"range + {RANGE_SLACK_RAD} rad",
                "check joint order and zero positions")
    moving = float(abs(sample.dq).max())
    yield Check("joints at rest", moving < 1.0, f"{moving:.2f} rad/s", "< 1 rad/s", "let the robot come to rest")
    hottest = int(sample.temperature_c.max())
    yield Check("motor temperature", hottest < HOT_C, f"{hottest} C", f"< {HOT_C} C", "let the motors cool")
    errors = [joint.name for joint in robot.joints if int(sample.motor_error[joint.motor])]
    yield Check("motor errors", not errors, ", ".join(errors) or "none", "none", "clear the motors' errors")
    pressed = buttons_in(int(sample.remote[2]), int(sample.remote[3]))
    stop = any(pressed & button_mask(keys) == button_mask(keys) for keys in robot.estop_buttons)
    yield Check("stop combination released", not stop, f"buttons {pressed:#06x}", "not pressed", "release the remote")
