"""The sockets of SONIC's protocol: ZeroMQ, subscribed or bound, bounded, authenticated off loopback."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

from runtime.errors import Refused
from runtime.operator_key import parse_address
from runtime.packed_message import COMMAND, LARGEST, PLANNER

QUEUE, KERNEL_BYTES = 256, 1 << 18
KEYS = {"--stream": "--stream-key", "--stream-out": "--stream-out-key", "--to": "--key"}
"""The options that name an address, and the one of its key."""


def check_address(address: str, key: str | None, option: str) -> None:
    """Refuse what is no address, or one that others can reach without a key.

    Raises:
        Refused: another form than tcp://HOST:PORT (tcp://*:PORT binds everywhere), no key off loopback.
    """
    if not address.startswith("tcp://"):
        raise Refused(option, expected="tcp://HOST:PORT", found=address, what_to_do="e.g. tcp://127.0.0.1:5556")
    host, _ = parse_address(address.removeprefix("tcp://").replace("*:", "0.0.0.0:"), option)
    if key is None and not ipaddress.ip_address(host).is_loopback:
        raise Refused(option, expected=f"{KEYS[option]} for an address that others can reach", found=address,
                      what_to_do="give a CURVE certificate (zmq.auth.create_certificates; docs/streaming.md, Keys), or "
                      "tunnel the port: ssh -L PORT:127.0.0.1:PORT HOST")


def check_stream(address: str, key: str | None, topic: str) -> None:
    """Refuse what cannot be listened to, or what anybody could send.

    Raises:
        Refused: as `check_address`; a topic of the protocol's own.
    """
    check_address(address, key, "--stream")
    if not topic or len(topic) > 64 or topic.encode() in (COMMAND, PLANNER):
        raise Refused("--stream-topic", expected="1 to 64 letters, not command or planner", found=topic,
                      what_to_do="leave it out: senders use pose")


def _zmq(option: str = "--stream") -> Any:
    try:
        import zmq
        import zmq.auth
    except ImportError as error:
        raise Refused(option, expected="pyzmq", found=f"cannot import zmq: {error}",
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


class Publisher:
    """A bound publisher that hears of its listeners, and never waits for them.

    Args:
        key: file of its secret CURVE certificate, needed off loopback.
        option: whose address it is, for refusals.
        waiting: messages kept for a slow listener.

    Raises:
        Refused: no pyzmq, an address or key that does not do.
    """

    def __init__(self, address: str, key: str | None, option: str, waiting: int) -> None:
        check_address(address, key, option)
        zmq = self._zmq = _zmq(option)
        self._socket: Any = zmq.Context.instance().socket(zmq.XPUB)
        self._socket.setsockopt(zmq.SNDHWM, waiting)
        self._socket.setsockopt(zmq.LINGER, 0)
        try:
            if key is not None:
                public, secret = zmq.auth.load_certificate(key)
                if secret is None:
                    raise ValueError("no secret key in it")
                socket = self._socket
                socket.curve_publickey, socket.curve_secretkey, socket.curve_server = public, secret, True
            self._socket.bind(address)
        except (OSError, ValueError, zmq.ZMQError) as error:
            self._socket.close(0)
            raise Refused(f"{option}, its key", expected="a free address, and a secret certificate where one is needed",
                          found=str(error),
                          what_to_do="choose another port, or the file ending in .key_secret") from error

    def await_listener(self, longest_s: float) -> bool:
        """Until somebody subscribes; false when nobody did."""
        return bool(self._socket.poll(round(longest_s * 1000)))

    def send(self, message: bytes) -> None:
        """To whoever listens and keeps up."""
        self._socket.send(message, self._zmq.NOBLOCK)

    def close(self, linger_s: float = 0.0) -> None:
        """Let go of it, what still waits sent for that long."""
        self._socket.close(round(linger_s * 1000))
