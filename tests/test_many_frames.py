"""A hundred thousand random frames of each codec: those made and read at once equal those made and read one by one."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np
import pytest

from firmware_bridge.drives import dynamixel, feetech
from firmware_bridge.drives.can_link import EXTENDED, CanLink
from firmware_bridge.drives.crc16 import buypass, kermit
from firmware_bridge.drives.damiao_adapter import DamiaoLink
from firmware_bridge.drives.dynamixel_block import BLOCK, BlockStream, FastStream, fast_answer
from firmware_bridge.drives.feetech_bus import STATE, signed
from firmware_bridge.drives.go_m8010 import TURN, GoCodec, Status, read_reply
from firmware_bridge.drives.mit_word import MitRange, MitWord
from firmware_bridge.drives.robstride_adapter import RobstrideLink
from firmware_bridge.drives.slcan import SlcanLink

pytestmark = pytest.mark.slow

FRAMES = 100_000


def test_go_commands() -> None:
    ids = list(range(15))
    codec, random = GoCodec(ids, gear=1.0), np.random.default_rng(1)
    limits = (411_774.0, 804.0, 127.99, 25.599, 25.599)
    for _ in range(FRAMES // len(ids) + 1):
        block = random.normal(size=(15, 5)) * [50, 300, 90, 12, 12]
        assert codec.encode(block, Status.FOC)
        for number, row, made in zip(ids, block.tolist(), codec.bytes, strict=True):
            q, dq, tau = (min(max(value, -limit), limit) for value, limit in zip(row, limits[:3], strict=False))
            kp, kd = (min(max(value, 0.0), limit) for value, limit in zip(row[3:], limits[3:], strict=True))
            body = struct.pack("<BBBhhiHH", 0xFE, 0xEE, number | 1 << 4, max(int(tau * 256), -32768),
                               max(min(int(dq / TURN * 256), 32767), -32768), int(q / TURN * 32768),
                               int(kp / 25.6 * 32768), int(kd / 25.6 * 32768))
            assert made.tobytes() == body + struct.pack("<H", kermit(body))


def test_go_answers() -> None:
    codec, random = GoCodec(list(range(15)), gear=1.0), np.random.default_rng(2)
    for _ in range(FRAMES // 1000):
        raw = random.integers(0, 256, (1000, 16)).astype(np.uint8)
        raw[:, :2], raw[:, 2] = (0xFD, 0xEE), random.integers(0, 128, 1000)
        for row in raw[::2]:  # the others' check sums are wrong, but for a few of chance
            row[14:] = np.frombuffer(struct.pack("<H", kermit(row[:14].tobytes())), np.uint8)
        replies = codec.decode(raw)
        wanted = []
        for row in raw:
            _, mode, tau, dq, q, heat, state, crc = struct.unpack("<HBhhibHH", row.tobytes())
            if mode & 15 < 15 and crc == kermit(row[:14].tobytes()):
                wanted.append((mode & 15, q / 32768 * TURN, dq / 256 * TURN, tau / 256, heat, state & 7, mode >> 4 & 7))
        found = zip(replies.rows.tolist(), *replies.state.T.tolist(), replies.temperature_c.tolist(),
                    replies.errors.tolist(), replies.statuses.tolist(), strict=True)
        assert list(found) == wanted and replies.bad == 1000 - len(wanted)
        one_by_one = [tuple(read_reply(row.tobytes(), gear=1.0)) for row in raw[::2] if row[2] & 15 < 15]
        assert set(one_by_one) <= set(wanted) and len(one_by_one) > 400


def test_mit_answers() -> None:
    ranges = [MitRange(12.5, 30, 10), MitRange(12.57, 33, 60), MitRange(12.5, 45, 54)]
    word, random = MitWord(ranges), np.random.default_rng(3)
    for _ in range(FRAMES // 1000):
        raw = random.integers(0, 256, (1000, 8)).astype(np.uint8)
        rows = random.integers(0, 3, 1000)
        wanted = []
        for row, at in zip(raw, rows, strict=True):
            bits, r = int.from_bytes(row[1:6].tobytes(), "big"), ranges[at]
            wanted.append([(bits >> 24) / 65535 * 2 * r.q_rad - r.q_rad,
                           (bits >> 12 & 0xFFF) / 4095 * 2 * r.dq_rad_s - r.dq_rad_s,
                           (bits & 0xFFF) / 4095 * 2 * r.tau_n_m - r.tau_n_m])
        np.testing.assert_allclose(word.decode_reply(raw, rows), wanted, rtol=0, atol=1e-12)


def slcan_frame(number: int, data: bytes) -> bytes:
    text = data.hex().upper().encode()
    return b"T%08X8%s\r" % (number, text) if number > 0x7FF else b"t%03X8%s\r" % (number, text)


def damiao_frame(number: int, data: bytes) -> bytes:
    return (bytes.fromhex("55aa1e03010000000a00000000") + number.to_bytes(2, "little") + bytes(3)
            + bytes.fromhex("080000") + data + b"\0")


def robstride_frame(number: int, data: bytes) -> bytes:
    return b"AT" + (number << 3 | 4).to_bytes(4, "big") + b"\x08" + data + b"\r\n"


@pytest.mark.parametrize(("link", "frame", "highest", "is_heard"), [
    (SlcanLink(), slcan_frame, 0x7FF, True), (SlcanLink(), slcan_frame, 0x1FFFFFFF, True),
    (DamiaoLink(), damiao_frame, 0x7FF, False), (RobstrideLink(), robstride_frame, 0x1FFFFFFF, True)])
def test_can_frames_on_serial_lines(
    link: CanLink, frame: Callable[[int, bytes], bytes], highest: int, is_heard: bool,
) -> None:
    random, lowest = np.random.default_rng(4), 0x800 if highest > 0x7FF else 0
    for _ in range(FRAMES // 1000):
        numbers = random.integers(lowest, highest + 1, 1000).astype(np.uint32)
        data = random.integers(0, 256, (1000, 8)).astype(np.uint8)
        ids = numbers | np.uint32(EXTENDED if lowest else 0)
        packed = link.pack(ids, data)
        assert packed == b"".join(frame(int(n), row.tobytes()) for n, row in zip(numbers, data, strict=True))
        if is_heard:
            heard = link.feed(packed)
            assert heard.ids.tolist() == ids.tolist() and heard.data.tobytes() == data.tobytes()
    assert link.bad == 0


def test_dynamixel_blocks() -> None:
    ids = list(range(40))
    stream, random = BlockStream(ids), np.random.default_rng(5)
    for at in range(FRAMES // len(ids)):
        bodies = [row.tobytes() for row in random.integers(0, 256, (40, 14)).astype(np.uint8)]
        if at % 7 == 0:
            bodies[3] = b"\xff\xff\xfd" * 4 + b"\xff\xff"  # stuffed: longer than the others
        answer = b"".join(dynamixel.make_status(i, 0, b) for i, b in zip(ids, bodies, strict=True))
        cut = int(random.integers(0, len(answer)))
        parts = [stream.feed(answer[:cut]), stream.feed(answer[cut:])]
        assert [row for part in parts for row in part.rows] == ids
        said = [tuple(row[name] for name in BLOCK.names or ()) for part in parts for row in part.data]
        for row, body in zip(said, bodies, strict=True):
            assert row == struct.unpack("<BBBBhii", body)
    assert stream.bad == 0


def test_dynamixel_fast_blocks() -> None:
    ids, random = list(range(20)), np.random.default_rng(6)
    stream = FastStream(ids)
    for _ in range(FRAMES // len(ids)):
        bodies = [row.tobytes() for row in random.integers(0, 256, (20, 14)).astype(np.uint8)]
        answer = fast_answer(ids, bodies)
        assert answer[-2:] == buypass(answer[:-2]).to_bytes(2, "little")
        rows, data = stream.feed(answer)
        assert rows.tolist() == ids and data.tobytes() == b"".join(bodies) and data.dtype == BLOCK
        stream.forget()
    assert stream.bad == 0


def test_feetech_states() -> None:
    stream, random = feetech.PacketStream(), np.random.default_rng(7)
    for _ in range(FRAMES // 1000):
        bodies = random.integers(0, 256, (1000, STATE.itemsize)).astype(np.uint8)
        packets = stream.feed(b"".join(feetech.make_packet(i % 250, 0, row.tobytes()) for i, row in enumerate(bodies)))
        assert len(packets) == 1000
        said = np.frombuffer(b"".join(packet.parameters for packet in packets), STATE)
        found = np.stack([signed(said["position"], 15), signed(said["velocity"], 15), signed(said["load"], 10),
                          said["temperature"], said["status"]], axis=1)
        wanted = []
        for row in bodies:
            q, dq, load, _, heat, _, status, *_ = struct.unpack("<HHHBBBBBHH", row.tobytes())
            wanted.append([feetech.to_signed(q, 15), feetech.to_signed(dq, 15), feetech.to_signed(load, 10), heat,
                           status])
        assert found.tolist() == wanted
    assert stream.bad == 0 and math.isfinite(found.sum())
