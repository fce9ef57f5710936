"""The socket that SONIC's senders are heard through: ZeroMQ, subscribed, bounded, authenticated off loopback."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

from runtime.errors import Refused
from runtime.operator_key import parse_address
from runtime.packed_message import COMMAND, LARGEST, PLANNER

QUEUE, KERNEL_BYTES = 256, 1 << 18


def check_stream(address: str, key: str | None, topic: str) -> None:
    """Refuse what cannot be listened to, or what anybody could send.

    Raises:
        Refused: another form than tcp://HOST:PORT, no key off loopback, a topic of the protocol's own.
    """
    if not address.startswith("tcp://"):
        raise Refused("--stream", expected="tcp://HOST:PORT", found=address, what_to_do="e.g. tcp://127.0.0.1:5556")
    host, _ = parse_address(address.removeprefix("tcp://"), "--stream")
    if key is None and not ipaddress.ip_address(host).is_loopback:
        raise Refused("--stream", expected="--stream-key for an address that others can reach", found=address,
                      what_to_do="give the publisher's CURVE certificate, or tunnel its port: ssh -L 5556:HOST:5556")
    if not topic or len(topic) > 64 or topic.encode() in (COMMAND, PLANNER):
        raise Refused("--stream-topic", expected="1 to 64 letters, not command or planner", found=topic,
                      what_to_do="leave it out: senders use pose")


def _zmq() -> Any:
    try:
        import zmq
        import zmq.auth
    except ImportError as error:
        raise Refused("--stream", expected="pyzmq", found=f"cannot import zmq: {error}",
                      what_to_do="pip install 'exoactor[stream]'") from error
    return zmq


def _public_key(zmq: Any, key: str) -> bytes:
    try:
        return bytes(zmq.auth.load_certificate(key)[0])
    except (OSError, ValueError) as error:
        raise Refused(f"--stream-key {Path(key).name}", expected="a ZeroMQ certificate with a public key",
                      found=str(error), what_to_do="make one with zmq.auth.create_certificates") from error


class StreamSocket:
    """Messages of one publisher.

    Raises:
        Refused: no pyzmq, or a key file that is none.

    Attributes:
        dropped: messages thrown away unread, because more waited than can be looked at.
    """

    def __init__(self, address: str, topic: str, key: str | None) -> None:
        zmq = self._zmq = _zmq()
        public = None if key is None else _public_key(zmq, key)
        self._socket = socket = zmq.Context.instance().socket(zmq.SUB)
        for option, value in ((zmq.RCVHWM, QUEUE), (zmq.MAXMSGSIZE, LARGEST), (zmq.RCVBUF, KERNEL_BYTES),
                              (zmq.LINGER, 0), (zmq.RECONNECT_IVL, 50), (zmq.RECONNECT_IVL_MAX, 500)):
            socket.setsockopt(option, value)
        if public is not None:
            socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
            socket.curve_serverkey = public
        for name in (topic.encode(), COMMAND, PLANNER):
            socket.setsockopt(zmq.SUBSCRIBE, name)
        socket.connect(address)
        self.dropped = 0

    def messages(self, most: int) -> list[bytes]:
        """What waits, the newest `most` of it; a message of several parts comes as an empty one."""
        waiting: list[bytes] = []
        for _ in range(QUEUE):
            try:
                parts = self._socket.recv_multipart(self._zmq.NOBLOCK)
            except self._zmq.Again:
                break
            waiting.append(parts[0] if len(parts) == 1 else b"")
        self.dropped += max(0, len(waiting) - most)
        return waiting[-most:]

    def wait(self, timeout_s: float) -> None:
        """Until something arrives or the time is over."""
        self._socket.poll(round(timeout_s * 1000))

    def close(self) -> None:
        """Let go of it."""
        self._socket.close(0)
