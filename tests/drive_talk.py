"""A language and its far end joined by a wire in memory: no port, no thread, a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from firmware_bridge.drives.language import Language
from firmware_bridge.emulated_drives import EmulatedMotors, Motor
from firmware_bridge.motor_bus import KD, KP, Q

PERIOD_S = 0.004
Wire = Callable[[bytes], bytes]


class Talk:
    """Cycles of one port.

    Attributes:
        there, back: what becomes of bytes on their way; a test puts damage here.
        now_ns: of the test's clock, which `cycle` moves on.
    """

    def __init__(self, language: Language, far_end: Any, motors: EmulatedMotors) -> None:
        self.language, self.far_end, self.motors = language, far_end, motors
        self.there: Wire = bytes
        self.back: Wire = bytes
        self.now_ns = 1_000_000_000

    def exchange(self, data: bytes, is_enough: Callable[[bytes], bool], longest_s: float) -> bool:
        answer = self.back(self.far_end.feed(self.there(data)))
        return bool(answer) and is_enough(answer)

    def send(self, questions: list[bytes]) -> int:
        """The questions of one cycle, turn by turn; how many answers counted."""
        answers = 0
        for turn, question in enumerate(questions):
            self.language.begin(turn)
            answers += self.language.hear(self.back(self.far_end.feed(self.there(question))), self.now_ns)
        return answers

    def cycle(self, block: np.ndarray, times: int = 1) -> int:
        """Ask with some targets and let a period pass, again and again; answers of the last."""
        answers = 0
        for _ in range(times):
            answers = self.send(self.language.ask(block))
            self.wait()
        return answers

    def wait(self, seconds: float = PERIOD_S) -> None:
        """Let the motors run."""
        for _ in range(round(seconds / 0.001)):
            self.motors.step(0.001)
        self.now_ns += round(seconds * 1e9)


def motors_of(count: int) -> EmulatedMotors:
    """Motors heavy enough for gains of some tens."""
    return EmulatedMotors([Motor(inertia=0.02) for _ in range(count)])


def targets(q: list[float], kp: float = 20.0, kd: float = 1.0) -> np.ndarray:
    """(n, 5) where to be."""
    block = np.zeros((len(q), 5))
    block[:, Q], block[:, KP], block[:, KD] = q, kp, kd
    return block
