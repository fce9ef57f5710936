"""What reaches a host of serial drives: bytes of drives and IMUs, wiring files; what reaches a far end from its host.

No bytes of a line may raise, not even a refusal, and none may yield a state that is not finite or a turn that is none.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from firmware_bridge.drives.language import DriveStates, Language
from firmware_bridge.drives.protocols import PROTOCOLS, make_far_end, make_language, make_maintenance
from firmware_bridge.drives.xsens import make_data
from firmware_bridge.drives.xsens_far_end import XsensFarEnd
from firmware_bridge.drives.xsens_imu import XsensImu
from firmware_bridge.emulated_drives import EmulatedMotors, Motor
from firmware_bridge.errors import BridgeError
from firmware_bridge.wiring import SHIPPED_WIRINGS
from tests.serial_models import MODELS, some_drives

STILL = np.array([1, 0, 0, 0, 0, 0, 0, 0, 0, 9.81])
NAMES = [name for name in PROTOCOLS if name in MODELS]
MOTORS = 3


def _ends(protocol: str) -> tuple[Language, Any, EmulatedMotors]:
    drives, motors = some_drives(protocol), EmulatedMotors([Motor()] * MOTORS)
    return make_language(protocol, drives), make_far_end(protocol, drives, motors, list(range(MOTORS))), motors


def _cycle(language: Language) -> list[bytes]:
    asked = [*language.enabling(), *language.ask(np.zeros((MOTORS, 5)))]
    language.begin(0)
    return asked


def _check(states: DriveStates) -> None:
    if not (np.isfinite(states.q).all() and np.isfinite(states.dq).all() and np.isfinite(states.tau).all()):
        raise AssertionError("a state that is not finite")


def eat_line(protocol: str, data: bytes) -> None:
    """Heard as answers, whole and in pieces; then as a host's questions; then while connecting and scanning."""
    language, far_end, _ = _ends(protocol)
    _cycle(language)
    cut = len(data) // 3
    for now_ns, piece in enumerate((data, data[:cut], data[cut:], data), 1):
        before = language.states.answers.copy()
        language.hear(piece, now_ns)
        _check(language.states)
        if ((language.states.answers != before) != (language.states.answered_ns == now_ns)).any():
            raise AssertionError("an answer without its time, or a time without an answer")
    language.hear(far_end.feed(data), 9)
    _check(language.states)

    def exchange(question: bytes, is_enough: Callable[[bytes], bool], longest_s: float) -> bool:
        return is_enough(data)

    language.connect(exchange, 0.05)
    _check(language.states)
    upkeep = make_maintenance(protocol)
    with suppress(BridgeError):  # a firmware of another version
        upkeep.scan(exchange, [drive.id for drive in some_drives(protocol)])


def lines(protocol: str) -> list[bytes]:
    """Both sides of a connection and of a cycle."""
    language, far_end, motors = _ends(protocol)
    said: list[bytes] = []

    def exchange(question: bytes, is_enough: Callable[[bytes], bool], longest_s: float) -> bool:
        answer = far_end.feed(question)
        said.extend(piece for piece in (question, answer) if piece)
        return bool(answer) and is_enough(answer)

    language.connect(exchange, 0.05)
    motors.q[:] = 0.5, -1.0, 2.0
    for question in _cycle(language):
        said.extend((question, far_end.feed(question)))
    return [b"".join(said), *[piece for piece in said if piece][-6:]]


def eat_imu(data: bytes) -> None:
    """Heard while it measures, while it connects, and by an emulated one."""
    imu = XsensImu()
    for now_ns, piece in enumerate((data, data[:7], data[7:]), 1):
        imu.hear(piece, now_ns)
    imu.hear(XsensFarEnd(lambda: STILL, lambda: 0.0).feed(data), 5)
    imu.connect(lambda question, is_enough, longest_s: is_enough(data))
    values = imu.state.values
    if not np.isfinite(values).all() or abs(np.linalg.norm(values[:4]) - 1) > 1e-6:
        raise AssertionError("a reading that is none")


def imu_lines() -> list[bytes]:
    """A host's configuration and what an IMU sends."""
    said: list[bytes] = []
    far_end = XsensFarEnd(lambda: STILL, lambda: 0.0)

    def exchange(question: bytes, is_enough: Callable[[bytes], bool], longest_s: float) -> bool:
        answer = far_end.feed(question)
        said.extend((question, answer))
        return is_enough(answer)

    XsensImu().connect(exchange)
    return [b"".join(said), make_data(STILL, 1) + make_data(STILL, 2)]


def wirings() -> list[bytes]:
    """Those that ship."""
    return [path.read_bytes() for path in sorted(SHIPPED_WIRINGS.glob("*.json"))]


SERIAL_TARGETS: dict[str, tuple[Callable[[bytes], object], Callable[[], list[bytes]]]] = {
    **{f"serial_{name}": (partial(eat_line, name), partial(lines, name)) for name in NAMES},
    "serial_imu": (eat_imu, imu_lines),
}
