"""A chain that is followed, as a process: its file in, a ring of frames out. Normal priority.

    python -m runtime.chain_process SETTINGS.json

Frames are due at the clip's rate; a thread beside reads the file, and loads and joins on what is appended to it.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from firmware_bridge.errors import BridgeError
from runtime.chain_notes import write_chain_notes
from runtime.child_life import Life
from runtime.events import emit, emit_refusal
from runtime.faults import Mode
from runtime.followed_chain import FollowedChain
from runtime.hand import load_hand
from runtime.manifest import Manifest
from runtime.manifest_reader import load_manifest
from runtime.mux import Source
from runtime.needs import mode_of, stream_needs
from runtime.records import STREAM_DTYPE, STREAM_RING, status_dtype, stream_dtype, target_dtype
from runtime.settings import RunSettings
from runtime.slots import Ring, Slot

LOOK_S, FILE_S = 0.004, 0.1


class ChainProcess:
    """The followed chain between its slots."""

    def __init__(self, settings: RunSettings, manifest: Manifest) -> None:
        mode, hands = mode_of(manifest, settings.mode), None if settings.hands is None else load_hand(settings.hands)
        channels, _ = stream_needs(manifest, mode, has_hands=hands is not None)
        shared, run, motors = Path(settings.shared), settings.run, manifest.robot.motors
        self._ring = Ring(shared / "own_stream_ring", stream_dtype(len(manifest.robot.joints), channels.size), run,
                          STREAM_RING)
        self._slot = Slot(shared / "stream", STREAM_DTYPE, run)
        self._status = Slot(shared / "status", status_dtype(motors), run)
        self._target = Slot(shared / "target", target_dtype(motors), run)
        self._slot.record["hands"] = np.nan
        self._out, self._written = Path(settings.out), -1
        assert settings.clip is not None
        self.chain = FollowedChain(Path(settings.clip), manifest, mode, channels, self._push, time.monotonic_ns(),
                                   settings.follow_timeout_s, hands)

    def _push(self, record: Any) -> None:
        self._ring.record[0] = record[0]
        self._ring.push()

    def look(self) -> None:
        """What is due."""
        self._status.read()
        self._target.read()
        follows = (int(self._status.record["mode"][0]) == Mode.TRACK
                   and int(self._target.record["source"][0]) == Source.STREAM)
        now_ns, record, chain = time.monotonic_ns(), self._slot.record, self.chain
        chain.look(now_ns, followed=follows)
        record["beat_ns"], record["newest_ns"], record["frames"] = now_ns, chain.newest_ns, chain.record["sequence"]
        record["stops"] = int(chain.is_over)
        self._slot.publish()
        while chain.refusals:
            emit("warning", message=chain.refusals.popleft())

    def consider(self, life: Life) -> None:
        """The file, for as long as the process goes on; beside the frames, and at leisure."""
        while not life.is_over:
            self.chain.consider(time.monotonic_ns())
            self.write_notes()
            time.sleep(FILE_S)

    def write_notes(self) -> None:
        """For the report, where there is anything new."""
        notes = self.chain.notes
        size = len(notes["actions"]) + len(notes["refused"]) + len(notes["ended"])
        if size != self._written:
            write_chain_notes(self._out, notes)
            self._written = size


def main(argv: list[str]) -> int:
    """Entry of the process."""
    life = Life(argv)
    settings = life.settings
    try:
        process = ChainProcess(settings, load_manifest(settings.controller))
    except BridgeError as error:
        emit_refusal(error)
        return 2
    emit("ready", chain=settings.clip)
    beside = threading.Thread(target=process.consider, args=(life,), daemon=True)
    beside.start()
    while not life.is_over:
        process.look()
        time.sleep(LOOK_S)
    beside.join(1.0)
    process.write_notes()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
