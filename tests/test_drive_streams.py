"""The languages of serial motor drives as streams of bytes: cut anywhere, begun in the middle, damaged, noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.drives import dynamixel, feetech, inspire, mcu_link, moteus
from firmware_bridge.drives.can_link import EXTENDED, CanLink
from firmware_bridge.drives.crc16 import KermitOfFrames
from firmware_bridge.drives.damiao_adapter import DamiaoLink
from firmware_bridge.drives.go_m8010 import GoCodec, GoStream
from firmware_bridge.drives.robstride_adapter import RobstrideLink
from firmware_bridge.drives.slcan import SlcanLink


def can_bytes(link: CanLink) -> tuple[bytes, Callable[[bytes], list[Any]]]:
    rng = np.random.default_rng(5)
    ids = rng.integers(0, 0x7FF, 40).astype(np.uint32) | np.uint32(EXTENDED if isinstance(link, RobstrideLink) else 0)
    data = rng.integers(0, 256, (40, 8)).astype(np.uint8)
    data[::5, :2] = [0x41, 0x54]  # the adapters' own marks among the data
    data[::7] = [0xAA, 0x55] * 4
    data[3] = [0x0D, 0x0A] * 4
    packed = link.pack(ids, data)
    if isinstance(link, DamiaoLink):
        packed = b"".join(b"\xaa\x11\x00" + int(number).to_bytes(4, "little") + row.tobytes() + b"\x55"
                          for number, row in zip(ids, data, strict=True))

    def feed(piece: bytes) -> list[Any]:
        frames = link.feed(piece)
        assert frames.data.shape == (len(frames.ids), 8) and frames.lengths.shape == (len(frames.ids),)
        return [(int(number), row.tobytes()) for number, row in zip(frames.ids, frames.data, strict=True)]

    return packed, feed


def go_bytes() -> tuple[bytes, Callable[[bytes], list[Any]]]:
    codec, stream, rng = GoCodec(list(range(15))), GoStream(), np.random.default_rng(6)
    body = rng.integers(0, 256, (40, 16)).astype(np.uint8)
    body[:, :2] = [0xFD, 0xEE]
    body[:, 2] = rng.integers(0, 15, 40)
    body[::6, 5:7] = [0xFD, 0xEE]
    body[:, 14:] = KermitOfFrames(14).of(body[:, :14])[:, None].view(np.uint8)

    def feed(piece: bytes) -> list[Any]:
        found = stream.feed(piece)
        replies = codec.decode(np.frombuffer(b"".join(found), np.uint8).reshape(-1, 16))
        assert np.isfinite(replies.state).all()
        return list(found)

    return body.tobytes(), feed


def packets(stream: Any, make: Callable[[int, bytes], bytes]) -> tuple[bytes, Callable[[bytes], list[Any]]]:
    rng = np.random.default_rng(7)
    return b"".join(make(int(rng.integers(1, 200)), rng.integers(0, 256, int(rng.integers(3, 40))).astype(np.uint8)
                         .tobytes()) for _ in range(40)), stream.feed


STREAMS: dict[str, Callable[[], tuple[bytes, Callable[[bytes], list[Any]]]]] = {
    "slcan": lambda: can_bytes(SlcanLink()),
    "damiao adapter": lambda: can_bytes(DamiaoLink()),
    "robstride adapter": lambda: can_bytes(RobstrideLink()),
    "go": go_bytes,
    "dynamixel": lambda: packets(
        dynamixel.PacketStream(), lambda i, p: dynamixel.make_status(i, 0, b"\xff\xff\xfd" + p)),
    "feetech": lambda: packets(feetech.PacketStream(), lambda i, p: feetech.make_packet(i, 0, p)),
    "inspire": lambda: packets(
        inspire.FrameStream(), lambda i, p: inspire.make_frame(i, 0x11, 1546, p, inspire.IN_HEAD)),
    "moteus": lambda: packets(moteus.LineStream(), lambda i, p: moteus.with_checksum(
        b"rcv %02x00 %s E B F" % (i & 0x7F, p.hex().encode()))),
    "mcu": lambda: packets(mcu_link.FrameStream(), lambda i, p: mcu_link.make_frame(
        mcu_link.Kind.STATE, i, i, i, 0, p)),
}


@pytest.mark.parametrize("name", STREAMS)
def test_frames_arrive_however_the_bytes_are_cut(name: str) -> None:
    data, feed = STREAMS[name]()
    wanted = feed(data)
    assert len(wanted) == 40
    rng = np.random.default_rng(8)
    for longest in (1, 3, 17, 200):
        data, feed = STREAMS[name]()
        found, at = [], 0
        while at < len(data):
            size = int(rng.integers(1, longest + 1))
            found += feed(data[at : at + size])
            at += size
        assert found == wanted


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_begins_in_the_middle_finds_its_next_frame(name: str) -> None:
    whole, feed = STREAMS[name]()
    wanted = feed(whole)
    data, feed = STREAMS[name]()
    found = feed(data[7:])
    assert found[-30:] == wanted[-30:]


@pytest.mark.parametrize("name", STREAMS)
@given(seed=st.integers(0, 2**32))
def test_damaged_bytes_never_raise_and_cost_only_their_neighbours(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data, feed = STREAMS[name]()
    damaged = bytearray(data)
    for _ in range(3):
        at = int(rng.integers(len(damaged)))
        if rng.random() < 0.4:
            damaged[at] ^= 1 << int(rng.integers(8))
        elif rng.random() < 0.5:
            del damaged[at]
        else:
            damaged.insert(at, int(rng.integers(256)))
    found = feed(bytes(damaged)) + feed(data)
    assert len(found) >= 80 - 12


@pytest.mark.parametrize("name", STREAMS)
@given(noise=st.binary(max_size=3000))
def test_noise_never_raises_nor_piles_up(name: str, noise: bytes) -> None:
    _, feed = STREAMS[name]()
    for _ in range(3):
        feed(noise)
    data, _ = STREAMS[name]()
    feed(data)
    assert len(feed(data)) >= 30
