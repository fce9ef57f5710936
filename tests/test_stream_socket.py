"""The stream's socket: what is refused, and a publisher with and without the right key."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

zmq = pytest.importorskip("zmq", reason="missing dependency: pyzmq")
auth = pytest.importorskip("zmq.auth", reason="missing dependency: pyzmq")

from runtime.errors import Refused
from runtime.stream_socket import StreamSocket, check_stream

pytestmark = pytest.mark.realtime


@pytest.mark.parametrize(("address", "topic"), [
    ("tcp://192.168.1.5:5556", "pose"), ("ipc://x", "pose"), ("tcp://127.0.0.1", "pose"),
    ("tcp://127.0.0.1:5556", "command"), ("tcp://127.0.0.1:5556", ""),
])
def test_what_others_can_reach_needs_a_key_and_topics_are_the_protocol_s(address: str, topic: str) -> None:
    with pytest.raises(Refused):
        check_stream(address, None, topic)


def heard(address: str, publisher: Any, key: str | None, seconds: float) -> list[bytes]:
    socket = StreamSocket(address, "pose", key)
    end, found = time.monotonic() + seconds, list[bytes]()
    while time.monotonic() < end and not found:
        publisher.send(b"pose1")
        publisher.send(b"other")
        time.sleep(0.02)
        found += socket.messages(10)
    socket.close()
    return found


def test_a_publisher_is_heard_with_its_own_key_alone(tmp_path: Path) -> None:
    public, secret = auth.create_certificates(tmp_path, "publisher")
    other, _ = auth.create_certificates(tmp_path, "other")
    publisher = zmq.Context.instance().socket(zmq.PUB)
    publisher.curve_publickey, publisher.curve_secretkey = auth.load_certificate(secret)
    publisher.curve_server = True
    address = f"tcp://127.0.0.1:{publisher.bind_to_random_port('tcp://127.0.0.1')}"
    try:
        assert heard(address, publisher, public, 5.0)[0] == b"pose1"
        assert heard(address, publisher, None, 0.5) == []
        assert heard(address, publisher, other, 0.5) == []
    finally:
        publisher.close(0)


def test_a_key_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("nothing", encoding="utf-8")
    with pytest.raises(Refused, match="certificate"):
        StreamSocket("tcp://127.0.0.1:5999", "pose", str(tmp_path / "x"))


def test_a_flood_leaves_the_newest_and_counts_the_rest() -> None:
    publisher = zmq.Context.instance().socket(zmq.PUB)
    address = f"tcp://127.0.0.1:{publisher.bind_to_random_port('tcp://127.0.0.1')}"
    socket = StreamSocket(address, "pose", None)
    try:
        end = time.monotonic() + 5
        while not socket.messages(10) and time.monotonic() < end:
            publisher.send(b"pose")
            time.sleep(0.01)
        for i in range(100):
            publisher.send(b"pose%d" % i)
        found: list[bytes] = []
        while (not found or found[-1] != b"pose99") and time.monotonic() < end:
            time.sleep(0.05)
            found += socket.messages(10)
        assert found[-1] == b"pose99"
        assert len(found) + socket.dropped >= 100
    finally:
        socket.close()
        publisher.close(0)
