"""Turns on a half-duplex bus and what a line makes of its drives' answers, on a fake clock and a fake port."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from firmware_bridge.drives.dynamixel_block import ADDRESSES
from firmware_bridge.drives.dynamixel_bus import DynamixelBus
from firmware_bridge.drives.dynamixel_far_end import DynamixelFarEnd
from firmware_bridge.drives.language import F64, Drive, DriveStates, Exchange, Facts
from firmware_bridge.emulated_drives import EmulatedMotors, Motor
from firmware_bridge.motor_bus import KP, MotorCommand, MotorSample, Q
from firmware_bridge.serial_line import (
    ENABLE_CYCLES,
    FAULT_JUMP,
    FAULT_LIMP,
    FAULT_LOST,
    MOST_MISSES,
    Line,
)
from firmware_bridge.serial_port import SerialPort
from firmware_bridge.serial_turns import PATIENCE, SELDOM, Turns

MS = 1_000_000


class Roll:
    """A protocol of one byte: a question is a drive's number, the answer the same number and its position."""

    takes_turns, baud, turn_s, bad = True, 1_000_000, 0.001, 0

    def __init__(self, drives: int = 3) -> None:
        self.states = DriveStates(drives)
        self._due = -1
        self._expects = [True] * drives

    def connect(self, exchange: Exchange, watchdog_s: float) -> list[Facts]:
        return [Facts(watchdog_s) for _ in self.states.q]

    def ask(self, block: F64) -> list[bytes]:
        self._expects = [True] * len(block)
        return [bytes([at]) for at in range(len(block))]

    def begin(self, turn: int) -> None:
        self._due = turn if self._expects[turn] else -1

    def hear(self, data: bytes, now_ns: int) -> int:
        for at, q in zip(data[::2], data[1::2], strict=False):
            self.states.note(np.array([at]), np.array([[q / 100, 0, 0]]), now_ns)
            if at == self._due:
                self._due = -1
        return len(data) // 2

    def is_answered(self) -> bool:
        return self._due < 0

    def enabling(self) -> list[bytes]:
        self._expects = [False, False]
        return [b"\xf0", b"\xf2"]

    def disabling(self) -> list[bytes]:
        return [b"\xf1"]

    def cycle_s(self) -> float:
        return 0.001


class Wire:
    """A port that keeps what was sent and gives what a test lays in."""

    is_open, dropped = True, 0

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.coming = b""

    def write(self, data: bytes) -> bool:
        self.sent.append(data)
        return True

    def read(self) -> bytes:
        data, self.coming = self.coming, b""
        return data


def play(turns: Turns, wire: Wire, answer: Callable[[int], bytes], now_ns: int, end_ns: int) -> list[int]:
    """Run a cycle: the answers come 0.1 ms after each question. Returns who was asked."""
    asked: list[int] = []
    while now_ns < end_ns:
        seen = len(wire.sent)
        due = turns.advance(cast(SerialPort, wire), now_ns)
        asked += [data[0] for data in wire.sent[seen:]]
        wire.coming = b"".join(answer(data[0]) for data in wire.sent[seen:])
        if not due:
            break
        now_ns = now_ns + MS // 10 if wire.coming else due
    return asked


def test_the_next_is_asked_when_the_answer_is_whole() -> None:
    language, wire = Roll(), Wire()
    turns = Turns(language)
    turns.begin(language.ask(np.zeros((3, 5))))
    port = cast(SerialPort, wire)
    due = turns.advance(port, 0)
    assert wire.sent == [b"\x00"] and due == MS
    assert turns.advance(port, MS // 2) == due and wire.sent == [b"\x00"]
    wire.coming = b"\x00"  # half an answer
    assert turns.advance(port, MS // 2) == due
    language.hear(b"\x00\x05", 1)
    turns.advance(port, MS // 2)
    assert wire.sent == [b"\x00", b"\x01"]


def test_a_silent_drive_costs_its_own_turn_and_then_hardly_any() -> None:
    language, wire = Roll(), Wire()
    turns = Turns(language)
    counts = {0: 0, 1: 0, 2: 0}
    for cycle in range(SELDOM * 4):
        turns.begin(language.ask(np.zeros((3, 5))))
        begin_ns = cycle * 4 * MS
        for at in play(turns, wire, lambda at: b"" if at == 1 else bytes([at, 7]), begin_ns, begin_ns + 4 * MS):
            counts[at] += 1
    assert counts[0] == counts[2] == SELDOM * 4
    assert PATIENCE <= counts[1] <= PATIENCE + 4 and turns.expired == counts[1]


def test_a_drive_that_comes_back_is_asked_in_every_cycle_again() -> None:
    language, wire = Roll(), Wire()
    turns = Turns(language)
    for cycle in range(3 * SELDOM):
        turns.begin(language.ask(np.zeros((3, 5))))
        is_dead = cycle < SELDOM
        asked = play(turns, wire, lambda at, dead=is_dead: b"" if at == 1 and dead else bytes([at, 7]),  # type: ignore[misc]
                     cycle * 4 * MS, (cycle * 4 + 4) * MS)
    assert asked == [0, 1, 2]


def test_what_a_cycle_did_not_come_to_is_first_in_the_next() -> None:
    language, wire = Roll(), Wire()
    turns = Turns(language)
    turns.begin(language.ask(np.zeros((3, 5))))
    assert play(turns, wire, lambda at: bytes([at, 7]), 0, MS // 10) == [0]
    turns.begin(language.ask(np.zeros((3, 5))))
    language.hear(b"\x00\x07", 1)
    assert play(turns, wire, lambda at: bytes([at, 7]), MS, 2 * MS) == [1, 2, 0]
    assert turns.put_off == 2


def test_what_is_said_once_is_said_to_its_end_before_drives_are_asked_again() -> None:
    language, wire = Roll(), Wire()
    line = Line("port", DRIVES, language, cast(SerialPort, wire))
    assert line.turns is not None
    line.turns.begin(language.ask(np.zeros((3, 5))))
    line.hear(0)  # asks the first drive, which will not answer
    line.arm()
    assert line.command(MotorCommand(3)) and line.turns.is_saying and wire.sent == [b"\x00"]
    line.hear(MS)
    assert wire.sent[1:] == [b"\xf0", b"\xf2"] and not line.turns.is_saying
    assert line.command(MotorCommand(3))
    line.hear(2 * MS)
    assert wire.sent[3:] == [b"\x00"]


def test_a_port_that_has_gone_leaves_nothing_due() -> None:
    language, wire = Roll(), Wire()
    turns = Turns(language)
    turns.begin(language.ask(np.zeros((3, 5))))
    turns.advance(cast(SerialPort, wire), 0)
    wire.is_open = False
    assert turns.advance(cast(SerialPort, wire), MS) == 0
    wire.is_open = True
    assert turns.advance(cast(SerialPort, wire), 2 * MS) == 0 and wire.sent == [b"\x00"]


DRIVES = [Drive(0, 1, "", name="a"), Drive(1, 2, "", sign=-1, gear=2.0, offset_rad=0.5, name="b"), Drive(2, 3, "")]


class Told(Roll):
    """The same, with states that a test sets."""

    takes_turns = False

    def say(self, q: list[float], now_ns: int, rows: tuple[int, ...] = (0, 1, 2)) -> None:
        index = np.array(rows)
        motion = np.zeros((len(rows), 3))
        motion[:, 0] = [q[row] for row in rows]
        self.states.note(index, motion, now_ns)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def line(told: Told) -> Line:
    one = Line("port", DRIVES, told)
    one.limit_speed(np.array([20.0, 20.0, 0.0]))
    return one


def test_positions_and_gains_go_through_sign_gear_and_offset(told: Told, line: Line) -> None:
    sample = MotorSample.zeros(3)
    told.say([0.1, 0.2, 0.3], MS)
    assert line.take(sample, True)
    np.testing.assert_allclose(sample.q, [0.1, -0.2 / 2 + 0.5, 0.3], rtol=1e-6)
    block = np.zeros((3, 5), np.float32)
    block[:, Q], block[:, KP] = sample.q, 40
    out = line.to_drive(block)
    np.testing.assert_allclose(out[:, Q], [0.1, 0.2, 0.3], rtol=1e-6)
    np.testing.assert_allclose(out[:, KP], [40, 10, 40], rtol=1e-6)


def test_one_jump_is_dropped_and_costs_one_sample(told: Told, line: Line) -> None:
    sample = MotorSample.zeros(3)
    for cycle in range(1, 30):
        told.say([3.0 if cycle == 20 else 0.01 * cycle, 0, 0], cycle * 2 * MS)
        line.take(sample, True)
        if cycle == 20:
            assert sample.q[0] == pytest.approx(0.19) and line.misses.tolist() == [1, 0, 0]
    assert sample.q[0] == pytest.approx(0.29) and line.missed.tolist() == [1, 0, 0] and not sample.motor_error.any()


@pytest.mark.parametrize("jumps", ["for good", "to and fro"])
def test_a_drive_whose_position_goes_on_jumping_is_shut_out_until_it_is_armed_anew(
    told: Told, line: Line, jumps: str
) -> None:
    sample = MotorSample.zeros(3)
    line.arm()
    for cycle in range(1, 40):
        is_away = cycle >= 20 and (jumps == "for good" or cycle % 2 == 0)
        told.say([0, 2.0 if is_away else 0.0, 0], cycle * 2 * MS)
        line.take(sample, True)
    assert [bool(error & FAULT_JUMP) for error in sample.motor_error] == [False, True, False]
    assert sample.q[1] == pytest.approx(0.5)
    block = np.full((3, 5), 9, np.float32)
    assert not line.to_drive(block)[1].any() and line.to_drive(block)[0].any()
    line.arm()
    told.say([0, 0, 0], 100 * MS)
    line.take(sample, True)
    assert not (sample.motor_error & FAULT_JUMP).any()


def test_a_long_silence_allows_a_long_way(told: Told, line: Line) -> None:
    sample = MotorSample.zeros(3)
    told.say([0, 0, 0], MS)
    line.take(sample, True)
    told.say([1.0, 0, 0], 100 * MS)
    line.take(sample, True)
    assert sample.q[0] == 1.0


def test_who_does_not_answer_is_lost_and_found_again(told: Told, line: Line) -> None:
    sample = MotorSample.zeros(3)
    for cycle in range(1, MOST_MISSES + 2):
        told.say([0, 0, 0], cycle * 2 * MS, rows=(0, 2))
        line.take(sample, True)
    assert (sample.motor_error & FAULT_LOST).tolist() == [0, FAULT_LOST, 0]
    told.say([0, 0, 0], 1000 * MS)
    line.take(sample, True)
    assert not sample.motor_error.any()


def test_a_lost_enabling_is_said_again_but_not_to_a_drive_that_lost_its_torque(told: Told, line: Line) -> None:
    line.arm()
    told.states.is_driving[:] = True, False, True
    assert [bool(line.reminder()) for _ in range(4)] == [False, False, True, True]
    told.states.is_driving[0] = False
    assert [bool(line.reminder()) for _ in range(ENABLE_CYCLES)] == [False] * ENABLE_CYCLES
    sample = MotorSample.zeros(3)
    told.say([0, 0, 0], MS)
    line.take(sample, True)
    assert (sample.motor_error & FAULT_LIMP).tolist() == [FAULT_LIMP, FAULT_LIMP, 0]


def test_who_has_not_answered_since_it_was_armed_is_not_limp_yet_but_lost_in_the_end(told: Told, line: Line) -> None:
    sample = MotorSample.zeros(3)
    told.say([0, 0, 0], MS)
    line.take(sample, True)
    line.arm()
    told.states.is_driving[:] = True, False, True
    for cycle in range(1, ENABLE_CYCLES + 2):
        line.reminder()
        told.say([0, 0, 0], (1 + 2 * cycle) * MS, rows=(0, 2))
        line.take(sample, True)
    assert sample.motor_error.tolist() == [0, FAULT_LOST, 0]
    told.say([0, 0, 0], 100 * MS)
    line.take(sample, True)
    assert sample.motor_error.tolist() == [0, FAULT_LIMP, 0]


def test_a_port_opened_anew_is_never_reminded_of_torque(told: Told, line: Line) -> None:
    line.arm()
    line.opened(cast(SerialPort, Wire()))
    told.states.is_driving[:] = False
    assert [line.reminder() for _ in range(ENABLE_CYCLES)] == [[]] * ENABLE_CYCLES
    sample = MotorSample.zeros(3)
    told.say([0, 0, 0], MS)
    line.take(sample, True)
    assert (sample.motor_error & FAULT_LIMP).all()


def test_a_question_to_many_is_asked_in_every_cycle_though_one_of_them_is_silent() -> None:
    motors = EmulatedMotors([Motor()] * 3)
    servos = [Drive(at, at + 1, "XM430-W350") for at in range(3)]
    far, language, wire = DynamixelFarEnd(servos, motors, [0, 1, 2]), DynamixelBus(servos), Wire()
    motors.is_dead[1] = True
    for at in (0, 2):
        far.memory[at][98] = 2  # the bus watchdog as connecting leaves it
        far.memory[at][168:168 + len(ADDRESSES)] = ADDRESSES
    turns, now_ns = Turns(language), MS
    for _ in range(3 * PATIENCE):
        turns.begin(language.ask(np.zeros((3, 5))))
        while due_ns := turns.advance(cast(SerialPort, wire), now_ns):
            wire.coming, wire.sent = far.feed(b"".join(wire.sent)), []
            now_ns = now_ns + MS // 10 if wire.coming else due_ns
    assert language.states.answers.tolist() == [3 * PATIENCE, 0, 3 * PATIENCE]


@pytest.mark.parametrize("motors", [[0, 1, 2], [4, 5, 6], [6, 0, 3]], ids=["first", "a run", "scattered"])
def test_a_line_fills_its_own_motors_wherever_they_stand(motors: list[int]) -> None:
    told = Told(3)
    line = Line("port", [Drive(motor, at + 1, "any") for at, motor in enumerate(motors)], told)
    sample, block = MotorSample.zeros(7), np.arange(35, dtype=np.float32).reshape(7, 5)
    told.say([0.1, 0.2, 0.3], 2 * MS)
    assert line.take(sample, True)
    expected = np.zeros(7)
    expected[motors] = [0.1, 0.2, 0.3]
    np.testing.assert_allclose(sample.q, expected, rtol=1e-6)
    np.testing.assert_allclose(line.to_drive(block), block[motors])


def test_what_a_line_missed_is_counted_for_the_report(told: Told, line: Line) -> None:
    sample = MotorSample.zeros(3)
    line.opened(cast(SerialPort, Wire()))
    for cycle in range(1, 21):
        told.say([0, 0, 0], cycle * 2 * MS, (0, 2) if 5 <= cycle < 9 or cycle == 12 else (0, 1, 2))
        line.take(sample, True)
    first, second, _ = line.statistics(time.monotonic_ns())["drives"]
    assert (first["answers"], first["missed"], first["most_missed"]) == (20, 0, 0)
    assert (second["answers"], second["missed"], second["most_missed"], second["lost"]) == (15, 5, 4, 1)
    assert first["rate_hz"] > second["rate_hz"] > 0
