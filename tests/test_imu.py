"""An IMU on a serial line: recorded packets, scalar references, damaged bytes, axes, and what its silence leads to."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.drives.imu import ImuState
from firmware_bridge.drives.language import Drive, DriveStates
from firmware_bridge.drives.xsens import DataLayout, Item, Kind, MessageStream, make_data, make_message, make_output
from firmware_bridge.drives.xsens_far_end import XsensFarEnd
from firmware_bridge.drives.xsens_imu import XsensImu
from firmware_bridge.motor_bus import MotorSample, Reading
from firmware_bridge.serial_bus import SerialBus
from firmware_bridge.serial_imu import STALE_S, BaseImu
from firmware_bridge.serial_line import Line
from runtime.faults import Mode
from tests.gate_rig import PERIOD, Rig

# Recorded from an MTi-300, with what the maker's own decoder says: Scottapotamas/xsens-mti docs/mtmanager_packets.md
# @ 9c039b0; the two whole messages with their sums: test/test_xsens_mti_parse_messages.c @ 21350e9.
UPRIGHT = bytes.fromhex(
    "102002a65510600400 57472e201010 3f7f7dc4bc10107d3ba15770bd7ec656 40200c bda21af8be2a8e96411d27a2 40100c"
    "b94fc800b9da24003cc92880 40300c 3c02c89c3c35f6c83cdb0c00 80200c bbb17d81bb9632003c01e841 803010"
    "3f800000b6e33001b6c0400037264800 c0200c be999c243fb61b563f166aeb 301004000186de e0200400400003")
ON_ITS_SIDE = bytes.fromhex(
    "102002918d106004 01363fa6201010 3f35e0423f31cd15bd9f49dbbda938cf 40200c bd635a90411d08d43e5faa50 40100c"
    "b91168003cc901003a0f7d00 40300c bc3b29803c35fc003ca46e00 80200c 3caea241bb56d800bad5ac01 803010"
    "3f80000037df8801b6898000b608c000 c0200c befbfbf23f33c485bfa0a2c1 081004421680003010 04000186e1e0200400400003")
SHAKEN_MESSAGE = bytes.fromhex(
    "faff368b 102002fb85106004 01a498de201010 3f2a1463bed7efa73cdee5083f1dcec9 40200c c1f246c3c1ece076c28f853f"
    "40100c bd932cccbd920a16be3a6eec 40300c 42519464c27b5a5ac1ccc0ae 80200c 40854d6dc125559ec0908e1f 803010"
    "3f7ff8983baa9ee5bc539ec0bbb9060c c0200c 3edc7439be752b483faf9a3f 301004000186dee0200400481401 8e")


@pytest.mark.parametrize(("message", "values"), [
    (make_message(Kind.DATA, UPRIGHT), [0.99801278, -0.00879299, 0.00492375, -0.06220087, -0.00541657, -0.00458360,
                                        0.00792891, -0.07915300, -0.16655955, 9.82217598]),
    (make_message(Kind.DATA, ON_ITS_SIDE), [0.71045315, 0.69453555, -0.07777759, -0.08262789, 0.02131760, -0.00327826,
                                            -0.00163019, -0.05550629, 9.81465530, 0.21842313]),
    (SHAKEN_MESSAGE, [0.66437358, -0.42175028, 0.02720882, 0.61643654, 4.16570139, -10.33340263, -4.51734877,
                      -30.28455162, -29.60960007, -71.76024628]),
])
def test_recorded_packets_mean_what_the_maker_s_decoder_says(message: bytes, values: list[float]) -> None:
    imu = XsensImu()
    assert imu.hear(message, 5) == 1 and imu.state.heard_ns == 5 and imu.bad == 0
    np.testing.assert_allclose(imu.state.values, values, rtol=2e-6, atol=1e-8)


@pytest.mark.parametrize(("golden", "kind", "data"), [
    ("faff3000d1", Kind.GO_TO_CONFIG, ""), ("faff1000f1", Kind.GO_TO_MEASUREMENT, ""),
    ("faff3100d0", Kind.GO_TO_CONFIG_ACK, ""),
    ("faffc1081020ffff1060ffff9c", Kind.SET_OUTPUT_ACK, "1020ffff1060ffff"),
    ("faff130b01080200000025000115346 9", 0x13, "0108020000002500011534"),
])
def test_messages_have_the_recorded_bytes(golden: str, kind: int, data: str) -> None:
    assert make_message(kind, bytes.fromhex(data)) == bytes.fromhex(golden.replace(" ", ""))


def test_the_configuration_has_the_recorded_bytes() -> None:
    rates = {0x1020: 0xFFFF, 0x1060: 0xFFFF, 0x2010: 400, 0x4020: 400, 0x4010: 400, 0x4030: 400, 0x8020: 400,
             0x8030: 400, 0xC020: 100, 0x0810: 10, 0x3010: 50, 0xE020: 0xFFFF}
    message = make_message(Kind.SET_OUTPUT, make_output(rates))
    assert message[:4].hex() == "faffc030" and message[-1] == 0x99


def test_the_order_of_a_quaternion_is_w_first_and_gravity_points_up() -> None:
    """Taken x first, this recording of an IMU lying on its side would lie upside down."""
    imu = XsensImu()
    imu.hear(make_message(Kind.DATA, ON_ITS_SIDE), 1)
    w, x, y, z = imu.state.values[:4]
    up_in_imu = np.array([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)])
    force = imu.state.values[7:] / np.linalg.norm(imu.state.values[7:])
    assert up_in_imu @ force > 0.999


def scalar_values(data: bytes) -> list[float]:
    """Item by item, with struct."""
    found: dict[int, tuple[float, ...]] = {}
    at = 0
    while at < len(data):
        item, size = struct.unpack_from(">HB", data, at)
        if item in (Item.QUATERNION, Item.RATE_OF_TURN, Item.ACCELERATION):
            found[item] = struct.unpack_from(f">{size // 4}f", data, at + 3)
        at += 3 + size
    return [*found[Item.QUATERNION], *found[Item.RATE_OF_TURN], *found[Item.ACCELERATION]]


def test_readings_of_many_equal_the_scalar_ones() -> None:
    rng = np.random.default_rng(0)
    n = 100_000
    values = rng.normal(size=(n, 10)) * [1, 1, 1, 1, 5, 5, 5, 20, 20, 20]
    values[:, :4] /= np.linalg.norm(values[:, :4], axis=1, keepdims=True)
    bodies = [make_data(row, at)[4:-1] for at, row in enumerate(values)]
    layout = DataLayout(bodies[0])
    assert not layout.problems
    read = layout.read(np.frombuffer(b"".join(bodies), np.uint8).reshape(n, -1))
    wanted = np.array([scalar_values(body) for body in bodies])
    np.testing.assert_allclose(read[:, 4:], wanted[:, 4:], rtol=0, atol=0)
    np.testing.assert_allclose(read[:, :4], wanted[:, :4], atol=2e-7)  # made unit again
    one_by_one = [layout.read_one(body) for body in bodies[:5000]]
    np.testing.assert_allclose(np.array(one_by_one), read[:5000], rtol=0, atol=1e-15)


def item(number: int, values: list[float], letter: str = "f") -> bytes:
    body = struct.pack(f">{len(values)}{letter}", *values)
    return struct.pack(">HB", number, len(body)) + body


QUAT, RATE, FORCE = item(0x2010, [1, 0, 0, 0]), item(0x8020, [0.1, 0.2, 0.3]), item(0x4020, [0, 0, 9.81])


@pytest.mark.parametrize(("data", "problem"), [
    (item(0x2014, [1, 0, 0, 0]) + RATE + FORCE, "z points down"),
    (QUAT + RATE + item(0x4030, [0, 0, 0]), "no ACCELERATION"),  # gravity taken out: no specific force
    (item(0x8030, [1, 0, 0, 0]) + RATE + FORCE, "no QUATERNION"),  # an increment is no orientation
    (QUAT + FORCE, "no RATE_OF_TURN"),
    (item(0x2011, [1, 0, 0, 0]) + RATE + FORCE, "no QUATERNION"),  # a fixed-point format
    (QUAT + RATE + FORCE + b"\x10", "do not fill"),
    (QUAT + RATE + item(0x4020, [0, 9.81]), "no ACCELERATION"),
])
def test_what_is_not_what_it_looks_like_is_not_taken(data: bytes, problem: str) -> None:
    assert any(problem in line for line in DataLayout(data).problems)
    imu = XsensImu()
    assert imu.hear(make_message(Kind.DATA, data), 1) == 0 and imu.bad == 1 and imu.state.heard_ns == 0


def test_numbers_of_double_width_and_another_world_pointing_up_are_read() -> None:
    data = item(0x201B, [0, 1, 0, 0], "d") + item(0x8023, [1, 2, 3], "d") + item(0x402B, [4, 5, 6], "d")
    imu = XsensImu()
    assert imu.hear(make_message(Kind.DATA, data), 1) == 1
    assert imu.state.values.tolist() == [0, 1, 0, 0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("bad", [item(0x2010, [1, 0, 0, math.nan]), item(0x2010, [2, 0, 0, 0]),
                                 item(0x2010, [0, 0, 0, 0]), item(0x2010, [math.inf, 0, 0, 0])])
def test_what_is_no_rotation_is_no_reading(bad: bytes) -> None:
    imu = XsensImu()
    good = QUAT + RATE + FORCE
    assert imu.hear(make_message(Kind.DATA, good) + make_message(Kind.DATA, bad + RATE + FORCE), 7) == 1
    assert imu.state.values[0] == 1 and imu.bad == 1
    assert imu.hear(make_message(Kind.DATA, bad + RATE + FORCE), 8) == 0 and imu.bad == 2 and imu.state.heard_ns == 7


def stream_of(count: int) -> list[bytes]:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(count, 10))
    values[:, :4] /= np.linalg.norm(values[:, :4], axis=1, keepdims=True)
    return [make_data(row, at) for at, row in enumerate(values)]


@given(st.lists(st.integers(1, 90), min_size=1, max_size=40))
def test_messages_are_found_however_they_are_cut(cuts: list[int]) -> None:
    messages = stream_of(20)
    data, stream, found = b"".join(messages), MessageStream(), []
    for size in cuts:
        found += stream.feed(data[:size])
        data = data[size:]
    found += stream.feed(data)
    assert [make_message(message.kind, message.data) for message in found] == messages and stream.bad == 0


@given(st.integers(0, 19), st.integers(0, 69), st.integers(1, 255))
def test_a_damaged_byte_costs_a_few_messages_and_gives_no_wrong_one(which: int, at: int, flip: int) -> None:
    messages = stream_of(60)
    data = bytearray(b"".join(messages))
    data[which * len(messages[0]) + at % len(messages[0])] ^= flip
    stream = MessageStream()
    found = [make_message(message.kind, message.data) for message in stream.feed(bytes(data))]
    assert set(found) <= set(messages) and found[-1] == messages[-1] and len(found) >= 59


@given(st.binary(max_size=600))
def test_noise_never_raises_and_never_reads(noise: bytes) -> None:
    imu = XsensImu()
    imu.hear(noise, 1)
    good = make_data(np.array([1, 0, 0, 0, 0, 0, 0, 0, 0, 9.81]), 1)
    for _ in range(12):  # a length made of noise may swallow some
        imu.hear(good, 2)
    assert imu.state.heard_ns == 2 and imu.state.values[0] == 1 and np.isfinite(imu.state.values).all()


# --- Its connection ---------------------------------------------------------------------------------------------------


class Clock:
    """Seconds that a test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def linked(far: XsensFarEnd, imu: XsensImu) -> list[str]:
    def exchange(data: bytes, is_enough: Any, longest_s: float) -> bool:
        answer = far.feed(data)
        return bool(answer) and is_enough(answer)

    return imu.connect(exchange)


@pytest.fixture
def pair() -> tuple[XsensFarEnd, XsensImu, Clock]:
    clock = Clock()
    return XsensFarEnd(lambda: np.array([0, 0, 0, 1, 1, 2, 3, 4, 5, 6.0]), clock), XsensImu(), clock


def test_it_is_configured_and_then_sends(pair: tuple[XsensFarEnd, XsensImu, Clock]) -> None:
    far, imu, clock = pair
    assert linked(far, imu) == [] and imu.rate_hz == 400
    for _ in range(100):
        clock.now_s += 0.0025
        imu.hear(far.tick(), round(clock.now_s * 1e9))
    assert imu.state.readings == 100 and imu.lost == 0
    assert imu.state.values.tolist() == [0, 0, 0, 1, 1, 2, 3, 4, 5, 6]


def test_lost_messages_are_counted(pair: tuple[XsensFarEnd, XsensImu, Clock]) -> None:
    far, imu, clock = pair
    linked(far, imu)
    for step in range(20):
        clock.now_s += 0.0025
        data = far.tick()
        if step % 5 != 2:
            imu.hear(data, 1)
    assert imu.lost == 4


def test_a_message_that_comes_twice_is_no_new_reading() -> None:
    imu = XsensImu()
    first, second = (make_data(np.array([1, 0, 0, 0, at, 0, 0, 0, 0, 9.81]), at) for at in (1, 2))
    assert imu.hear(first, 10) == 1 and imu.hear(first, 20) == 0 and imu.hear(second + second, 30) == 1
    assert imu.state.heard_ns == 30 and imu.hear(second, 40) == 0 and imu.state.heard_ns == 30
    assert (imu.repeated, imu.lost) == (3, 0)


def test_one_that_was_switched_off_and_on_counts_anew() -> None:
    imu = XsensImu()
    still = np.array([1, 0, 0, 0, 0, 0, 0, 0, 0, 9.81])
    assert [imu.hear(make_data(still, at), at) for at in (40_000, 3, 4)] == [1, 1, 1] and imu.lost == 0
    assert imu.hear(make_data(still, 65_535), 5) == 1 and imu.lost == 0 and imu.hear(make_data(still, 0), 6) == 1


@pytest.mark.parametrize(("most_hz", "problem"), [(400, ""), (100, ""), (50, "50 Hz"), (0, "0 Hz")])
def test_one_that_is_too_slow_is_refused(most_hz: int, problem: str, pair: tuple[XsensFarEnd, XsensImu, Clock]) -> None:
    far, imu, _ = pair
    far.most_hz = most_hz
    assert problem in "".join(linked(far, imu)) and bool(linked(far, imu)) is bool(problem)


@pytest.mark.parametrize(("baud", "hz"), [(115_200, 100), (230_400, 200), (460_800, 400), (921_600, 400)])
def test_a_slow_line_is_asked_for_no_more_than_it_carries(
    baud: int, hz: int, pair: tuple[XsensFarEnd, XsensImu, Clock]
) -> None:
    far, _, _ = pair
    imu = XsensImu(baud)
    assert linked(far, imu) == [] and imu.rate_hz == hz
    assert 10 * hz * len(make_data(np.zeros(10), 1)) < baud


def test_one_that_is_not_there_is_refused(pair: tuple[XsensFarEnd, XsensImu, Clock]) -> None:
    far, imu, _ = pair
    far.is_silent = True
    assert linked(far, imu) == ["no answer of an Xsens MTi"]


# --- In the base's axes -----------------------------------------------------------------------------------------------


def filled(values: list[float], mounting: tuple[float, float, float, float]) -> MotorSample:
    state, sample = ImuState(), MotorSample.zeros(1)
    state.note(np.array(values, np.float64), 1)
    BaseImu(state, mounting).fill(sample)
    return sample


def test_an_imu_mounted_upside_down_tells_the_base_s_axes() -> None:
    """Turned half about x: its y and z point the other way. The base lies upright and turns left."""
    sample = filled([0, 1, 0, 0, 0.1, 0.2, -0.3, 1, 2, -9.81], (0, 1, 0, 0))
    np.testing.assert_allclose(np.abs(sample.quat_wxyz), [1, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(sample.gyro, [0.1, -0.2, 0.3], atol=1e-6)
    np.testing.assert_allclose(sample.accel, [1, -2, 9.81], atol=1e-6)


def test_an_imu_turned_about_its_vertical_keeps_the_base_s_forward() -> None:
    """The IMU's x points to the base's left. Pitching forward is about the base's y: about the IMU's x."""
    half = math.sqrt(0.5)
    pitch = 0.2
    base = [math.cos(pitch / 2), 0, math.sin(pitch / 2), 0]
    w, _, y, _ = base
    measured = [w * half, y * half, y * half, w * half]  # base times mounting
    sample = filled([*measured, 0.5, 0, 0, 0, 0, 9.81], (half, 0, 0, half))
    np.testing.assert_allclose(sample.quat_wxyz, base, atol=1e-6)
    np.testing.assert_allclose(sample.gyro, [0, 0.5, 0], atol=1e-6)


class OneDrive:
    """A language of one drive that has always just answered."""

    baud, bad, takes_turns = 1, 0, False

    def __init__(self) -> None:
        self.states = DriveStates(1)

    def cycle_s(self) -> float:
        return 0.0

    def answer(self, now_ns: int) -> None:
        """It has just answered again."""
        self.states.note(np.array([0]), np.zeros((1, 3)), now_ns)


def test_a_silent_imu_lets_the_bus_give_no_state_however_the_drives_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10**9]
    monkeypatch.setattr("firmware_bridge.serial_bus.time.monotonic_ns", lambda: now[0])
    language, state = OneDrive(), ImuState()
    line = Line("X", [Drive(0, 1, "any")], language)  # type: ignore[arg-type]
    bus = SerialBus([line], 1, 0.002, imu=BaseImu(state))

    def read() -> Reading:
        now[0] += 2_000_000
        language.answer(now[0])
        return bus.read()

    assert read() is Reading.NONE  # it was never heard
    state.note(np.array([0, 1, 0, 0, 1, 2, 3, 4, 5, 6.0]), now[0])
    assert read() is Reading.NEW and bus.sample.quat_wxyz.tolist() == [0, 1, 0, 0]
    assert bus.sample.gyro.tolist() == [1, 2, 3] and bus.sample.accel.tolist() == [4, 5, 6]
    readings = [read() for _ in range(40)]
    assert readings.index(Reading.NONE) == round(STALE_S / 0.002) - 1 and readings[-1] is Reading.NONE
    state.note(state.values.copy(), now[0])
    assert read() is Reading.NEW


def test_the_gate_holds_and_then_damps_when_the_imu_falls_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    monkeypatch.setattr("firmware_bridge.serial_bus.time.monotonic_ns", lambda: rig.now + PERIOD)
    language, state = OneDrive(), ImuState()
    bus = SerialBus([Line("X", [Drive(0, 0, "any")], language)], 1, 0.002, imu=BaseImu(state))  # type: ignore[arg-type]

    def tick() -> Mode:
        language.answer(rig.now + PERIOD)
        return rig.tick(reading=bus.read())

    state.note(state.values.copy(), rig.now + PERIOD)
    rig.track()
    for _ in range(20):
        state.note(state.values.copy(), rig.now + PERIOD)
        assert tick() is Mode.TRACK and not rig.has("STATE_STALE")
    silent_ns, since = rig.now, {}
    while tick() is not Mode.DAMP:
        for flag in ("STATE_LATE", "STATE_STALE"):
            if rig.has(flag):
                since.setdefault(flag, rig.now - silent_ns)
    limits = rig.robot.limits
    assert since["STATE_LATE"] < since["STATE_STALE"]
    assert since["STATE_STALE"] * 1e-9 <= STALE_S + limits.state_hold_s + 0.004
    assert rig.has("STATE_LOST") and (rig.now - silent_ns) * 1e-9 <= STALE_S + limits.state_damp_s + 0.004


def test_a_silent_imu_is_stale() -> None:
    state = ImuState()
    imu = BaseImu(state)
    assert imu.is_stale(10**9) and imu.age_s(10**9) == math.inf
    state.note(state.values.copy(), 10**9)
    edge = 10**9 + round(STALE_S * 1e9)
    assert not imu.is_stale(edge) and imu.is_stale(edge + 1)
