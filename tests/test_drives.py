"""The languages of serial motor drives: golden vectors, scalar references, and what damaged bytes lead to."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.drives import damiao, dynamixel, feetech, inspire, mcu_link, moteus, robstride
from firmware_bridge.drives.can_link import EXTENDED, CanFrames
from firmware_bridge.drives.crc16 import KermitOfFrames, buypass, kermit, xmodem
from firmware_bridge.drives.damiao_adapter import DamiaoLink
from firmware_bridge.drives.go_m8010 import GEAR, GoCodec, Reply, Status, make_reply, read_command
from firmware_bridge.drives.mit_word import MitRange, MitWord
from firmware_bridge.drives.robstride_adapter import RobstrideLink

DM4310 = MitRange(12.5, 30, 10)
RS03 = MitRange(4 * math.pi, 20, 60, 5000, 100)


def u8(text: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(bytes.fromhex(text), np.uint8)


# --- MIT word ---------------------------------------------------------------------------------------------------------


def scalar_word(row: list[float], r: MitRange) -> int:
    """q, dq, tau, kp, kd as enactic/openarm_can packs them, number by number."""
    q, dq, tau, kp, kd = row

    def code(value: float, low: float, high: float, bits: int) -> int:
        return int((min(max(value, low), high) - low) / (high - low) * ((1 << bits) - 1))

    return (code(q, -r.q_rad, r.q_rad, 16) << 48 | code(dq, -r.dq_rad_s, r.dq_rad_s, 12) << 36
            | code(kp, 0, r.kp, 12) << 24 | code(kd, 0, r.kd, 12) << 12 | code(tau, -r.tau_n_m, r.tau_n_m, 12))


@pytest.mark.parametrize(("row", "golden"), [
    ([0, 0, 0, 0, 0], "7fff7ff0000007ff"),
    ([1, 2, 3, 50, 1], "8a3c888199333a65"),
])
def test_mit_word_has_the_bytes_of_the_field(row: list[float], golden: str) -> None:
    word = MitWord([DM4310])
    assert word.encode(np.array([row], np.float32))
    assert word.bytes.tobytes().hex() == golden


@pytest.mark.slow
def test_mit_words_of_many_equal_the_scalar_ones() -> None:
    rng = np.random.default_rng(0)
    ranges = [DM4310, MitRange(12.5, 45, 54), MitRange(12.57, 33, 60, 5000, 100), DM4310] * 5
    word = MitWord(ranges)
    for _ in range(5_000):  # 1e5 frames
        block = (rng.normal(size=(20, 5)) * [8, 20, 20, 300, 4]).astype(np.float32)
        assert word.encode(block)
        wanted = [scalar_word(row, r) for row, r in zip(block.tolist(), ranges, strict=True)]
        assert word.bytes.tobytes() == struct.pack(">20Q", *wanted)


def test_mit_word_is_truncated_and_not_rounded() -> None:
    word = MitWord([DM4310])
    step = 2 * 12.5 / 65535
    word.encode(np.array([[-12.5 + 0.9 * step, 0, 0, 0, 0]], np.float32))
    assert word.bytes[0, :2].tolist() == [0, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", range(5))
def test_no_codec_has_bytes_for_what_is_not_finite(bad: float, column: int) -> None:
    block = np.zeros((1, 5), np.float32)
    word, go = MitWord([DM4310]), GoCodec([0])
    assert word.encode(block) and go.encode(block)
    before = word.bytes.tobytes(), go.bytes.tobytes()
    block[0, column] = bad
    assert not word.encode(block) and not go.encode(block)
    assert (word.bytes.tobytes(), go.bytes.tobytes()) == before
    assert robstride.RobstrideCodec([1], [RS03]).encode(block) is None
    assert mcu_link.make_command(1, 1, 1, block) is None


@given(st.integers(0, 2**32))
def test_mit_answers_come_back_within_a_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ranges = [DM4310, MitRange(12.5, 45, 54)]
    word = MitWord(ranges)
    state = rng.uniform(-1, 1, (2, 3)) * [[r.q_rad, r.dq_rad_s, r.tau_n_m] for r in ranges]
    answer = word.encode_reply(state, np.array([1, 2], np.uint8), np.array([1, 9], np.uint8),
                               np.array([[40, 41], [42, 43]], np.uint8))
    assert answer[:, 0].tolist() == [0x11, 0x92] and answer[:, 6:].tolist() == [[40, 41], [42, 43]]
    back = word.decode_reply(answer, np.array([0, 1]))
    counts = np.array([[2 * r.q_rad / 65535, 2 * r.dq_rad_s / 4095, 2 * r.tau_n_m / 4095] for r in ranges])
    assert (np.abs(back - state) <= counts).all()


def test_a_drive_reads_what_was_meant() -> None:
    word = MitWord([DM4310])
    word.encode(np.array([[1, 2, 3, 50, 1]], np.float32))
    np.testing.assert_allclose(word.decode_command(word.bytes)[0], [1, 2, 3, 50, 1], atol=0.13)


# --- Damiao -----------------------------------------------------------------------------------------------------------


def test_damiao_s_adapter_has_the_bytes_of_the_field() -> None:
    packed = DamiaoLink().pack(np.array([1], np.uint32), np.frombuffer(damiao.ENABLE, np.uint8).reshape(1, 8))
    assert packed.hex() == "55aa1e03010000000a000000000100000000080000fffffffffffffffc00"


@pytest.mark.parametrize(("register", "value"), [
    (damiao.Register.TIMEOUT, 2000), (damiao.Register.P_MAX, 12.5), (damiao.Register.V_MAX, 30.0)])
def test_a_register_is_an_integer_or_a_float_by_its_number(register: damiao.Register, value: float) -> None:
    frame = damiao.make_write(0x0102, register, value)
    assert frame[:4] == bytes([2, 1, 0x55, register])
    assert damiao.read_answer(frame) == (0x0102, register, value)


def test_a_state_is_no_register() -> None:
    assert damiao.read_answer(bytes(8)) is None and damiao.read_answer(b"") is None


# --- RobStride --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("golden", "number", "data"), [
    ("41542007e8540800000000000000000d0a", 0x0400FD0A, "0000000000000000"),
    ("4154100057ec08a6d4808c7fff01400d0a", 0x02000AFD, "a6d4808c7fff0140"),
    ("41549007ebfc0805700000070195540d0a", 0x1200FD7F, "0570000007019554"),
])
def test_captured_robstride_lines_are_read_and_made(golden: str, number: int, data: str) -> None:
    link = RobstrideLink()
    frames = link.feed(bytes.fromhex(golden))
    assert frames.ids.tolist() == [number | EXTENDED] and frames.data.tobytes().hex() == data
    assert link.pack(frames.ids, frames.data).hex() == golden


def test_captured_robstride_feedback_means_what_it_should() -> None:
    frames = RobstrideLink().feed(bytes.fromhex("4154100057ec08a6d4808c7fff01400d0a"))
    feedback = robstride.RobstrideCodec([10], [RS03]).decode(frames)
    assert feedback.motors.tolist() == [10] and feedback.faults.tolist() == [0]
    np.testing.assert_allclose(feedback.state[0], [3.8122, 0.0858, -0.0009], atol=5e-5)
    assert feedback.temperature_c[0] == 32.0


def test_stop_of_motor_ten_is_the_captured_one() -> None:
    assert robstride.make_id(robstride.Kind.STOP, robstride.HOST, 10) == 0x0400FD0A | EXTENDED


def test_robstride_faults_are_told() -> None:
    number = robstride.make_id(robstride.Kind.FEEDBACK, 0b10_000101 << 8 | 10, robstride.HOST)
    frames = RobstrideLink().feed(RobstrideLink().pack(np.array([number], np.uint32), np.zeros((1, 8), np.uint8)))
    feedback = robstride.RobstrideCodec([10], [RS03]).decode(frames)
    names = [name for bit, name in enumerate(robstride.FAULTS) if feedback.faults[0] >> bit & 1]
    assert names == ["under-voltage", "over-temperature"] and feedback.modes[0] == 2


def test_the_error_echo_of_a_read_is_no_zero_value() -> None:
    """huggingface/lerobot#4070: an unsupported parameter is answered with zeros and a mark."""
    good = robstride.make_id(robstride.Kind.READ, 10, robstride.HOST)
    data = bytes.fromhex("28700000 204e0000")
    assert robstride.read_parameter(good, data) == (10, robstride.Parameter.CAN_TIMEOUT, bytes.fromhex("204e0000"))
    assert robstride.read_parameter(good | 1 << 16, bytes(8)) is None


@pytest.mark.slow
def test_robstride_control_equals_the_scalar_one() -> None:
    rng, motors = np.random.default_rng(1), list(range(3, 23))
    codec = robstride.RobstrideCodec(motors, [RS03] * 20)
    limits = [RS03.q_rad, RS03.dq_rad_s, RS03.tau_n_m]

    def code(value: float, low: float, high: float) -> int:
        return int((min(max(value, low), high) - low) / (high - low) * 65535)

    for _ in range(5_000):  # 1e5 frames
        block = (rng.normal(size=(20, 5)) * [8, 15, 50, 3000, 60]).astype(np.float32)
        encoded = codec.encode(block)
        assert encoded is not None
        numbers, words = [], []
        for row, motor in zip(block.tolist(), motors, strict=True):
            q, dq, tau = (code(value, -limit, limit) for value, limit in zip(row[:3], limits, strict=True))
            numbers.append(robstride.make_id(robstride.Kind.CONTROL, tau, motor))
            words += [q, dq, code(row[3], 0, 5000), code(row[4], 0, 100)]
        assert encoded[0].tolist() == numbers
        assert encoded[1].tobytes() == struct.pack(">80H", *words)


@pytest.mark.slow
def test_robstride_feedback_equals_the_scalar_one() -> None:
    rng = np.random.default_rng(2)
    codec, ranges = robstride.RobstrideCodec([3, 7], [RS03, DM4310]), (RS03, DM4310)
    rows = rng.integers(0, 2, 100_000)
    told, data = rng.integers(0, 256, 100_000), rng.integers(0, 256, (100_000, 8)).astype(np.uint8)
    ids = [robstride.make_id(robstride.Kind.FEEDBACK, int(t) << 8 | (3, 7)[row], robstride.HOST)
           for t, row in zip(told, rows, strict=True)]
    feedback = codec.decode(CanFrames(np.array(ids, np.uint32), data, np.full(100_000, 8, np.uint8)))
    assert feedback.rows.tolist() == rows.tolist()
    assert feedback.faults.tolist() == (told & 0x3F).tolist() and feedback.modes.tolist() == (told >> 6).tolist()
    wanted = np.empty((100_000, 4))
    for at, (raw, row) in enumerate(zip(data, rows, strict=True)):
        q, dq, tau, warm = struct.unpack(">4H", raw.tobytes())
        r = ranges[row]
        wanted[at] = [code / 65535 * 2 * most - most for code, most in
                      ((q, r.q_rad), (dq, r.dq_rad_s), (tau, r.tau_n_m))] + [warm / 10]
    np.testing.assert_allclose(feedback.state, wanted[:, :3], atol=1e-9)
    np.testing.assert_allclose(feedback.temperature_c, wanted[:, 3])


# --- GO-M8010-6 -------------------------------------------------------------------------------------------------------


def test_go_commands_equal_the_vendor_library_s_bytes() -> None:
    codec = GoCodec([0, 1, 2, 3], gear=1.0)
    assert codec.encode(np.array([
        [0, 0, 0, 0, 0], [1, 2, 0.5, 0.5, 0.02], [-3.14159, -10, -2.5, 1, 0.1], [6.28318, 6.28318, 1, 25.6, 25.59],
    ], np.float32))
    assert [row.tobytes().hex() for row in codec.bytes] == [
        "feee10000000000000000000000000b579", "feee11800051005f140000800219000df2",
        "feee1280fd69fe01c0ffff000580003993", "feee130001ff00ff7f0000fe7ff37f9236",
    ]


def test_a_go_answer_means_what_the_vendor_library_reads() -> None:
    replies = GoCodec([0], gear=1.0).decode(u8("fdee1000010001008000002a20033728").reshape(1, 16))
    np.testing.assert_allclose(replies.state[0], [6.2832, 6.2832, 1.0])
    assert (replies.temperature_c[0], replies.errors[0], replies.bad) == (42, 0, 0)


def test_go_numbers_are_those_behind_the_gear() -> None:
    """Gains go over with the square of the ratio, torque against it."""
    outer, rotor = GoCodec([0]), GoCodec([0], gear=1.0)
    outer.encode(np.array([[0.5, 1.0, 6.33, 40.0, 1.0]], np.float32))
    rotor.encode(np.array([[0.5 * GEAR, GEAR, 1.0, 40.0 / GEAR**2, 1 / GEAR**2]], np.float32))
    for name in ("q", "dq", "tau", "kp", "kd"):  # a count apart where a product falls just below its number
        assert abs(int(outer.frames[name][0]) - int(rotor.frames[name][0])) <= 1


def test_go_answers_of_strangers_and_damaged_ones_are_left_out() -> None:
    good = u8("fdee1000010001008000002a20033728")
    assert GoCodec([1]).decode(good.reshape(1, 16)).bad == 1
    for at in range(16):
        damaged = good.copy()
        damaged[at] ^= 0x40
        replies = GoCodec(list(range(15))).decode(damaged.reshape(1, 16))
        assert len(replies.rows) == 0 and replies.bad == 1


def test_a_go_s_own_side_reads_and_answers_as_the_vendor_library_does() -> None:
    command = read_command(bytes.fromhex("feee11800051005f140000800219000df2"), gear=1.0)
    assert (command.id, command.status) == (1, Status.FOC)
    np.testing.assert_allclose(command.target, [1, 2, 0.5, 0.5, 0.02], atol=0.02)
    answer = make_reply(Reply(0, 6.2832, 6.2832, 1.0, 42, 0, 1), gear=1.0)
    assert answer[:12].hex() == "fdee1000010001008000002a20033728"[:24] and len(answer) == 16
    assert make_reply(Reply(0, 1e9, 1e9, -1e9, 999, 0, 1))[3:7].hex() == "0080ff7f"


def test_go_brakes_when_told() -> None:
    codec = GoCodec([5])
    codec.encode(np.zeros((1, 5), np.float32), Status.BRAKE)
    assert codec.bytes[0, 2] == 5


# --- Check sums -------------------------------------------------------------------------------------------------------


def test_check_sums_have_their_published_check_values() -> None:
    check = b"123456789"
    assert (kermit(check), buypass(check), xmodem(check)) == (0x2189, 0xFEE8, 0x31C3)
    assert moteus.crc8(check) == 0x94 and moteus.crc8(b"OK ") == 0xBD


@given(st.integers(1, 20), st.integers(0, 2**32))
def test_the_crc_of_many_equals_that_of_each(length: int, seed: int) -> None:
    frames = np.random.default_rng(seed).integers(0, 256, (7, length)).astype(np.uint8)
    assert KermitOfFrames(length).of(frames).tolist() == [kermit(row.tobytes()) for row in frames]


# --- moteus, Dynamixel, Feetech, Inspire ------------------------------------------------------------------------------


def test_a_moteus_answer_means_what_its_documents_say() -> None:
    values = moteus.read_registers(bytes.fromhex("2404000a005000000170ff230d181400"))
    assert values is not None
    wanted = {moteus.Register.MODE: 10, moteus.Register.POSITION: 0.008, moteus.Register.VELOCITY: 0.064,
              moteus.Register.TORQUE: -1.44, moteus.Register.VOLTAGE: 12, moteus.Register.TEMPERATURE: 20,
              moteus.Register.FAULT: 0}
    assert values == pytest.approx(wanted)


def test_a_moteus_register_that_is_not_there_is_nan() -> None:
    values = moteus.read_registers(bytes.fromhex("25010080"))
    assert values is not None and math.isnan(values[moteus.Register.POSITION])


@pytest.mark.parametrize("payload", ["24", "2404", "240400", "21", "ff", "2501", "2c0001020304"])
def test_a_moteus_answer_cut_short_is_none(payload: str) -> None:
    assert moteus.read_registers(bytes.fromhex(payload)) is None


def test_moteus_lines_carry_a_check_sum_that_counts() -> None:
    line = b"rcv 100 2404000a005000000170ff230d181400 E B F"
    stream = moteus.LineStream()
    answers = stream.feed(moteus.with_checksum(b"OK") + moteus.with_checksum(line))
    assert stream.acknowledged == 1 and [answer.motor for answer in answers] == [1]
    assert stream.feed(moteus.with_checksum(line).replace(b"000a", b"000b")) == [] and stream.bad == 1


def test_gains_become_shares_of_the_drive_s_own() -> None:
    gains = moteus.DriveGains(kp=100.0, kd=2.0)
    kp, kd = gains.scales(100 / moteus.TWO_PI / 2, 1e9)
    assert kp == pytest.approx(0.5) and kd == 1.0


def test_dynamixel_packets_have_the_manual_s_bytes() -> None:
    assert dynamixel.make_read(1, dynamixel.PRESENT_POSITION).hex() == "fffffd0001070002840004001d15"


def test_dynamixel_stuffs_what_looks_like_a_head() -> None:
    parameters = bytes.fromhex("fffffd01fffffd")
    packet = dynamixel.make_packet(3, dynamixel.Instruction.WRITE, parameters)
    assert bytes.fromhex("fffffdfd01fffffdfd") in packet
    (found,) = dynamixel.PacketStream().feed(packet)
    assert found.parameters == parameters


def test_feetech_packets_have_the_field_s_bytes() -> None:
    assert feetech.make_read(1, feetech.PRESENT_POSITION, 2).hex() == "ffff0104023802be"


@given(st.integers(-40000, 40000), st.sampled_from([feetech.POSITION_SIGN_BIT, feetech.HOMING_SIGN_BIT]))
def test_feetech_s_sign_is_a_bit_and_never_flips(value: int, bit: int) -> None:
    held = max(min(value, (1 << bit) - 1), 1 - (1 << bit))
    assert feetech.to_signed(feetech.from_signed(value, bit), bit) == held


def test_an_inspire_hand_is_told_and_asked() -> None:
    angles = (0, 1000, 500, -1, 2000, -7)
    (told,) = inspire.FrameStream(inspire.OUT_HEAD).feed(inspire.make_angles(1, angles))
    assert told.kind == inspire.WRITE and told.angles() == (0, 1000, 500, -1, 1000, -1)
    assert inspire.make_read(1, inspire.Address.ANGLE_ACTUAL).hex() == "eb90010411" + "0a06" + "0c" + "32"


# --- MCU link ---------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=1200))
def test_stuffing_leaves_no_zero_and_comes_back(data: bytes) -> None:
    stuffed = mcu_link.stuff(data)
    assert 0 not in stuffed and mcu_link.unstuff(stuffed) == data
    assert len(stuffed) <= len(data) + 1 + len(data) // 254


@pytest.mark.parametrize(("plain", "stuffed"), [
    ("", "01"), ("00", "0101"), ("0000", "010101"), ("11220033", "0311220233"), ("11000000", "0211010101")])
def test_stuffing_has_the_published_bytes(plain: str, stuffed: str) -> None:
    assert mcu_link.stuff(bytes.fromhex(plain)).hex() == stuffed


@pytest.mark.parametrize("length", [253, 254, 255, 508, 509])
def test_stuffing_survives_its_longest_runs(length: int) -> None:
    data = bytes(range(1, 256)) * 3
    assert mcu_link.unstuff(mcu_link.stuff(data[:length])) == data[:length]


def test_a_command_arrives_as_it_was_sent() -> None:
    block = np.random.default_rng(0).normal(size=(29, 5)).astype(np.float32)
    sent = mcu_link.make_command(7, 65535, 2**32 - 1, block)
    assert sent is not None
    (frame,) = mcu_link.FrameStream().feed(sent)
    assert (frame.session, frame.sequence, frame.time_us, frame.count) == (7, 65535, 2**32 - 1, 29)
    np.testing.assert_array_equal(frame.command(), block)


def test_a_state_that_is_not_finite_is_none() -> None:
    motors, tail = np.zeros(2, mcu_link.MOTOR_STATE), np.zeros(1, mcu_link.TAIL)
    for value, is_good in ((1.0, True), (np.nan, False)):
        motors["dq"][1] = value
        body = motors.tobytes() + tail.tobytes()
        (frame,) = mcu_link.FrameStream().feed(mcu_link.make_frame(mcu_link.Kind.STATE, 1, 1, 1, 2, body))
        assert (frame.state() is not None) is is_good
