"""The log as a process: drains the rings into an MCAP file, listens for a simulator's truth, touches nothing else.

    python -m runtime.telemetry SETTINGS.json
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.errors import BridgeError
from firmware_bridge.layout import GO_SPORT_MODE_STATE
from runtime.child_life import Life
from runtime.events import emit, emit_refusal
from runtime.hand import load_hand
from runtime.hand_slots import hand_ring
from runtime.log_file import LogWriter
from runtime.records import (
    GATE_RING,
    POLICY_RING,
    ROUTINE_RING,
    TRUTH_DTYPE,
    gate_log_dtype,
    policy_log_dtype,
    routine_dtype,
)
from runtime.robot import load_robot
from runtime.settings import SERIAL, RunSettings
from runtime.slots import Ring

POLL_S = 0.02
QUIET_S, LONGEST_S = 0.3, 6.0
TRUTH_TOPIC = "rt/sportmodestate"


class Truth:
    """Base position from `rt/sportmodestate`, where simulators publish it."""

    def __init__(self, settings: RunSettings) -> None:
        self._participant = Participant(
            DdsSettings(settings.domain, settings.interface, settings.peers), "exoactor-telemetry"
        )
        self._reader = self._participant.reader(TRUTH_TOPIC, GO_SPORT_MODE_STATE)
        view = GO_SPORT_MODE_STATE.view
        self._fields = {
            "position": view(self._reader.buffer, "position"),
            "velocity": view(self._reader.buffer, "velocity"),
            "quat_wxyz": view(self._reader.buffer, "imu_state.quaternion"),
        }
        self.record = np.zeros(1, TRUTH_DTYPE)
        self.record["foot_force_n"] = -1

    def take(self) -> bool:
        """A new record, stamped with its arrival."""
        if not self._reader.take():
            return False
        self.record["now_ns"] = time.monotonic_ns()
        for name, view in self._fields.items():
            self.record[name][0] = view
        return True

    def wait(self, timeout_s: float) -> None:
        """Until something arrives or the time is over."""
        self._reader.wait(timeout_s)


def main(argv: list[str]) -> int:
    """Entry of the process."""
    life = Life(argv)
    settings = life.settings
    robot = load_robot(settings.robot)
    shared = Path(settings.shared)
    types = {"gate": gate_log_dtype(robot.motors)}
    rings = {"gate": Ring(shared / "gate_ring", types["gate"], settings.run, GATE_RING)}
    about = asdict(settings)
    if settings.routine is None:
        types["policy"] = policy_log_dtype(robot.motors, settings.joints, settings.observation, settings.estimate,
                                           has_stream=settings.is_streamed)
        rings["policy"] = Ring(shared / "policy_ring", types["policy"], settings.run, POLICY_RING)
    else:
        types["routine"] = routine_dtype(robot.motors)
        rings["routine"] = Ring(shared / "routine_ring", types["routine"], settings.run, ROUTINE_RING)
        about |= json.loads(Path(settings.routine).read_bytes())["about"]
    if settings.hands is not None:
        rings["hands"] = hand_ring(shared, settings.run, load_hand(settings.hands))
        types["hands"] = rings["hands"].record.dtype
    try:
        truth = None if settings.target == SERIAL else Truth(settings)
    except BridgeError as error:
        emit_refusal(error)
        return 2
    log = LogWriter(Path(settings.out) / settings.log, about)
    for topic, dtype in types.items():
        log.add_channel(topic, dtype)
    log.add_channel("truth", TRUTH_DTYPE)
    emit("ready")
    last_data = stopped = time.monotonic()
    while True:
        if truth is not None:
            truth.wait(POLL_S)
        while truth is not None and truth.take():
            log.write("truth", truth.record.tobytes())
        now = time.monotonic()
        if sum(ring.drain(partial(log.write, topic)) for topic, ring in rings.items()):
            last_data = now
            log.flush()
        stopped = stopped if life.is_over else now
        if life.is_over and (now - last_data > QUIET_S or now - stopped > LONGEST_S):
            break
        if not life.is_over and now - last_data < POLL_S:
            time.sleep(POLL_S / 2)
    log.close()
    emit("done", bytes=log.written, lost={topic: ring.lost for topic, ring in rings.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
