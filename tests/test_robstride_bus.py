"""RobStride's own protocol on a port: what is read at connect, what counts as an answer, what a fault looks like."""

from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge.drives import robstride, robstride_maintenance
from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.protocols import make_far_end, make_language, make_maintenance
from firmware_bridge.drives.robstride import Parameter
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q
from tests.drive_talk import Talk, motors_of, targets

DRIVES = [Drive(0, 10, "RS03", name="hip"), Drive(1, 11, "RS00", name="knee"), Drive(2, 127, "CyberGear", name="wrist")]
WATCHDOG_S = 0.05


def talk_of(protocol: str) -> Talk:
    motors = motors_of(3)
    return Talk(make_language(protocol, DRIVES), make_far_end(protocol, DRIVES, motors, [0, 1, 2]), motors)


@pytest.fixture(params=["robstride-slcan", "robstride-at"])
def talk(request: pytest.FixtureRequest) -> Talk:
    return talk_of(request.param)


def connect(talk: Talk) -> list[str]:
    return [problem for fact in talk.language.connect(talk.exchange, WATCHDOG_S) for problem in fact.problems]


def test_drives_go_where_they_are_told_and_tell_where_they_are(talk: Talk) -> None:
    assert connect(talk) == []
    talk.send(talk.language.enabling())
    assert talk.cycle(targets([0.5, -0.5, 1.0]), 400) == 3
    np.testing.assert_allclose(talk.motors.q, [0.5, -0.5, 1.0], atol=0.02)
    np.testing.assert_allclose(talk.language.states.q, talk.motors.q, atol=0.01)
    assert talk.language.states.is_driving.all() and not talk.language.states.faults.any()
    assert talk.language.states.temperature_c.tolist() == talk.motors.temperature_c.astype(int).tolist()


def test_the_far_end_feels_what_was_meant(talk: Talk) -> None:
    connect(talk)
    talk.send(talk.language.enabling())
    block = np.zeros((3, 5))
    block[:, Q], block[:, DQ], block[:, TAU], block[:, KP], block[:, KD] = 0.5, -1.0, 3.0, 40.0, 1.0
    talk.cycle(block)
    counts = np.array([[2 * r.q_rad, 2 * r.dq_rad_s, 2 * r.tau_n_m, r.kp, r.kd]
                       for r in (robstride.MODELS[drive.model] for drive in DRIVES)]) / 65535
    assert (np.abs(talk.motors.target - block) <= counts).all()


def test_nothing_has_torque_before_enabling_nor_after_disabling(talk: Talk) -> None:
    connect(talk)
    assert talk.cycle(targets([1.0, 1.0, 1.0]), 20) == 3
    assert not talk.motors.is_enabled.any() and not talk.language.states.is_driving.any()
    talk.send(talk.language.enabling())
    talk.cycle(targets([0.1, 0.1, 0.1]), 3)
    assert talk.motors.is_enabled.all()
    talk.send(talk.language.disabling())
    talk.cycle(targets([1.0, 1.0, 1.0]), 3)
    assert not talk.motors.is_enabled.any() and not talk.language.states.is_driving.any()


def test_connecting_takes_the_torque_of_drives_that_still_have_it(talk: Talk) -> None:
    talk.motors.is_enabled[:] = True
    connect(talk)
    assert not talk.motors.is_enabled.any()


def test_the_watchdog_that_is_off_from_the_factory_is_set_and_read_back(talk: Talk) -> None:
    facts = talk.language.connect(talk.exchange, WATCHDOG_S)
    assert [fact.watchdog_s for fact in facts] == [WATCHDOG_S] * 3
    assert talk.motors.watchdog_s.tolist() == pytest.approx([WATCHDOG_S] * 3)
    talk.send(talk.language.enabling())
    talk.wait(2 * WATCHDOG_S)
    assert not talk.motors.is_enabled.any()


def test_a_watchdog_that_cannot_be_set_is_told() -> None:
    talk = talk_of("robstride-at")
    del talk.far_end.parameters[1][Parameter.CAN_TIMEOUT]  # then reads are answered with an error's echo of zeros
    facts = talk.language.connect(talk.exchange, WATCHDOG_S)
    assert facts[1].watchdog_s == 0 and "knee: watchdog" in facts[1].problems[0]


def test_a_drive_that_may_give_more_than_its_model_can_is_another_model() -> None:
    talk = talk_of("robstride-slcan")
    talk.far_end.parameters[1][Parameter.LIMIT_TORQUE] = 60.0
    assert connect(talk) == ["knee: LIMIT_TORQUE 60 N m in the drive, full scale of a RS00 is 14 N m"]
    talk.far_end.parameters[1][Parameter.LIMIT_TORQUE] = 7.0
    assert connect(talk) == [], "an owner may have set it lower"
    talk.far_end.parameters[1][Parameter.LIMIT_TORQUE] = float("nan")
    assert len(connect(talk)) == 1


def test_a_drive_in_another_run_mode_is_switched_and_one_that_stays_is_told() -> None:
    talk = talk_of("robstride-slcan")
    talk.far_end.parameters[0][Parameter.RUN_MODE] = 2
    assert connect(talk) == [] and talk.far_end.parameters[0][Parameter.RUN_MODE] == 0
    del talk.far_end.parameters[0][Parameter.RUN_MODE]
    assert connect(talk) == ["hip: run mode unknown, not 0 (operation)"]


def test_a_drive_that_is_not_there_is_told(talk: Talk) -> None:
    talk.motors.is_dead[1] = True
    assert connect(talk) == ["knee: no answer to parameter LIMIT_TORQUE"]


def test_a_dead_drive_costs_only_itself(talk: Talk) -> None:
    connect(talk)
    talk.motors.is_dead[1] = True
    before = talk.language.states.answers.copy()
    assert talk.cycle(targets([0, 0, 0]), 5) == 2
    assert (talk.language.states.answers - before).tolist() == [5, 0, 5]


def test_one_damaged_byte_costs_one_sample_of_one_drive(talk: Talk) -> None:
    connect(talk)
    talk.cycle(targets([0, 0, 0]))
    before, bad = talk.language.states.answers.copy(), talk.language.bad
    talk.back = lambda data: data[:1] + b"\x00" + data[2:] if data else data
    talk.cycle(targets([0, 0, 0]))
    talk.back = bytes
    assert (talk.language.states.answers - before).tolist() == [0, 1, 1] and talk.language.bad == bad + 1
    assert talk.cycle(targets([0, 0, 0])) == 3


def test_faults_are_passed_on_and_take_the_torque(talk: Talk) -> None:
    connect(talk)
    talk.send(talk.language.enabling())
    talk.motors.faults[0], talk.motors.is_enabled[0] = 0b100, False
    talk.cycle(targets([0, 0, 0]), 2)
    assert talk.language.states.faults.tolist() == [0b100, 0, 0]
    assert talk.language.states.is_driving.tolist() == [False, True, True]


def test_answers_of_strangers_and_reports_are_no_states(talk: Talk) -> None:
    connect(talk)
    others = [Drive(0, 12, "RS03", name="stranger")]
    there = make_far_end("robstride-slcan", others, motors_of(1), [0])
    host = make_language("robstride-slcan", others)
    (question,) = host.ask(targets([0.0]))
    mine = make_language("robstride-slcan", DRIVES)
    assert mine.hear(there.feed(question), 1) == 0
    report = b"T18800AFD80102030405060708\r"  # of drive 10, kind 0x18
    assert mine.hear(report, 1) == 0 and not mine.states.answers.any()


def test_what_is_not_finite_is_not_asked(talk: Talk) -> None:
    block = targets([0, 0, 0])
    block[1, Q] = np.inf
    assert talk.language.ask(block) == []


def test_a_model_that_nobody_knows_is_refused() -> None:
    with pytest.raises(BridgeError, match=r"RS00.*found RS99"):
        make_language("robstride-at", [Drive(0, 1, "RS99")])


def test_a_scan_tells_who_is_there_and_what_each_says() -> None:
    talk = talk_of("robstride-at")
    upkeep = make_maintenance("robstride-at")
    talk.motors.q[1] = 0.25
    found = upkeep.scan(talk.exchange, upkeep.ids)
    assert [(drive.id, drive.model, drive.watchdog_s) for drive in found] == [
        (10, "RS03", 0.0), (11, "RS00", 0.0), (127, "CyberGear", 0.0)]
    assert found[1].facts["mode"] == "operation" and found[1].facts["position_rad"] == 0.25
    assert not talk.motors.is_enabled.any() and not talk.motors.target.any()


def test_an_id_and_a_watchdog_are_changed_and_confirmed() -> None:
    talk = talk_of("robstride-slcan")
    upkeep = robstride_maintenance.slcan()
    assert upkeep.set_watchdog(talk.exchange, 10, 0.1) == 0.1 and talk.motors.watchdog_s[0] == 0.1
    assert upkeep.set_id(talk.exchange, 10, 20) == ""
    assert talk.far_end.ids == [20, 11, 127] and not upkeep.ping(talk.exchange, 10)
    talk.motors.is_dead[1] = True
    with pytest.raises(BridgeError, match="an answer as 21"):
        upkeep.set_id(talk.exchange, 11, 21)
    with pytest.raises(BridgeError, match="no answer"):
        upkeep.set_watchdog(talk.exchange, 11, 0.1)
