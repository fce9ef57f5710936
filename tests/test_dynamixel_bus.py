"""Dynamixel servos on a port: what a target becomes, what a cycle costs, and when a servo may move."""

from __future__ import annotations

import math

import numpy as np
import pytest

from firmware_bridge.drives import dynamixel
from firmware_bridge.drives.crc16 import BuypassOfFrames, buypass
from firmware_bridge.drives.dynamixel import Instruction
from firmware_bridge.drives.dynamixel_block import FastStream, fast_answer
from firmware_bridge.drives.dynamixel_bus import FAULT_RESTARTED, FAULT_STOPPED, DynamixelBus
from firmware_bridge.drives.dynamixel_far_end import DynamixelFarEnd
from firmware_bridge.drives.dynamixel_maintenance import DynamixelMaintenance
from firmware_bridge.drives.dynamixel_models import COUNT_RAD, MODELS
from firmware_bridge.drives.language import Drive
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import DQ, TAU
from tests.drive_talk import Talk, motors_of, targets

DRIVES = [Drive(0, 7, "XM430-W350", name="hip"), Drive(1, 3, "XM540-W270/current", name="knee"),
          Drive(2, 200, "XL330-M288", name="wrist")]


def make_talk(is_fast: bool = False) -> Talk:
    motors = motors_of(3)
    talk = Talk(DynamixelBus(DRIVES, is_fast=is_fast), DynamixelFarEnd(DRIVES, motors, [0, 1, 2]), motors)
    facts = talk.language.connect(talk.exchange, 0.05)
    assert [fact.problems for fact in facts] == [[], [], []]
    assert [fact.watchdog_s for fact in facts] == pytest.approx([0.04] * 3), "in 20 ms, never longer than asked"
    talk.cycle(targets([0, 0, 0], kp=0, kd=0))
    return talk


@pytest.fixture(params=[False, True], ids=["sync read", "fast sync read"])
def talk(request: pytest.FixtureRequest) -> Talk:
    return make_talk(request.param)


def enable(talk: Talk) -> None:
    talk.send(talk.language.enabling())


def test_servos_go_where_they_are_told_in_either_mode(talk: Talk) -> None:
    enable(talk)
    block = targets([0.5, -0.5, 0.3], kp=[10, 10, 1.5], kd=[0.4, 0.4, 0.05])
    assert talk.cycle(block, 500) == 3
    np.testing.assert_allclose(talk.motors.q, [0.5, -0.5, 0.3], atol=0.05)
    np.testing.assert_allclose(talk.language.states.q, talk.motors.q, atol=2 * COUNT_RAD)
    assert talk.language.states.is_driving.all() and not talk.language.states.faults.any() and talk.language.bad == 0


def test_a_servo_in_position_mode_pulls_with_the_torque_that_was_meant(talk: Talk) -> None:
    """A goal beside the target stands for what the servo has no register for."""
    enable(talk)
    block = targets([0.2, 0, 0], kp=20.0, kd=0.3)
    block[0, DQ], block[0, TAU] = 1.5, 0.7
    talk.motors.q[0], talk.motors.dq[0] = 0.15, 0.5
    talk.send(talk.language.ask(block))
    wanted = 20.0 * (0.2 - 0.15) + 0.3 * (1.5 - 0.5) + 0.7
    assert talk.motors.torque()[0] == pytest.approx(wanted, abs=0.04)


def test_a_servo_in_current_mode_pulls_by_its_last_answer(talk: Talk) -> None:
    enable(talk)
    talk.motors.q[1], talk.motors.dq[1] = 0.3, -1.0
    talk.send(talk.language.ask(targets([0, 0, 0], kp=0, kd=0)))
    block = targets([0.0, 0.1, 0.0], kp=[0, 10.0, 0], kd=[0, 0.5, 0])
    block[1, TAU] = 1.0
    talk.send(talk.language.ask(block))
    assert talk.motors.torque()[1] == pytest.approx(10 * (0.1 - 0.3) + 0.5 * 1.0 + 1.0, abs=0.02)


def test_without_an_answer_a_current_is_none(talk: Talk) -> None:
    """The law runs here: by a state of long ago it would push without end."""
    enable(talk)
    block = targets([0, 1.0, 0], kp=[0, 10, 0], kd=0)
    talk.cycle(block, 2)
    assert talk.motors.torque()[1] > 1
    talk.back = lambda data: b""
    talk.cycle(block, 2)
    assert talk.motors.torque()[1] == 0


def test_damping_alone_keeps_no_old_goal(talk: Talk) -> None:
    enable(talk)
    talk.cycle(targets([1.0, 0, 0], kp=[20, 0, 0], kd=0.3), 30)
    damping = targets([5.0, 0, 0], kp=0, kd=0.3)
    talk.cycle(damping, 300)
    before = talk.motors.q[0]
    talk.cycle(damping, 100)
    assert talk.motors.q[0] == pytest.approx(before, abs=0.02) and talk.motors.target[0, 3] == 0


def test_torque_without_stiffness_is_refused_by_a_servo_in_position_mode(talk: Talk) -> None:
    block = targets([0, 0, 0], kp=0, kd=0)
    block[0, TAU] = 0.5
    assert talk.language.ask(block) == [] and talk.language.refused == 1
    block[0, TAU], block[1, TAU] = 0.0, 0.5
    assert talk.language.ask(block), "in current mode it is what a current is for"


def test_what_is_not_finite_is_not_asked(talk: Talk) -> None:
    assert talk.language.ask(targets([np.nan, 0, 0])) == []


def test_nothing_moves_before_enabling_nor_after_disabling(talk: Talk) -> None:
    talk.cycle(targets([1.0, 1.0, 1.0]), 20)
    assert not talk.motors.is_enabled.any() and np.abs(talk.motors.q).max() < 1e-9
    enable(talk)
    talk.cycle(targets([0.1, 0.1, 0.1]), 5)
    assert talk.motors.is_enabled.all()
    assert talk.send(talk.language.disabling()) == 3
    assert not talk.motors.is_enabled.any() and not talk.language.states.is_driving.any()


def test_torque_comes_with_a_goal_where_the_servo_stands(talk: Talk) -> None:
    enable(talk)
    talk.cycle(targets([1.0, 0, 0.4], kp=[20, 0, 2], kd=[0.3, 0, 0.05]), 200)
    talk.send(talk.language.disabling())
    talk.motors.q[[0, 2]] = -0.5, -0.6
    talk.cycle(targets([1.0, 0, 0.4], kp=0, kd=0), 2)
    enable(talk)
    assert np.abs(talk.motors.torque()).max() < 0.05
    np.testing.assert_allclose(talk.motors.target[[0, 2], 0], [-0.5, -0.6], atol=COUNT_RAD)


def test_the_bus_watchdog_stops_a_servo_until_the_operator_says_so(talk: Talk) -> None:
    enable(talk)
    block = targets([2.0, 0, 0], kp=[20, 0, 0], kd=0.3)
    talk.cycle(block, 10)
    talk.wait(0.06)
    assert talk.motors.is_struck.all() and talk.motors.target[0, 0] < 2.0
    stopped_at = talk.motors.target[0, 0]
    talk.cycle(block, 20)
    assert (talk.language.states.faults & FAULT_STOPPED).all() and talk.motors.target[0, 0] == stopped_at
    enable(talk)
    talk.cycle(block, 2)
    assert not talk.language.states.faults.any() and talk.motors.target[0, 0] == pytest.approx(2.0, abs=0.01)


def test_a_servo_that_lost_its_power_says_nothing_false_and_does_not_move(talk: Talk) -> None:
    """Its indirect addresses are gone with its power: what it answers then are zeros, not where it stands."""
    enable(talk)
    block = targets([0.5, 0, 0.5], kp=[20, 0, 2], kd=[0.3, 0, 0.05])
    talk.cycle(block, 200)
    before, answers = talk.language.states.q.copy(), talk.language.states.answers.copy()
    talk.far_end.brown_out()
    talk.cycle(block)
    states = talk.language.states
    assert (states.faults & FAULT_RESTARTED).all() and not states.is_driving.any()
    assert states.answers.tolist() == answers.tolist() and states.q.tolist() == before.tolist()
    talk.cycle(block, 20)
    assert not talk.motors.is_enabled.any() and (states.faults & FAULT_RESTARTED).all()
    assert (states.answers > answers).all(), "told again what it is asked for, it says where it stands"
    assert talk.motors.watchdog_s.all()
    enable(talk)
    talk.cycle(block, 3)
    assert states.is_driving.all() and not states.faults.any()


def test_a_gain_that_got_lost_arrives_a_few_cycles_later(talk: Talk) -> None:
    enable(talk)
    talk.cycle(targets([0, 0, 0], kp=[10, 0, 0], kd=0), 3)
    talk.there = lambda data: b""
    talk.cycle(targets([0, 0, 0], kp=[20, 0, 0], kd=0))
    talk.there = bytes
    talk.cycle(targets([0, 0, 0], kp=[20, 0, 0], kd=0), 3)
    assert talk.motors.target[0, 3] == pytest.approx(20, rel=0.01)


def test_an_answer_of_the_cycle_before_is_no_new_state(talk: Talk) -> None:
    bus, block = talk.language, targets([0, 0, 0], kp=0, kd=0)
    late = talk.far_end.feed(bus.ask(block)[0])
    talk.cycle(block)
    before = bus.states.answers.copy()
    assert bus.hear(late, talk.now_ns) == 0, "the turn is over"
    bus.ask(block)
    bus.begin(1)
    assert bus.hear(late, talk.now_ns) == 0, "the turn of the servos whose data stand elsewhere"
    assert bus.states.answers.tolist() == before.tolist()


def test_hot_and_broken_servos_say_so(talk: Talk) -> None:
    talk.motors.temperature_c[:] = [30, 75, 41]
    talk.motors.faults[1] = 0x24
    talk.cycle(targets([0, 0, 0], kp=0, kd=0))
    assert talk.language.states.temperature_c.tolist() == [30, 75, 41]
    assert talk.language.states.faults.tolist() == [0, 0x24, 0]


def test_a_dead_servo_costs_itself_in_a_sync_read() -> None:
    talk = make_talk()
    talk.motors.is_dead[0] = True
    before = talk.language.states.answers.copy()
    talk.cycle(targets([0, 0, 0], kp=0, kd=0), 10)
    assert (talk.language.states.answers - before).tolist() == [0, 10, 10]


@pytest.mark.parametrize(("register", "value", "told"), [
    (dynamixel.RETURN_DELAY, 250, "return delay"), (dynamixel.MODEL_NUMBER, 1060, "model number"),
    (dynamixel.OPERATING_MODE, 3, "operating mode"), (dynamixel.DRIVE_MODE, 1, "drive mode"),
    (dynamixel.STATUS_RETURN, 1, "status return")])
def test_a_servo_that_is_set_otherwise_is_refused(register: dynamixel.Register, value: int, told: str) -> None:
    talk = make_talk()
    talk.far_end._poke(0, register, value)
    problems = [fact.problems for fact in talk.language.connect(talk.exchange, 0.05)]
    assert len(problems[0]) == 1 and told in problems[0][0] and problems[1:] == [[], []]


def test_a_servo_that_is_not_there_is_named() -> None:
    talk = make_talk()
    talk.motors.is_dead[1] = True
    assert "knee: no answer from servo 3" in talk.language.connect(talk.exchange, 0.05)[1].problems[0]


def test_a_watchdog_that_is_not_taken_is_told() -> None:
    talk = make_talk()

    def there(data: bytes) -> bytes:
        return b"" if data[7] == Instruction.WRITE and data[8] == dynamixel.WATCHDOG.address else data

    talk.far_end.brown_out()
    talk.there = there
    facts = talk.language.connect(talk.exchange, 0.05)
    assert [fact.watchdog_s for fact in facts] == [0, 0, 0] and "bus watchdog 0, 2" in facts[0].problems[0]


def test_who_is_there_is_found() -> None:
    talk = make_talk()
    talk.motors.temperature_c[1] = 44
    found = DynamixelMaintenance().scan(talk.exchange, range(253))
    assert [(drive.id, drive.model) for drive in found] == [(3, "XM540-W270"), (7, "XM430-W350"), (200, "XL330-M288")]
    assert found[0].watchdog_s == pytest.approx(0.04) and found[0].is_driving is False
    assert found[0].facts["temperature_c"] == 44 and found[0].facts["return_delay_s"] == 0
    assert [drive.id for drive in DynamixelMaintenance().scan(talk.exchange, [7])] == [7]
    assert not DynamixelMaintenance().ping(talk.exchange, 8)


def test_a_servo_s_id_and_watchdog_are_set_and_read_back() -> None:
    talk, upkeep = make_talk(), DynamixelMaintenance()
    assert upkeep.set_watchdog(talk.exchange, 7, 0.1) == pytest.approx(0.1)
    assert talk.motors.watchdog_s[0] == pytest.approx(0.1)
    assert upkeep.set_id(talk.exchange, 7, 9) == ""
    assert upkeep.ping(talk.exchange, 9) and not upkeep.ping(talk.exchange, 7)
    with pytest.raises(BridgeError, match="0 to 252"):
        upkeep.set_id(talk.exchange, 9, 253)
    talk.motors.is_dead[0] = True
    with pytest.raises(BridgeError, match="an answer as 11"):
        upkeep.set_id(talk.exchange, 9, 11)


@pytest.mark.parametrize("model", ["XM430", "XL430-W250", "AX-12A"])
def test_a_servo_without_current_or_unknown_is_refused(model: str) -> None:
    with pytest.raises(BridgeError, match="XM430-W350"):
        DynamixelBus([Drive(0, 1, model)])


def test_a_cycle_s_bytes_are_those_on_the_wire(talk: Talk) -> None:
    enable(talk)
    block = targets([0.1, 0.1, 0.1])
    talk.cycle(block, 3)
    questions = talk.language.ask(block)
    answers = sum(len(talk.far_end.feed(question)) for question in questions)
    assert (sum(map(len, questions)) + answers) * 10 / talk.language.baud == pytest.approx(talk.language.cycle_s(),
                                                                                        rel=0.15)


def test_stock_gains_are_as_stiff_as_such_servos_are() -> None:
    """P 800 of an XM430-W350: a count of error is 6.25 of 885 of 4.1 N m."""
    assert 800 * MODELS["XM430-W350"].kp_count == pytest.approx(6.25 / 885 * 4.1 * 4096 / math.tau)


# --- bytes of the manual ----------------------------------------------------------------------------------------------


def test_sync_packets_have_the_manual_s_bytes() -> None:
    """ROBOTIS-GIT/emanual docs/en/dxl/protocol2.md @ 0117956."""
    assert dynamixel.make_sync_read([1, 2], 132, 4).hex() == "fffffd00fe09008284000400" + "0102" + "cefa"
    assert dynamixel.make_sync_write([1, 2], dynamixel.GOAL_POSITION, [150, 170]).hex() == (
        "fffffd00fe110083740004000196000000" + "02aa000000" + "8287")
    assert dynamixel.make_status(1, 0, (166).to_bytes(4, "little")).hex() == "fffffd000108005500a60000008cc0"
    assert dynamixel.make_packet(1, Instruction.REBOOT).hex() == "fffffd00010300082f4e"


def test_fast_sync_packets_have_the_manual_s_bytes() -> None:
    """The same page, later: each servo's piece ends with the CRC of all before it."""
    asked = dynamixel.make_sync_read([3, 7, 4], 132, 4, Instruction.FAST_SYNC_READ)
    assert asked.hex() == "fffffd00fe0a008a84000400" + "030704" + "20f2"
    answer = fast_answer([3, 7, 4], [value.to_bytes(4, "little") for value in (166, 2079, 1023)]).hex()
    assert answer.startswith("fffffd00fe1900550003a60000008408" + "00071f08000016ca" + "0004ff030000")


def test_a_damaged_piece_of_a_fast_answer_costs_itself() -> None:
    ids = list(range(1, 6))
    blocks = [bytes([number] * 14) for number in ids]
    whole = fast_answer(ids, blocks)
    for at in range(8, len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        stream = FastStream(ids)
        rows = stream.feed(bytes(damaged)).rows.tolist()
        hurt = (at - 8) // 18
        is_crc = (at - 8) % 18 >= 16
        assert rows == [row for row in range(5) if row != hurt and not (is_crc and row == hurt + 1)] and stream.bad


def test_the_crcs_of_many_packets_equal_that_of_each() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (50, 23)).astype(np.uint8)
    assert BuypassOfFrames(23).of(frames).tolist() == [buypass(row.tobytes()) for row in frames]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2], [1, 2, 3]], ids=["in order", "shuffled", "one missing"])
def test_every_answer_reaches_its_own_row(order: list[int]) -> None:
    drives = [Drive(at, number, "XM430-W350") for at, number in enumerate([9, 4, 7, 2])]
    motors = motors_of(4)
    talk = Talk(DynamixelBus(drives), DynamixelFarEnd(drives, motors, [0, 1, 2, 3]), motors)
    talk.language.connect(talk.exchange, 0.05)
    bus, motors.q[:], motors.dq[:] = talk.language, [0.1, -0.2, 0.3, -0.4], [1, -2, 3, -4]
    bus.ask(targets([0, 0, 0, 0], kp=0, kd=0))
    before = bus.states.answers.copy()
    bus.begin(0)
    answer = talk.far_end.feed(bus.ask(targets([0, 0, 0, 0], kp=0, kd=0))[0])
    pieces = [answer[at : at + len(answer) // 4] for at in range(0, len(answer), len(answer) // 4)]
    assert bus.hear(b"".join(pieces[at] for at in order), 5) == len(order)
    rows = sorted(order)
    np.testing.assert_allclose(bus.states.q[rows], motors.q[rows], atol=COUNT_RAD)
    np.testing.assert_allclose(bus.states.dq[rows], motors.dq[rows], atol=0.03)
    assert (bus.states.answers - before).tolist() == [int(at in order) for at in range(4)]
    assert bus.hear(answer, 6) == 4 - len(order), "each counts once"
