"""A USB gamepad read from the kernel's own interface, without a library.

`/dev/input/eventN` hands out `struct input_event` (linux/input.h); names of buttons and axes follow the kernel's
gamepad specification (Documentation/input/gamepad.rst). The kernel tells changes only, so a pad is alive as long as its
file is: unplugging it ends the file.
"""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

EVENT = struct.Struct("llHHi")
EV_SYN, EV_KEY, EV_ABS = 0, 1, 3
SYN_DROPPED = 3
BTN_EAST, BTN_GAMEPAD, BTN_TL, BTN_TR, BTN_START = 0x131, 0x130, 0x136, 0x137, 0x13B
ABS_X, ABS_Y, ABS_RX = 0, 1, 3
DEADMAN, ENGAGE, RESUME, STOP = BTN_TL, BTN_TR, BTN_START, BTN_EAST
"""Left shoulder is held to run, right shoulder engages, START hands back, the right one of the four (B, circle)
stops."""
MOST_SPEED = (0.8, 0.4, 1.0)
"""vx, vy (m/s), yaw rate (rad/s) at a stick's end: left stick walks, right stick turns."""
DEAD_ZONE = 0.1
PLAIN_RANGE = (-32768, 32767)
MOST_EVENTS = 256
RETRY_NS = 1_000_000_000
INPUT_CLASS = Path("/sys/class/input")
_EVIOCGKEY_BYTES = 96
_EVIOCGKEY = 2 << 30 | _EVIOCGKEY_BYTES << 16 | ord("E") << 8 | 0x18
_ABS_INFO = struct.Struct("6i")


def _eviocgabs(axis: int) -> int:
    return 2 << 30 | _ABS_INFO.size << 16 | ord("E") << 8 | 0x40 + axis


def has_key(capabilities: str, code: int) -> bool:
    """Whether `capabilities/key` of an input device in sysfs names a key: words of 64 bits, the highest first."""
    words = capabilities.split()
    place, bit = divmod(code, 64)
    try:
        return place < len(words) and bool(int(words[-1 - place], 16) >> bit & 1)
    except ValueError:
        return False


def find_gamepad(input_class: Path = INPUT_CLASS) -> str | None:
    """The first gamepad of this computer as `/dev/input/eventN`."""
    for folder in sorted(input_class.glob("event*"), key=lambda path: (len(path.name), path.name)):
        try:
            capabilities = (folder / "device/capabilities/key").read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            continue
        if has_key(capabilities, BTN_GAMEPAD):
            return f"/dev/input/{folder.name}"
    return None


@dataclass
class Pad:
    """Buttons and sticks as the events tell them.

    Attributes:
        ranges: least and greatest number of each axis.
        gestures: counts presses of the engage button; resumes: of the one that hands back.
        stops: counts presses of the stop button.
        is_behind: the kernel dropped events: ask the device again.
    """

    ranges: dict[int, tuple[int, int]] = field(default_factory=dict)
    gestures: int = 0
    resumes: int = 0
    stops: int = 0
    is_behind: bool = False
    _down: set[int] = field(default_factory=set)
    _axes: dict[int, int] = field(default_factory=dict)
    _rest: bytes = b""

    def feed(self, data: bytes) -> None:
        """Take in bytes of the device's file; an event may come in pieces."""
        data = self._rest + data
        whole = len(data) - len(data) % EVENT.size
        for _, _, kind, code, value in EVENT.iter_unpack(data[:whole]):
            if kind == EV_KEY:
                self._key(code, value)
            elif kind == EV_ABS:
                self._axes[code] = value
            elif kind == EV_SYN and code == SYN_DROPPED:
                self.is_behind = True
                self.let_go()
        self._rest = data[whole:]

    def _key(self, code: int, value: int) -> None:
        if value == 0:
            self._down.discard(code)
        elif code not in self._down:  # 2 is the kernel's key repeat
            self._down.add(code)
            self.gestures += code == ENGAGE
            self.resumes += code == RESUME
            self.stops += code == STOP

    def press(self, bitmap: bytes) -> None:
        """Take over what is held down now, as EVIOCGKEY gives it."""
        for code in (DEADMAN, ENGAGE, RESUME, STOP):
            if code // 8 < len(bitmap) and bitmap[code // 8] >> code % 8 & 1:
                self._down.add(code)

    def let_go(self) -> None:
        """Nothing held, sticks at rest."""
        self._down.clear()
        self._axes.clear()

    @property
    def held(self) -> bool:
        """The dead-man."""
        return DEADMAN in self._down

    @property
    def is_stop_down(self) -> bool:
        return STOP in self._down

    @property
    def command(self) -> tuple[float, float, float]:
        """vx, vy (m/s), yaw rate (rad/s); sticks to the left and forward are positive."""
        forward, left, turn = MOST_SPEED
        return (-self._deflection(ABS_Y) * forward, -self._deflection(ABS_X) * left, -self._deflection(ABS_RX) * turn)

    def _deflection(self, axis: int) -> float:
        """-1 to 1, 0 within the dead zone and before the axis was heard of."""
        least, greatest = self.ranges.get(axis, PLAIN_RANGE)
        if axis not in self._axes or greatest <= least:
            return 0.0
        part = 2.0 * (self._axes[axis] - least) / (greatest - least) - 1.0
        part = min(max(part, -1.0), 1.0)
        return 0.0 if abs(part) < DEAD_ZONE else part


class Gamepad:
    """The device: opened when it is there, closed when it goes, looked for once a second.

    Args:
        path: its file, or None for the first gamepad found.

    Attributes:
        pad: its buttons and sticks; all at rest while it is not there.
        plugs: counts how often it was opened.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._descriptor = -1
        self._tried_ns: int | None = None
        self.pad = Pad()
        self.plugs = 0

    @property
    def is_open(self) -> bool:
        return self._descriptor >= 0

    def fileno(self) -> int:
        return self._descriptor

    def pump(self, now_ns: int) -> None:
        """Take in what happened since the last call, at most `MOST_EVENTS`."""
        if not self.is_open and (self._tried_ns is None or now_ns - self._tried_ns >= RETRY_NS):
            self._tried_ns = now_ns
            self._open()
        if not self.is_open:
            return
        try:
            data = os.read(self._descriptor, MOST_EVENTS * EVENT.size)
        except BlockingIOError:
            return
        except OSError:  # ENODEV: unplugged
            data = b""
        if not data:
            self.close()
            return
        self.pad.feed(data)
        if self.pad.is_behind:
            self._ask()

    def _open(self) -> None:
        path = self._path or find_gamepad()
        if path is None:
            return
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return
        self.plugs += 1
        for axis in (ABS_X, ABS_Y, ABS_RX):
            try:
                answer = fcntl.ioctl(self._descriptor, _eviocgabs(axis), bytes(_ABS_INFO.size))
            except OSError:
                continue  # a device without the axis
            _, least, greatest, *_ = _ABS_INFO.unpack(answer)
            self.pad.ranges[axis] = (least, greatest)
        self._ask()

    def _ask(self) -> None:
        self.pad.is_behind = False
        try:
            self.pad.press(fcntl.ioctl(self._descriptor, _EVIOCGKEY, bytes(_EVIOCGKEY_BYTES)))
        except OSError:
            return  # not an input device: it goes on from everything released

    def close(self) -> None:
        """Let the device go; whatever was held counts as released."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self.pad.let_go()
