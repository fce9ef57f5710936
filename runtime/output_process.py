"""SONIC's output topics as a process: from the log's rings to a ZeroMQ publisher. Normal priority, moves nothing.

    python -m runtime.output_process SETTINGS.json

Viewers and recorders that nobody waits for: what one cannot take is dropped.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from firmware_bridge.errors import BridgeError
from runtime.child_life import Life
from runtime.errors import Refused
from runtime.events import emit, emit_refusal
from runtime.hand import load_hand
from runtime.hand_slots import hand_ring
from runtime.manifest_reader import load_manifest
from runtime.records import GATE_RING, POLICY_RING, gate_log_dtype, policy_log_dtype
from runtime.settings import RunSettings
from runtime.slots import Ring
from runtime.stream_output import CONFIG, CONFIG_S, DEBUG, DebugMessage, config_of
from runtime.stream_socket import Publisher

LOOK_S = 0.005
WAITING = 10
"""Messages kept for a slow listener, as SONIC's own publisher has it."""


def packer() -> Any:
    """msgpack's `packb`.

    Raises:
        Refused: it cannot be imported.
    """
    try:
        import msgpack
    except ImportError as error:
        raise Refused("--stream-out", expected="msgpack", found=f"cannot import msgpack: {error}",
                      what_to_do="pip install 'exoactor[stream]'") from error
    return msgpack.packb


class Output:
    """Publishes what the rings bring.

    Attributes:
        sent: messages of `g1_debug`.
    """

    def __init__(self, settings: RunSettings, publisher: Publisher) -> None:
        manifest, shared, run = load_manifest(settings.controller), Path(settings.shared), settings.run
        self._types = {
            "gate": gate_log_dtype(manifest.robot.motors),
            "policy": policy_log_dtype(manifest.robot.motors, settings.joints, settings.observation, settings.estimate,
                                       has_stream=settings.is_streamed),
        }
        self._gate = Ring(shared / "gate_ring", self._types["gate"], run, GATE_RING)
        self._policy = Ring(shared / "policy_ring", self._types["policy"], run, POLICY_RING)
        self._hands: Ring | None = None
        if settings.hands is not None:
            self._hands = hand_ring(shared, run, load_hand(settings.hands))
            self._types["hands"] = self._hands.record.dtype
        self._pack, self._publisher = packer(), publisher
        self._message = DebugMessage(manifest)
        self._config = CONFIG + self._pack(config_of(settings, manifest))
        self._configured = -CONFIG_S
        self._newest: bytes | None = None
        self._newest_hands: bytes | None = None
        self.sent = 0

    def _take_gate(self, data: bytes) -> None:
        self._newest = data

    def _take_hands(self, data: bytes) -> None:
        self._newest_hands = data

    def _take_policy(self, data: bytes) -> None:
        if self._newest is None:
            return
        policy, gate = (np.frombuffer(row, self._types[name])[0]
                        for name, row in (("policy", data), ("gate", self._newest)))
        hands = None
        if self._newest_hands is not None:
            hands = np.frombuffer(self._newest_hands, self._types["hands"])[0]
        self._publisher.send(DEBUG + self._pack(self._message.fill(policy, gate, hands)))
        self.sent += 1

    def look(self, now_s: float) -> None:
        """What is new."""
        self._gate.drain(self._take_gate)
        if self._hands is not None:
            self._hands.drain(self._take_hands)
        self._policy.drain(self._take_policy)
        if now_s - self._configured >= CONFIG_S:
            self._publisher.send(self._config)
            self._configured = now_s


def main(argv: list[str]) -> int:
    """Entry of the process."""
    life = Life(argv)
    settings = life.settings
    try:
        assert settings.stream_out is not None
        publisher = Publisher(settings.stream_out, settings.stream_out_key, "--stream-out", WAITING)
        output = Output(settings, publisher)
    except BridgeError as error:
        emit_refusal(error)
        return 2
    emit("ready")
    while not life.is_over:
        output.look(time.monotonic())
        time.sleep(LOOK_S)
    publisher.close()
    emit("done", sent=output.sent)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
