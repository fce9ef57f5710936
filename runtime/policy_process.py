"""The policy as a process: reads the gate's state slot, writes the target slot, owns no way to command the robot.

    python -m runtime.policy_process SETTINGS.json
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import FrameType

from firmware_bridge.errors import BridgeError
from runtime.events import emit, emit_refusal
from runtime.faults import BIT, Mode
from runtime.policy import Policy
from runtime.realtime import Metronome, die_with_parent, freeze_garbage, go_real_time
from runtime.records import POLICY_RING, status_dtype, target_dtype
from runtime.settings import RunSettings
from runtime.slots import Ring, Slot
from runtime.state import RobotState

PRIORITY, CORE = 60, 0
_stop = False


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _stop
    _stop = True


def main(argv: list[str]) -> int:
    """Entry of the process."""
    settings = RunSettings.load(Path(argv[0]))
    die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGTERM, _on_signal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        policy = Policy(settings)
    except BridgeError as error:
        emit_refusal(error)
        return 2
    # Only now: loading a model takes tens of milliseconds, which at this priority would stall whoever else is armed.
    if settings.real_time:
        for line in go_real_time(PRIORITY, CORE):
            emit("warning", message=f"policy without {line}")
    motors, shared = policy.manifest.robot.motors, Path(settings.shared)
    status = Slot(shared / "status", status_dtype(motors), settings.run)
    target = Slot(shared / "target", target_dtype(motors), settings.run)
    ring = Ring(shared / "policy_ring", policy.log.dtype, settings.run, POLICY_RING, create=True)
    emit("ready", joints=len(policy.manifest.order), observation=int(policy.log["observation"].size),
         estimate=policy.estimate_size, backend=policy.backend, backend_note=policy.backend_note)
    for line in policy.warnings:
        emit("warning", message=line)
    freeze_garbage()
    state = RobotState(motors)
    metronome = Metronome(round(1e9 / policy.manifest.rate_hz))
    try:
        while not _stop:
            now = metronome.wait()
            if status.read():
                state.record[0] = status.record["state"][0]
            mode = Mode(int(status.record["mode"][0]))
            policy.tick(mode, state, time.monotonic_ns())
            target.record[0] = policy.target[0]
            target.publish()
            policy.write_log(mode, now, metronome.late_ns, time.monotonic_ns() - now)
            ring.record[0] = policy.log[0]
            ring.push()
    except Exception as error:  # the gate damps at once instead of waiting for the target to grow old
        target.record["flags"] = BIT["POLICY_FAULT"]
        target.publish()
        emit("error", message=f"{type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
