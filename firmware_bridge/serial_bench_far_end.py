"""The far end of the serial benchmark in a process of its own: emulated drives on a pty that stand still.

Its own cost would hide the hosts': so, once told to remember, it answers what it was asked before from memory. A host's
bytes are the same in every cycle, and so are the drives' states.
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from firmware_bridge.drives.protocols import make_far_end
from firmware_bridge.emulated_drives import EmulatedMotors, Motor
from firmware_bridge.errors import BridgeError
from firmware_bridge.serial_bench_drives import bench_drives

DAMAGE = {"moteus-fdcanusb": (b"rcv ", 20), "damiao-slcan": (b"t", 8), "dynamixel": (b"\xff\xff\xfd\x00", 12)}
"""How an answer begins, and which of its bytes is damaged."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """SCHED_FIFO where that is permitted, for both sides alike: other programs then cost neither of them anything."""
    before, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, before, priority)


class FarEndProcess:
    """That process, as a benchmark sees it.

    Attributes:
        path: of its port.
    """

    def __init__(self, protocol: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "firmware_bridge.serial_bench_far_end", protocol], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[1])
        self.path = self._line()

    def __enter__(self) -> FarEndProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._process.communicate()  # its input closes, and it ends

    def tell(self, what: str) -> str:
        """`remember`, `dead N`, `alive`, `damage` (the next answer) or `count`; bytes carried, once that is so."""
        assert self._process.stdin is not None
        self._process.stdin.write(what.encode() + b"\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode().strip()
        if not line:
            raise BridgeError("far end of the benchmark", expected="a process that answers", found="one that ended",
                              what_to_do="see what it printed")
        return line


def damaged(answer: bytes, protocol: str) -> bytes:
    """An answer whose first drive's frame is no longer whole; unchanged where it has none."""
    head, place = DAMAGE[protocol]
    at = answer.find(head)
    if at < 0 or at + place >= len(answer):
        return answer
    wrong = b"x" if protocol == "damiao-slcan" else bytes([answer[at + place] ^ 1])
    return answer[: at + place] + wrong + answer[at + place + 1 :]


def serve(protocol: str) -> None:
    """Answers on a pty, whose path it prints, and does what its input says until that closes."""
    drives = bench_drives(protocol)
    motors = EmulatedMotors([Motor() for _ in drives])
    far_end = make_far_end(protocol, drives, motors, list(range(len(drives))))
    master, slave = pty.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    print(os.ttyname(slave), flush=True)
    memory: dict[bytes, bytes] = {}
    remembers, is_damaging, carried = False, False, 0
    while True:
        ready = select.select([master, 0], [], [])[0]
        if master in ready:
            data = os.read(master, 65536)
            answer = memory.get(data) if remembers else None
            if answer is None:
                answer = memory[data] = far_end.feed(data)
            if is_damaging:
                hurt = damaged(answer, protocol)
                is_damaging, answer = hurt == answer, hurt
            carried += len(data) + len(answer)
            if answer:
                os.write(master, answer)
        elif 0 in ready:
            command = os.read(0, 100).decode().split()
            if not command:
                return
            remembers |= command[0] == "remember"
            is_damaging = command[0] == "damage"
            memory = memory if command[0] in ("damage", "count") else {}
            if command[0] == "dead":
                motors.is_dead[int(command[1])] = True
            elif command[0] == "alive":
                motors.is_dead[:] = False
            print(carried, flush=True)


if __name__ == "__main__":
    with undisturbed():
        serve(sys.argv[1])
