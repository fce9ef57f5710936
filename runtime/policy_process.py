"""The policy as a process: reads the gate's state slot, writes the target slot, owns no way to command the robot.

    python -m runtime.policy_process SETTINGS.json
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from runtime.events import emit
from runtime.faults import Mode
from runtime.loop_checks import Misses
from runtime.needs import stream_needs
from runtime.policy import Policy
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
from runtime.target_process import run_maker


class PolicyProcess:
    """The policy between its slots.

    Args:
        settings: of the run; `shared` holds the slots.
        policy: what is ticked.

    Attributes:
        target: what the gate reads.
        period_ns, ready, warnings: see `target_process.Maker`.
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
        self.period_ns = round(1e9 / policy.manifest.rate_hz)
        self._misses = Misses(robot.limits, self.period_ns)

    @property
    def warnings(self) -> tuple[str, ...]:
        """For the operator."""
        return self._policy.warnings

    @property
    def ready(self) -> dict[str, Any]:
        """Sizes of the log's records, and on what the networks run."""
        policy = self._policy
        return {"joints": len(policy.manifest.order), "observation": int(policy.log["observation"].size),
                "estimate": policy.estimate_size, "backend": policy.backend, "backend_note": policy.backend_note,
                "hand_events": [] if policy.hands is None else policy.hands.events}

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


def open_policy(settings: RunSettings) -> PolicyProcess:
    """The run's policy, loaded, between its slots.

    Raises:
        BridgeError: what does not fit.
    """
    return PolicyProcess(settings, Policy(settings))


def main(argv: list[str]) -> int:
    """Entry of the process."""
    return run_maker("policy", argv, open_policy)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
