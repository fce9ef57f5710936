"""The policy as a process: reads the gate's state slot, writes the target slot, owns no way to command the robot.

    python -m runtime.policy_process SETTINGS.json
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from firmware_bridge.errors import BridgeError
from runtime.child_life import Life
from runtime.events import emit, emit_refusal
from runtime.faults import BIT, Mode
from runtime.loop_checks import Misses
from runtime.needs import stream_needs
from runtime.policy import Policy
from runtime.realtime import Metronome, freeze_garbage, go_real_time
from runtime.records import (
    OPERATOR_DTYPE,
    POLICY_RING,
    STREAM_DTYPE,
    STREAM_RING,
    status_dtype,
    stream_dtype,
    target_dtype,
)
from runtime.settings import RunSettings
from runtime.slots import Ring, Slot
from runtime.state import RobotState

PRIORITY, CORE = 60, 0


class PolicyProcess:
    """The policy between its slots.

    Args:
        settings: of the run; `shared` holds the slots.
        policy: what is ticked.

    Attributes:
        target: what the gate reads.
    """

    def __init__(self, settings: RunSettings, policy: Policy) -> None:
        robot = policy.manifest.robot
        shared, run = Path(settings.shared), settings.run
        self._policy = policy
        self._status = Slot(shared / "status", status_dtype(robot.motors), run)
        self.target = Slot(shared / "target", target_dtype(robot.motors), run)
        self._operator: Slot | None = None
        self._stream: Ring | None = None
        if settings.has_operator:
            self._operator = Slot(shared / "operator", OPERATOR_DTYPE, run)
            self._stream = Ring(shared / "stream_ring", stream_dtype(len(robot.joints)), run, STREAM_RING)
        if settings.is_streamed:
            size = stream_needs(policy.manifest, policy.controller.mode, has_hands=settings.hands is not None)[0].size
            self._stream = Ring(shared / "own_stream_ring", stream_dtype(len(robot.joints), size), run, STREAM_RING)
        self._planner = Slot(shared / "stream", STREAM_DTYPE, run) if policy.planner is not None else None
        self._hands: Slot | None = None
        if policy.hands is not None:
            self._hands = Slot(shared / "hands", policy.hands.record.dtype, run)
        self._ring = Ring(shared / "policy_ring", policy.log.dtype, run, POLICY_RING, create=True)
        self._state = RobotState(robot.motors)
        self._misses = Misses(robot.limits, round(1e9 / policy.manifest.rate_hz))

    def tick(self, now_ns: int, late_ns: int, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """One control period that began at `now_ns`, so much later than it should have.

        The mode is read before the operator's record: a gesture is written before the gate acts on it.
        """
        policy, status, target = self._policy, self._status, self.target
        if status.read():
            self._state.record[0] = status.record["state"][0]
        mode = Mode(int(status.record["mode"][0]))
        if self._operator is not None and self._operator.read():
            policy.helm.operator[0] = self._operator.record[0]
        if self._stream is not None and policy.stream is not None:
            self._stream.drain(policy.stream.take)
        if self._planner is not None and self._planner.read():
            policy.heard[0] = self._planner.record[0]
        policy.tick(mode, self._state, clock())
        if self._hands is not None and policy.hands is not None:
            self._hands.record[0] = policy.hands.record[0]
            self._hands.publish()
        target.record[0] = policy.target[0]
        target.record["flags"] |= np.uint64(self._misses.look(clock() - now_ns))
        target.publish()
        policy.write_log(mode, now_ns, late_ns, clock() - now_ns)
        self._ring.record[0] = policy.log[0]
        self._ring.push()
        while policy.helm.notices:
            emit("warning", message=policy.helm.notices.popleft())


def main(argv: list[str]) -> int:
    """Entry of the process."""
    life = Life(argv)
    settings = life.settings
    try:
        policy = Policy(settings)
    except BridgeError as error:
        emit_refusal(error)
        return 2
    # Only now: loading a model takes tens of milliseconds, which at this priority would stall whoever else is armed.
    if settings.real_time:
        for line in go_real_time(PRIORITY, CORE):
            emit("warning", message=f"policy without {line}")
    process = PolicyProcess(settings, policy)
    emit("ready", joints=len(policy.manifest.order), observation=int(policy.log["observation"].size),
         estimate=policy.estimate_size, backend=policy.backend, backend_note=policy.backend_note,
         hand_events=[] if policy.hands is None else policy.hands.events)
    for line in policy.warnings:
        emit("warning", message=line)
    freeze_garbage()
    metronome = Metronome(round(1e9 / policy.manifest.rate_hz))
    try:
        while not life.is_over:
            now = metronome.wait()
            process.tick(now, metronome.late_ns)
    except Exception as error:  # the gate damps at once instead of waiting for the target to grow old
        process.target.record["flags"] = BIT["POLICY_FAULT"]
        process.target.publish()
        emit("error", message=f"{type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
