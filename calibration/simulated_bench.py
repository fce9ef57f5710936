"""The simulated robot of a routine's run as a process, with the person who stands beside it.

    python -m calibration.simulated_bench OPTIONS of `exoactor sim`

Lines of standard input are questions (JSON), as a routine asks them; each is answered by an event once it is done.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from calibration.assistant import Assistant
from calibration.bench import Question
from calibration.conductor import RATE_HZ
from firmware_bridge.errors import BridgeError
from firmware_bridge.sim_command import add_arguments, run
from firmware_bridge.simulated_robot import SimulatedRobot
from runtime.events import emit, emit_refusal

LINE_BYTES, LOOK_TICKS = 1 << 16, 10


class Beside:
    """The simulated person, asked over standard input."""

    def __init__(self, robot: SimulatedRobot) -> None:
        self._assistant = Assistant(robot, 1 / RATE_HZ)
        self._question: Question | None = None
        self._heard, self._ticks = b"", 0
        os.set_blocking(sys.stdin.fileno(), False)

    def tick(self) -> None:
        """Once a control period."""
        self._ticks += 1
        if self._question is None:
            if self._ticks % LOOK_TICKS == 0:
                self._listen()
        elif self._assistant.look(self._question):
            self._question = None
            emit("answer", text=self._assistant.answer)

    def _listen(self) -> None:
        try:
            self._heard += os.read(sys.stdin.fileno(), LINE_BYTES)
        except BlockingIOError:
            return
        line, end, rest = self._heard.partition(b"\n")
        if end:
            self._heard = rest
            self._question = question_of(json.loads(line))


def question_of(data: dict[str, Any]) -> Question:
    """A question from what `vars` and JSON made of it."""
    known = {key: value for key, value in data.items() if key in Question.__dataclass_fields__}
    tilt = known.get("tilt_rad")
    return Question(**{**known, "tilt_rad": None if tilt is None else tuple(tilt),
                       "choices": tuple(known.get("choices", ())),
                       "places_rad": tuple((name, place) for name, place in known.get("places_rad", ()))})


def main(argv: list[str]) -> int:
    """Entry of the process."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        return run(args, lambda robot: Beside(robot).tick)
    except BridgeError as error:
        emit_refusal(error)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
