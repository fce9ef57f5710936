"""A calibration routine as a process, in the policy's place: reads the gate's status slot, writes the target slot.

    python -m calibration.conductor_process SETTINGS.json

The file that the settings name as `routine` says which one, of which joints (see `order`). Each record goes to a ring,
from there to the raw recording; nothing is kept here. Lines of standard input are a person's answers.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from calibration.bench import Question
from calibration.command import ROUTINES
from calibration.conductor import RATE_HZ, Conductor
from runtime.deadman import remote_masks
from runtime.events import emit
from runtime.faults import Mode
from runtime.records import OPERATOR_DTYPE, ROUTINE_RING, routine_dtype, status_dtype, target_dtype
from runtime.robot import load_robot
from runtime.settings import RunSettings
from runtime.slots import Ring, Slot
from runtime.state import RobotState
from runtime.target_process import run_maker

TOLD_TICKS = 125
"""Progress is told four times a second."""
ANSWER_BYTES = 4096


class Hand:
    """The dead-man as this process sees it.

    Attributes:
        answers: how often its other button said that something is done.
    """

    def __init__(self, settings: RunSettings, status: Slot) -> None:
        self._status, self.answers = status, 0
        self._slot: Slot | None = None
        self._masks: tuple[int, int] | None = None
        self._was_done = False
        self._is_free = settings.deadman is None
        if settings.deadman is not None and settings.deadman.startswith("remote"):
            self._masks = remote_masks(settings.deadman)
        elif not self._is_free:
            self._slot = Slot(Path(settings.shared) / "operator", OPERATOR_DTYPE, settings.run)
        self.is_held = self._is_free

    def look(self) -> None:
        """Once a tick, after the status was read."""
        if self._masks is not None:
            held, done = self._masks
            buttons = int(self._status.record["buttons"][0])
            self.is_held = buttons & held == held
            is_done = buttons & done == done
            self.answers += is_done and not self._was_done
            self._was_done = is_done
        elif self._slot is not None and self._slot.read():
            record = self._slot.record
            self.is_held, self.answers = bool(record["held"][0]), int(record["engages"][0])


class ConductorProcess:
    """A conductor between its slots; see `target_process.Maker`."""

    def __init__(self, settings: RunSettings) -> None:
        order = json.loads(Path(settings.routine or "").read_bytes())
        robot = load_robot(settings.robot)
        routine = ROUTINES[order["routine"]](**order["parameters"])
        routine.prepare(robot, order["joints"], np.array(order["offsets"]))
        shared, run = Path(settings.shared), settings.run
        self._status = Slot(shared / "status", status_dtype(robot.motors), run)
        self.target = Slot(shared / "target", target_dtype(robot.motors), run)
        self._ring = Ring(shared / "routine_ring", routine_dtype(robot.motors), run, ROUTINE_RING, create=True)
        self._hand = Hand(settings, self._status)
        self.conductor = Conductor(routine, robot, lambda: self._hand.is_held, order["finished"])
        self.conductor.bench.sink = self._push
        self.period_ns = round(1e9 / RATE_HZ)
        self._state = RobotState(robot.motors)
        self._question: Question | None = None
        self._answers = self._said = self._ticks = 0
        self._told: tuple[Any, ...] = ()
        self._heard = b""
        os.set_blocking(sys.stdin.fileno(), False)

    @property
    def ready(self) -> dict[str, Any]:
        """Nothing that anybody has to know."""
        return {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """None."""
        return ()

    def _push(self, row: bytes) -> None:
        self._ring.record.view(np.uint8)[:] = np.frombuffer(row, np.uint8)
        self._ring.push()

    def tick(self, now_ns: int, late_ns: int) -> None:
        """One gate period."""
        status, conductor = self._status, self.conductor
        if status.read():
            self._state.record[0] = status.record["state"][0]
            conductor.bench.is_silent = bool(status.record["silent"][0])
            conductor.bench.temperature_c[:] = status.record["temperature_c"][0]
        self._hand.look()
        mode, cause = Mode(int(status.record["mode"][0])), int(status.record["cause"][0])
        conductor.tick(mode, self._state, time.monotonic_ns(), cause)
        self.target.record[0] = conductor.target[0]
        self.target.publish()
        self._ticks += 1
        self._attend()

    def _attend(self) -> None:
        """The person: what is asked, said, answered, and how far it is; after the target, which cannot wait."""
        bench = self.conductor.bench
        if bench.question is not self._question:
            self._question, self._answers = bench.question, self._hand.answers
            if bench.question is not None:
                emit("question", **vars(bench.question))
        if self._question is not None:
            answer = self._answer()
            if answer is not None and self._question.choices and answer not in self._question.choices:
                emit("said", text=f"answer with one of: {', '.join(self._question.choices)}")
            elif answer is not None:
                bench.question, bench.answer = None, answer
        if bench.silence_s > 0:
            emit("silence", seconds=bench.silence_s)
            bench.silence_s = 0.0
        while self._said < len(bench.said):
            emit("said", text=bench.said[self._said])
            self._said += 1
        if self._ticks % TOLD_TICKS == 0 or self.conductor.stopped or self.conductor.is_done:
            self._tell()

    def _answer(self) -> str | None:
        """What was answered to the question, None so far; by the dead-man's other button, or typed."""
        if self._hand.answers != self._answers:
            return ""
        try:
            self._heard += os.read(sys.stdin.fileno(), ANSWER_BYTES)
        except BlockingIOError:
            return None
        line, end, rest = self._heard.partition(b"\n")
        if not end:
            return None
        self._heard = rest
        return line.decode("utf-8", "replace").strip()

    def _tell(self) -> None:
        conductor = self.conductor
        now = (round(conductor.bench.progress, 3), self._hand.is_held, conductor.stopped, conductor.is_done)
        if now != self._told:
            self._told = now
            emit("routine", progress=now[0], is_held=now[1], stopped=now[2], is_done=now[3])


def main(argv: list[str]) -> int:
    """Entry of the process."""
    return run_maker("conductor", argv, ConductorProcess)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
