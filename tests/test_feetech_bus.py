"""Feetech's STS servos on a port: what a target becomes for a servo that knows positions only."""

from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge.drives import feetech
from firmware_bridge.drives.feetech import POSITION_SIGN_BIT, from_signed, to_signed
from firmware_bridge.drives.feetech_bus import COUNT_RAD, FAULT_RESTARTED, FeetechBus, signed
from firmware_bridge.drives.feetech_far_end import FeetechFarEnd
from firmware_bridge.drives.feetech_maintenance import FeetechMaintenance
from firmware_bridge.drives.language import Drive
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import DQ, TAU
from tests.drive_talk import Talk, motors_of, targets

DRIVES = [Drive(0, 4, "STS3215", name="hip"), Drive(1, 1, "STS3250", name="knee"), Drive(2, 253, "STS3215", name="toe")]


@pytest.fixture
def talk() -> Talk:
    motors = motors_of(3)
    one = Talk(FeetechBus(DRIVES), FeetechFarEnd(DRIVES, motors, [0, 1, 2]), motors)
    facts = one.language.connect(one.exchange, 0.05)
    assert [fact.problems for fact in facts] == [[], [], []] and facts[0].watchdog_s is None
    one.cycle(targets([0, 0, 0]), 3)
    return one


def enable(talk: Talk) -> None:
    talk.send(talk.language.enabling())


def test_servos_go_where_they_are_told(talk: Talk) -> None:
    enable(talk)
    assert talk.cycle(targets([0.5, -0.5, 1.0]), 400) == 3
    np.testing.assert_allclose(talk.motors.q, [0.5, -0.5, 1.0], atol=0.02)
    np.testing.assert_allclose(talk.language.states.q, talk.motors.q, atol=COUNT_RAD)
    assert talk.language.states.is_driving.all() and talk.language.bad == 0


def test_a_negative_angle_is_a_sign_bit_and_no_huge_angle(talk: Talk) -> None:
    """Read as two's complement, -2 counts would be -32766."""
    talk.motors.q[:], talk.motors.dq[:], talk.motors.tau[:] = -2 * COUNT_RAD, -1.0, -0.5
    talk.cycle(targets([0, 0, 0]))
    states = talk.language.states
    np.testing.assert_allclose(states.q, -2 * COUNT_RAD)
    np.testing.assert_allclose(states.dq, -1.0, atol=COUNT_RAD)
    np.testing.assert_allclose(states.tau, -0.5, atol=0.005)


def test_signs_of_many_equal_that_of_each() -> None:
    raw = np.random.default_rng(0).integers(0, 65536, 2000).astype(np.uint16)
    for bit in (15, 10):
        kept = raw & np.uint16((1 << bit + 1) - 1)
        assert signed(kept, bit).tolist() == [to_signed(int(value), bit) for value in kept]


def test_a_target_with_a_torque_is_refused(talk: Talk) -> None:
    block = targets([0, 0, 0])
    block[0, TAU] = 0.2
    assert talk.language.ask(block) == []
    block[0, TAU], block[1, DQ] = 0, 2.0
    assert talk.language.ask(block) == [] and talk.language.refused == 2
    assert talk.language.ask(targets([np.inf, 0, 0])) == []


def test_a_target_without_kp_takes_the_torque_and_only_the_operator_gives_it_again(talk: Talk) -> None:
    enable(talk)
    talk.cycle(targets([0.3, 0.3, 0.3]), 5)
    talk.cycle(targets([0.3, 0.3, 0.3], kp=0), 5)
    assert not talk.motors.is_enabled.any()
    talk.cycle(targets([0.3, 0.3, 0.3]), 5)
    assert not talk.motors.is_enabled.any() and not talk.language.states.is_driving.any()
    enable(talk)
    assert talk.motors.is_enabled.all()


def test_nothing_moves_before_enabling_nor_after_disabling(talk: Talk) -> None:
    talk.cycle(targets([1.0, 1.0, 1.0]), 20)
    assert not talk.motors.is_enabled.any() and np.abs(talk.motors.q).max() < 1e-9
    enable(talk)
    talk.cycle(targets([0.1, 0.1, 0.1]), 5)
    assert talk.motors.is_enabled.all()
    assert talk.send(talk.language.disabling()) == 3 and not talk.motors.is_enabled.any()


def test_torque_comes_with_a_goal_where_the_servo_stands(talk: Talk) -> None:
    talk.motors.q[:] = 0.4, -0.2, 2.0
    talk.cycle(targets([0, 0, 0]))
    enable(talk)
    assert np.abs(talk.motors.torque()).max() < 0.05


def test_a_servo_that_lost_its_power_is_found_and_left_alone(talk: Talk) -> None:
    enable(talk)
    talk.cycle(targets([0.3, 0.3, 0.3]), 50)
    talk.far_end.brown_out()
    talk.cycle(targets([0.3, 0.3, 0.3]), 4)
    states = talk.language.states
    assert not states.is_driving.any() and not talk.motors.is_enabled.any()
    sent: list[bytes] = []

    def there(data: bytes) -> bytes:
        sent.append(data)
        return data

    talk.there = there
    talk.cycle(targets([1.0, 1.0, 1.0]), 4)
    assert (states.faults & FAULT_RESTARTED).all()
    assert not any(bytes([feetech.Instruction.SYNC_WRITE, feetech.GOAL_POSITION]) in data for data in sent)
    enable(talk)
    talk.cycle(targets([0.3, 0.3, 0.3]), 4)
    assert states.is_driving.all() and not states.faults.any()


def test_a_dead_servo_costs_itself(talk: Talk) -> None:
    talk.motors.is_dead[1] = True
    before = talk.language.states.answers.copy()
    talk.cycle(targets([0, 0, 0]), 10)
    assert (talk.language.states.answers - before).tolist() == [10, 0, 10]


def test_an_answer_counts_once_and_in_its_turn(talk: Talk) -> None:
    bus = talk.language
    questions = bus.ask(targets([0, 0, 0]))
    states = talk.far_end.feed(questions[0])
    talk.send(questions)
    before = bus.states.answers.copy()
    assert bus.hear(states, talk.now_ns) == 0
    bus.ask(targets([0, 0, 0]))
    bus.begin(1)
    assert bus.hear(states, talk.now_ns) == 0 and not bus.is_answered()
    assert bus.states.answers.tolist() == before.tolist()


def test_goals_stay_within_the_servo_s_own_limits(talk: Talk) -> None:
    talk.far_end.memory[0][9:13] = (100).to_bytes(2, "little") + (200).to_bytes(2, "little")
    talk.far_end.memory[1][9:13] = bytes(4)
    talk.language.connect(talk.exchange, 0.05)
    talk.cycle(targets([0, 0, 0]), 3)
    enable(talk)
    talk.send(talk.language.ask(targets([0.0, -20.0, 0.0])))
    np.testing.assert_allclose(talk.motors.target[:2, 0], [100 * COUNT_RAD, -20.0], atol=COUNT_RAD)


@pytest.mark.parametrize(("address", "value", "told"), [
    (3, 1284, "model number"), (7, 250, "return delay"), (8, 0, "status level"), (33, 1, "operating mode")])
def test_a_servo_that_is_set_otherwise_is_refused(talk: Talk, address: int, value: int, told: str) -> None:
    talk.far_end.memory[1][address : address + 2] = value.to_bytes(2, "little")
    if address == 7:
        talk.far_end.memory[1][8] = 1
    problems = [fact.problems for fact in talk.language.connect(talk.exchange, 0.05)]
    assert len(problems[1]) == 1 and told in problems[1][0] and not problems[0]


def test_a_servo_that_is_not_there_is_named(talk: Talk) -> None:
    talk.motors.is_dead[2] = True
    assert "toe: no answer from servo 253" in talk.language.connect(talk.exchange, 0.05)[2].problems[0]


def test_who_is_there_is_found_and_gets_another_id(talk: Talk) -> None:
    upkeep = FeetechMaintenance()
    found = upkeep.scan(talk.exchange, range(254))
    assert [(drive.id, drive.model) for drive in found] == [(1, "STS3250"), (4, "STS3215"), (253, "STS3215")]
    assert upkeep.set_id(talk.exchange, 4, 9) == "" and not upkeep.ping(talk.exchange, 4)
    assert talk.far_end.memory[0][feetech.LOCK] == 1
    with pytest.raises(BridgeError, match="0 to 253"):
        upkeep.set_id(talk.exchange, 9, 254)
    with pytest.raises(BridgeError, match="watchdog"):
        upkeep.set_watchdog(talk.exchange, 9, 0.1)


@pytest.mark.parametrize("model", ["STS3032", "SCS0009"])
def test_an_unknown_servo_is_refused(model: str) -> None:
    with pytest.raises(BridgeError, match="STS3215"):
        FeetechBus([Drive(0, 1, model)])


def test_sign_magnitude_round_trips_where_lerobot_s_offsets_overflowed() -> None:
    assert to_signed(from_signed(-2048, feetech.HOMING_SIGN_BIT), feetech.HOMING_SIGN_BIT) == -2047
    assert to_signed(from_signed(-30_719, POSITION_SIGN_BIT), POSITION_SIGN_BIT) == -30_719
