"""SONIC's stream as a process: ZeroMQ in, a ring of frames and a slot of gestures out. A high place in the normal
priority, below all that commands.

    python -m runtime.stream_process SETTINGS.json

After each look it rests at least as long as that took, so that a flood uses no more than half a core.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from firmware_bridge.errors import BridgeError
from runtime.child_life import Life
from runtime.events import emit, emit_refusal
from runtime.manifest import Manifest
from runtime.manifest_reader import load_manifest
from runtime.needs import mode_of, stream_needs
from runtime.realtime import go_first
from runtime.records import STREAM_DTYPE, STREAM_RING, stream_dtype
from runtime.settings import RunSettings
from runtime.slots import Ring, Slot
from runtime.stream_human import StreamHuman
from runtime.stream_intake import StreamIntake
from runtime.stream_socket import StreamSocket

LOOK_S, MOST = 0.005, 64
NICE = -10
"""What arrives while this process waits for its turn looks late; its looks are short, and bounded."""
COUNTS = ("messages", "frames", "malformed", "repeated", "overtaken", "missing", "restarts", "planner")


def default_q(manifest: Manifest) -> Any:
    """(n,) rad: the controller's pose in the order of the robot's table, zero for joints it does not have."""
    q = np.zeros(len(manifest.robot.joints))
    q[manifest.robot.order.index_of(manifest.order)] = manifest.default_pose
    return q


class StreamProcess:
    """Takes messages in and publishes what they say."""

    def __init__(self, settings: RunSettings, manifest: Manifest, socket: StreamSocket) -> None:
        has_hands = settings.hands is not None
        channels, _ = stream_needs(manifest, mode_of(manifest, settings.mode), has_hands=has_hands)
        shared, joints = Path(settings.shared), len(manifest.robot.joints)
        self._socket = socket
        self._ring = Ring(shared / "own_stream_ring", stream_dtype(joints, channels.size), settings.run, STREAM_RING)
        self._slot = Slot(shared / "stream", STREAM_DTYPE, settings.run)
        self._intake = StreamIntake(manifest.robot, channels, default_q(manifest), manifest.idle_height_m, self._push,
                                    settings.stream_topic, partial(StreamHuman, manifest.robot))
        self._is_tracker = manifest.kind == "tracker"
        self._said: set[str] = set()

    def _push(self, record: Any) -> None:
        self._ring.record[0] = record[0]
        self._ring.push()

    def look(self) -> bool:
        """What waits; true when there was anything."""
        messages = self._socket.messages(MOST)
        now_ns = time.monotonic_ns()
        for data in messages:
            self._intake.take(data, now_ns)
        record, intake = self._slot.record, self._intake
        record["beat_ns"], record["newest_ns"], record["dropped"] = now_ns, intake.newest_ns, self._socket.dropped
        record["starts"], record["stops"], record["version"] = intake.starts, intake.stops, intake.version
        record["other_version"], record["hands"][0] = intake.counts["other version"], intake.hands
        for name in COUNTS:
            record[name] = intake.counts[name]
        if intake.planner is not None:
            planner = intake.planner
            record["planner_ns"], record["planner_mode"] = intake.planner_ns, planner.mode
            record["movement"][0], record["facing"][0] = planner.movement, planner.facing
            record["speed_m_s"] = planner.speed_m_s
        if messages and intake.human is not None:
            record["retarget_p50_us"], record["retarget_p99_us"] = intake.human.took_us()
        self._slot.publish()
        if messages:
            self._say()
        return bool(messages)


    def _say(self) -> None:
        """What cannot be followed, once each."""
        intake = self._intake
        lines = {
            "planner messages are for velocity controllers: not followed": self._is_tracker and intake.planner_ns,
            "poses are for controllers that track motions: not followed": not self._is_tracker and intake.version,
            f"SMPL frames are not followed: {intake.refusal}": intake.refusal,
        }
        for line, is_so in lines.items():
            if is_so and line not in self._said:
                self._said.add(line)
                emit("warning", message=f"stream: {line}")


def main(argv: list[str]) -> int:
    """Entry of the process."""
    life = Life(argv)
    settings = life.settings
    try:
        assert settings.stream is not None
        socket = StreamSocket(settings.stream, settings.stream_topic, settings.stream_key)
        process = StreamProcess(settings, load_manifest(settings.controller), socket)
    except BridgeError as error:
        emit_refusal(error)
        return 2
    if settings.real_time and (lacking := go_first(NICE)):
        emit("warning", message=f"stream without {lacking}")
    emit("ready", stream=settings.stream)
    while not life.is_over:
        began = time.monotonic()
        process.look()
        time.sleep(max(0.0005, time.monotonic() - began))
        socket.wait(LOOK_S)
    socket.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
