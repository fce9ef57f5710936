"""The viewer as a browser meets it, without a browser: its page over HTTP, its scene over the websocket beside it."""

from __future__ import annotations

import socket
import urllib.request

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")
viser = pytest.importorskip("viser", reason="missing dependency: viser")
zstandard = pytest.importorskip("zstandard", reason="missing dependency: zstandard")
client = pytest.importorskip("websockets.sync.client", reason="missing dependency: websockets")

from export.motion.robot_motion import of_clip
from export.motion.viewer import Player
from firmware_bridge.posed import PLANTS
from runtime.clip import load_clip
from runtime.human_motion import HUMAN_JOINTS, make_human_motion
from runtime.robot import load_robot

pytestmark = pytest.mark.realtime
PLANT = PLANTS / "g1_29dof.xml"


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def heard(connection, *words: bytes, messages: int = 200) -> bytes:
    """What the server says until every word has occurred: sizes, compressed messages, then plain arrays."""
    said = b""
    for _ in range(messages):
        data = connection.recv(timeout=10)
        size, packed = (int.from_bytes(data[at : at + 8], "little") for at in (0, 8))
        said += zstandard.ZstdDecompressor().decompress(data[16 : 16 + packed], max_output_size=size)
        said += data[16 + packed :]
        if all(word in said for word in words):
            return said
    raise AssertionError(f"not all of {words} in {len(said)} bytes")


@pytest.fixture
def server():
    port = free_port()
    served = viser.ViserServer(host="127.0.0.1", port=port, verbose=False)
    yield served, port
    served.stop()


def test_a_robot_is_served_to_a_browser_and_moves(server):
    served, port = server
    walk = of_clip(load_clip("walk", load_robot("g1_29dof")))
    player = Player(served, walk, PLANT)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
        assert page.status == 200 and b"<html" in page.read(2000).lower()
    with client.connect(f"ws://127.0.0.1:{port}", subprotocols=[f"viser-v{viser.__version__}"],
                        max_size=None) as connection:
        heard(connection, b"/floor", b"/robot/0", b"frame", b"play", b"speed")
        player.draw(walk.frames - 1)
        heard(connection, b"SetPositionMessage", b"/robot/0")


def test_a_human_is_served_as_lines(server):
    served, port = server
    local = np.zeros((5, len(HUMAN_JOINTS), 4))
    local[..., 0] = 1
    Player(served, make_human_motion("stands", 30.0, local, np.zeros((5, 3))), None)
    with client.connect(f"ws://127.0.0.1:{port}", subprotocols=[f"viser-v{viser.__version__}"],
                        max_size=None) as connection:
        heard(connection, b"/human", b"frame")
