"""This computer before a run: rights, room, clock, speed, network."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime.preflight import Check
from runtime.realtime import may_use_fifo

FREE_DISK_BYTES = 2 << 30
FREE_SHARED_BYTES = 64 << 20
FIFO_PRIORITY = 80
SYS, PROC = Path("/sys"), Path("/proc")
_COOLS_BY_SLOWING = ("cpu", "gpu", "processor", "throttle")
"""What the kernel calls the cooling devices that slow something down; the others are fans."""


@dataclass(frozen=True)
class Interface:
    """A network interface as the kernel sees it."""

    name: str
    is_up: bool
    has_default_route: bool


@dataclass(frozen=True)
class Machine:
    """What was read of this computer.

    Attributes:
        wall_behind_s: by how much the wall clock is older than the installed files.
        governors: of the processors' clocks; empty where the kernel does not tell.
        slowed: cooling devices that slow this computer down now; None where the kernel does not tell.
        interface: the one that leads to the robot, None for loopback.
    """

    python: tuple[int, int, int]
    has_fifo: bool
    may_lock: bool
    cores: int
    shared_free: int
    disk_free: int
    wall_behind_s: float
    governors: tuple[str, ...] = ()
    slowed: tuple[str, ...] | None = None
    interface: Interface | None = None


def read_machine(out: Path, interface: str | None, sys_root: Path = SYS, proc_root: Path = PROC) -> Machine:
    """Look at this computer; `out` is where a run will write."""
    version = sys.version_info
    return Machine(
        python=(version.major, version.minor, version.micro),
        has_fifo=may_use_fifo(FIFO_PRIORITY),
        may_lock=os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY,
        cores=len(os.sched_getaffinity(0)),
        shared_free=shutil.disk_usage("/dev/shm").free,
        disk_free=shutil.disk_usage(_existing(out)).free,
        wall_behind_s=Path(__file__).stat().st_mtime - time.time(),
        governors=read_governors(sys_root),
        slowed=read_slowed(sys_root),
        interface=None if interface in (None, "lo") else read_interface(str(interface), sys_root, proc_root),
    )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    folder = folder.absolute()
    return folder if folder.exists() else next(above for above in folder.parents if above.exists())


def read_governors(sys_root: Path) -> tuple[str, ...]:
    """The processors' frequency governors, each named once."""
    files = (sys_root / "devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return tuple(sorted({text for file in files if (text := _text(file))}))


def read_slowed(sys_root: Path) -> tuple[str, ...] | None:
    """Cooling devices that slow a processor down now, or None where there is none."""
    slowed, knows = [], False
    for folder in sorted((sys_root / "class/thermal").glob("cooling_device*")):
        kind, state = _text(folder / "type"), _text(folder / "cur_state")
        if not any(word in kind.lower() for word in _COOLS_BY_SLOWING) or not state.isdigit():
            continue
        knows = True
        if int(state):
            slowed.append(f"{kind} by {state}")
    return tuple(slowed) if knows else None


def read_interface(name: str, sys_root: Path, proc_root: Path) -> Interface:
    """State and default route of an interface; one that is not there is down."""
    is_up = _text(sys_root / "class/net" / name / "operstate") in ("up", "unknown")
    rows = [line.split() for line in _text(proc_root / "net/route").splitlines()[1:]]
    rows6 = [line.split() for line in _text(proc_root / "net/ipv6_route").splitlines()]
    has4 = any(row[:2] == [name, "00000000"] for row in rows)
    # Destination and length zero; flag 0x200 (RTF_REJECT) is the kernel's own "nowhere", on every machine.
    has6 = any(len(row) == 10 and row[9] == name and row[1] == "00" and set(row[0]) == {"0"}
               and not int(row[8], 16) & 0x200 for row in rows6)
    return Interface(name, is_up, has4 or has6)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def check_machine(machine: Machine, *, strict: bool) -> Iterator[Check]:
    """Judge it. `strict` for a real robot: what is missing of real time is then red."""
    version = ".".join(str(part) for part in machine.python)
    yield Check("python", machine.python >= (3, 10), version, ">= 3.10", "install Python 3.10 or newer")
    yield Check("real-time scheduling", machine.has_fifo, "permitted" if machine.has_fifo else "not permitted",
                f"SCHED_FIFO {FIFO_PRIORITY}",
                "add `@realtime - rtprio 90` to /etc/security/limits.conf and join the group", strict)
    yield Check("locked memory", machine.may_lock, "unlimited" if machine.may_lock else "limited", "unlimited",
                "add `@realtime - memlock unlimited` to /etc/security/limits.conf", strict)
    yield Check("processor cores", machine.cores >= 2, str(machine.cores), ">= 2", "gate and policy need a core each",
                strict)
    yield Check("shared memory", machine.shared_free >= FREE_SHARED_BYTES, f"{machine.shared_free >> 20} MiB free",
                f">= {FREE_SHARED_BYTES >> 20} MiB", "empty /dev/shm or enlarge it")
    yield Check("disk for logs", machine.disk_free >= FREE_DISK_BYTES, f"{machine.disk_free >> 20} MiB free",
                f">= {FREE_DISK_BYTES >> 20} MiB", "make room: a run writes about 1 MiB a second")
    yield from _check_speed(machine)
    yield _check_wall_clock(machine)
    if machine.interface is not None:
        yield from _check_interface(machine.interface, strict)


def _check_speed(machine: Machine) -> Iterator[Check]:
    slow = [name for name in machine.governors if name != "performance"]
    yield Check("processor governor", not slow, ", ".join(machine.governors) or "not told by the kernel",
                "performance", "set it (on a Jetson: nvpmodel and jetson_clocks), or expect late ticks", False)
    told = "not told by the kernel" if machine.slowed is None else ", ".join(machine.slowed) or "nothing slowed"
    yield Check("thermal throttling", not machine.slowed, told, "nothing slowed", "let this computer cool", False)


def _check_wall_clock(machine: Machine) -> Check:
    behind_days = machine.wall_behind_s / 86400
    ok = behind_days <= 1
    return Check("wall clock", ok, "plausible" if ok else f"{behind_days:.0f} days before these files were installed",
                 "not before this software", "set the clock: reports carry its time; control does not use it", False)


def _check_interface(interface: Interface, strict: bool) -> Iterator[Check]:
    yield Check("network interface", interface.is_up, f"{interface.name} {'up' if interface.is_up else 'down'}", "up",
                "plug the robot's cable in, or name another --interface", strict)
    yield Check("robot network closed", not interface.has_default_route,
                f"{interface.name} {'carries' if interface.has_default_route else 'does not carry'} the default route",
                "no default route", "give the robot a network of its own: plain DDS lets anybody on it write", strict)
