"""Turns on a bus with one pair of wires: one question, its answers, the next question; nobody waits in vain for long.

Every turn ends at an absolute time, so a drive that says nothing costs its own turn and no other's; one that has said
nothing for a while is asked only now and then. What a cycle did not come to is first in the next.
"""

from __future__ import annotations

from collections import deque

from firmware_bridge.drives.language import Language
from firmware_bridge.serial_port import SerialPort

BITS_A_BYTE = 10
"""On the line: a start bit, eight of data, a stop bit."""
PATIENCE, SELDOM = 5, 8
"""After so many turns without any answer a question is asked in every eighth cycle only; more seldom, and who is back
would count as lost. One to many drives of which one says nothing is not that."""


class Turns:
    """The questions of one port.

    Attributes:
        expired: turns that ended without their answers, counted.
        put_off: questions that a cycle did not come to, counted.
    """

    def __init__(self, language: Language) -> None:
        self._language = language
        self._turn_ns = round(language.turn_s * 1e9)
        self._byte_ns = round(BITS_A_BYTE * 1e9 / language.baud)
        self._queue: deque[tuple[int, bytes]] = deque()
        self._silent: dict[int, int] = {}
        self._asked, self._is_once, self._has_heard = -1, False, False
        self._due_ns = self._line_free_ns = 0
        self._cycle = 0
        self.expired = self.put_off = 0

    @property
    def is_saying(self) -> bool:
        """Whether something that is said once has not been said to its end; `Language.ask` has to wait for that."""
        return self._is_once and bool(self._queue)

    def say_once(self, questions: list[bytes]) -> None:
        """Instead of what waits: gives or takes torque, all of it, however many cycles that takes."""
        self._is_once = True
        self._queue.clear()
        self._queue.extend(enumerate(questions))

    def begin(self, questions: list[bytes]) -> None:
        """A new cycle: the questions that every cycle has, each at its place in the list."""
        self._cycle += 1
        left = [] if self._is_once else [at for at, _ in self._queue]
        self.put_off += len(left)
        start = left[0] if left else 0
        order = [*range(start, len(questions)), *range(min(start, len(questions)))]
        self._is_once = False
        self._queue.clear()
        self._queue.extend((at, questions[at]) for at in order if self._is_worth_it(at))

    def _is_worth_it(self, at: int) -> bool:
        return self._silent.get(at, 0) < PATIENCE or (self._cycle + at) % SELDOM == 0

    def advance(self, port: SerialPort, now_ns: int) -> int:
        """Hear what came, ask what may be asked; when the present turn ends, monotonic ns, or 0 when all is done."""
        language = self._language
        data = port.read()
        if data:
            self._has_heard |= language.hear(data, now_ns) > 0
        while port.is_open:
            if self._due_ns:
                is_over = language.is_answered()
                if not is_over and now_ns < self._due_ns:
                    return self._due_ns
                self.expired += not is_over
                if self._asked >= 0:
                    is_silent = not is_over and not self._has_heard
                    self._silent[self._asked] = self._silent.get(self._asked, 0) + 1 if is_silent else 0
                self._due_ns = 0
            if not self._queue:
                return 0
            turn, question = self._queue.popleft()
            self._asked = -1 if self._is_once else turn
            self._has_heard = False
            language.begin(turn)
            port.write(question)
            self._due_ns = max(self._line_free_ns, now_ns) + self._turn_ns
            self._line_free_ns = max(self._line_free_ns, now_ns) + self._byte_ns * len(question)
        self.forget()
        return 0

    def forget(self) -> None:
        """The port is gone or was opened anew: nothing is due, nothing waits."""
        self._queue.clear()
        self._is_once = False
        self._due_ns = self._line_free_ns = 0
        self._silent.clear()
