"""The robot's own motion service: asked whether it is active, and what a simulated robot answers.

While it is active it commands the motors itself, from inside the robot, where no second DDS writer shows. Unitree's
motion switcher tells: api 1001, CheckMode, answers `{"form": ..., "name": MODE}` with an empty name once everything is
released (unitreerobotics/unitree_sdk2_python `unitree_sdk2py/comm/motion_switcher/motion_switcher_client.py`, topics
`unitree_sdk2py/core/channel_name.py`, codes `unitree_sdk2py/rpc/internal.py`). Only ever asked here, never released:
releasing takes the strength out of a standing robot, which is a person's decision.
"""

from __future__ import annotations

import json
import secrets
import time

from firmware_bridge.dds import Participant
from firmware_bridge.dds_message import REQUEST, RESPONSE, ApiMessage

REQUEST_TOPIC, RESPONSE_TOPIC = "rt/api/motion_switcher/request", "rt/api/motion_switcher/response"
CHECK_MODE = 1001
OK, NOT_IMPLEMENTED = 0, 3203
ASK_AGAIN_S, POLL_S = 0.25, 0.005


class MotionServiceClient:
    """Asks a robot's motion switcher.

    Attributes:
        mode: name of the active mode, "" when everything is released, None while there is no answer.
        error: what was wrong with the newest answer, or "".
    """

    def __init__(self, participant: Participant) -> None:
        self._writer = participant.api_writer(REQUEST_TOPIC, REQUEST)
        self._reader = participant.api_reader(RESPONSE_TOPIC, RESPONSE)
        self._id = secrets.randbits(62)
        self._next_s = 0.0
        self.mode: str | None = None
        self.error = ""

    def pump(self, now_s: float) -> bool:
        """Asks, again and again, as long as nobody answered; true once somebody did. Never waits."""
        while self.mode is None and (message := self._reader.take()) is not None:
            if message.id == self._id:
                self.mode, self.error = read_mode(message)
        is_heard = self._writer.matched() > 0 and self._reader.matched() > 0
        if self.mode is None and is_heard and now_s >= self._next_s:
            self._next_s = now_s + ASK_AGAIN_S
            self._writer.write(ApiMessage(self._id, CHECK_MODE, "{}"))
        return self.mode is not None

    def ask(self, timeout_s: float) -> str | None:
        """`mode`, waited for."""
        end = time.monotonic() + timeout_s
        while not self.pump(time.monotonic()) and time.monotonic() < end:
            time.sleep(POLL_S)
        return self.mode


def read_mode(response: ApiMessage) -> tuple[str | None, str]:
    """The active mode out of an answer, or None and what is wrong with it."""
    if response.code != OK:
        return None, f"the motion switcher answers with error {response.code}"
    try:
        name = json.loads(response.text)["name"]
    except (ValueError, KeyError, TypeError, RecursionError):
        name = None
    if not isinstance(name, str):
        return None, f"the motion switcher answers {response.text[:80]!r}"
    return name, ""


class SimulatedMotionService:
    """The switcher of a simulated robot.

    Args:
        mode: what it says is active; "" for nothing.
    """

    def __init__(self, participant: Participant, mode: str = "") -> None:
        self._reader = participant.api_reader(REQUEST_TOPIC, REQUEST)
        self._writer = participant.api_writer(RESPONSE_TOPIC, RESPONSE)
        self._mode = mode

    def pump(self) -> None:
        """Answer one request, if there is one."""
        request = self._reader.take()
        if request is None:
            return
        knows = request.api_id == CHECK_MODE
        text = json.dumps({"form": "0", "name": self._mode}) if knows else ""
        self._writer.write(ApiMessage(request.id, request.api_id, text, OK if knows else NOT_IMPLEMENTED))
