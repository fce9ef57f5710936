"""GO-M8010-6 on a port: who is asked, what counts as an answer, and when a motor may turn."""

from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge.drives.go_m8010 import ERRORS, GEAR
from firmware_bridge.drives.go_m8010_bus import MODEL, GoBus
from firmware_bridge.drives.go_m8010_far_end import GoFarEnd
from firmware_bridge.drives.go_m8010_maintenance import GoMaintenance
from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.turns import MOST_SILENT
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import TAU
from tests.drive_talk import Talk, motors_of, targets

DRIVES = [Drive(at, number, MODEL, name=f"joint {at}") for at, number in enumerate((3, 0, 14))]


@pytest.fixture
def talk() -> Talk:
    motors = motors_of(3)
    one = Talk(GoBus(DRIVES), GoFarEnd(DRIVES, motors, [0, 1, 2]), motors)
    assert not any(facts.problems for facts in one.language.connect(one.exchange, 0.05))
    return one


def test_each_motor_has_a_question_of_its_own_and_goes_where_it_is_told(talk: Talk) -> None:
    assert len(talk.language.ask(targets([0, 0, 0]))) == 3
    assert talk.language.enabling() == []
    assert talk.cycle(targets([0.5, -0.5, 1.0]), 400) == 3
    np.testing.assert_allclose(talk.motors.q, [0.5, -0.5, 1.0], atol=0.02)
    np.testing.assert_allclose(talk.language.states.q, talk.motors.q, atol=0.01)
    assert talk.language.states.is_driving.all() and talk.language.states.answered_ns.all()


def test_the_far_end_feels_what_was_meant_behind_the_gear(talk: Talk) -> None:
    talk.language.enabling()
    block = targets([0.0, 0.0, 0.0], kp=40.0, kd=1.0)
    block[:, TAU] = 6.33
    talk.cycle(block)
    np.testing.assert_allclose(talk.motors.target[0], [0, 0, 6.33, 40, 1], atol=GEAR**2 / 1280)


def test_nothing_turns_before_enabling_nor_after_disabling(talk: Talk) -> None:
    talk.cycle(targets([1.0, 1.0, 1.0]), 20)
    assert not talk.motors.is_enabled.any() and not talk.language.states.is_driving.any()
    talk.language.enabling()
    talk.cycle(targets([0.1, 0.1, 0.1]), 5)
    assert talk.motors.is_enabled.all()
    assert talk.send(talk.language.disabling()) == 3, "a motor that brakes still tells its state"
    assert not talk.motors.is_enabled.any() and not talk.language.states.is_driving.any()
    talk.cycle(targets([1.0, 1.0, 1.0]), 5)
    assert not talk.motors.is_enabled.any()


def test_the_first_frame_of_disabling_stops_all(talk: Talk) -> None:
    """When a bus is closed, nobody waits for turns: the rest of the frames may collide with answers."""
    talk.language.enabling()
    talk.cycle(targets([0.1, 0.1, 0.1]), 3)
    assert talk.far_end.feed(talk.language.disabling()[0]) == b"" and not talk.motors.is_enabled.any()


def test_a_dead_motor_costs_its_own_turn(talk: Talk) -> None:
    talk.language.enabling()
    talk.cycle(targets([0, 0, 0]), 3)
    talk.motors.is_dead[1] = True
    before = talk.language.states.answers.copy()
    assert talk.cycle(targets([0, 0, 0]), 10) == 2
    assert (talk.language.states.answers - before).tolist() == [10, 0, 10]


def test_a_motor_that_comes_back_from_a_long_silence_waits_for_the_operator(talk: Talk) -> None:
    """A brown-out: its frames say all, so the next one would have turned it."""
    talk.language.enabling()
    talk.cycle(targets([0, 0, 0]), 3)
    talk.motors.is_dead[1], talk.motors.is_enabled[1] = True, False
    talk.cycle(targets([0, 0, 0]), MOST_SILENT + 2)
    talk.motors.is_dead[1] = False
    talk.cycle(targets([1.0, 1.0, 1.0]), 20)
    assert talk.motors.is_enabled.tolist() == [True, False, True]
    assert talk.language.states.is_driving.tolist() == [True, False, True]
    talk.language.enabling()
    talk.cycle(targets([1.0, 1.0, 1.0]), 2)
    assert talk.motors.is_enabled.all()


def test_a_short_silence_is_only_that(talk: Talk) -> None:
    talk.language.enabling()
    talk.cycle(targets([0, 0, 0]), 3)
    talk.motors.is_dead[1] = True
    talk.cycle(targets([0, 0, 0]), MOST_SILENT - 2)
    talk.motors.is_dead[1] = False
    talk.cycle(targets([0, 0, 0]), 2)
    assert talk.language.states.is_driving.all()


def test_an_answer_that_comes_when_nobody_waits_is_no_new_state(talk: Talk) -> None:
    bus = talk.language
    question = bus.ask(targets([0, 0, 0]))[0]
    late = talk.far_end.feed(question)
    talk.cycle(targets([0, 0, 0]))
    before = bus.states.answers.copy()
    assert bus.hear(late, talk.now_ns) == 0 and bus.states.answers.tolist() == before.tolist()
    bus.ask(targets([0, 0, 0]))
    bus.begin(1)
    assert bus.hear(late, talk.now_ns) == 0 and not bus.is_answered(), "another motor's turn"
    assert bus.turns.late == 2


def test_an_answer_that_comes_twice_counts_once(talk: Talk) -> None:
    talk.back = lambda data: data + data
    assert talk.cycle(targets([0, 0, 0])) == 3 and talk.language.turns.late == 3


def test_half_an_answer_does_not_eat_the_next_one(talk: Talk) -> None:
    bus = talk.language
    questions = bus.ask(targets([0, 0, 0]))
    bus.begin(0)
    assert bus.hear(talk.far_end.feed(questions[0])[:9], talk.now_ns) == 0
    bus.begin(1)
    assert bus.hear(talk.far_end.feed(questions[1]), talk.now_ns) == 1 and bus.bad == 1


def test_errors_and_heat_are_told(talk: Talk) -> None:
    talk.language.enabling()
    talk.motors.temperature_c[:] = [20, 89, 91]
    talk.motors.faults[0] = 4
    talk.cycle(targets([0, 0, 0]), 2)
    assert [ERRORS[int(fault)] for fault in talk.language.states.faults] == ["encoder", "normal", "over-temperature"]
    assert talk.language.states.is_driving.tolist() == [False, True, False]
    np.testing.assert_allclose(talk.language.states.temperature_c, [20, 89, 91], atol=1)


def test_a_motor_that_is_not_there_is_named(talk: Talk) -> None:
    talk.motors.is_dead[2] = True
    facts = talk.language.connect(talk.exchange, 0.05)
    assert [fact.problems for fact in facts] == [[], [], ["joint 2: no answer from motor 14"]]
    assert facts[0].watchdog_s is None, "nobody knows of one"


def test_who_is_there_is_found_without_moving_anything(talk: Talk) -> None:
    talk.language.enabling()
    talk.cycle(targets([0, 0, 0]), 2)
    talk.motors.faults[0] = 3
    found = GoMaintenance().scan(talk.exchange, range(15))
    assert [drive.id for drive in found] == [0, 3, 14] and not talk.motors.is_enabled.any()
    assert found[1].facts["error"] == "over-voltage" and found[0].watchdog_s is None
    assert GoMaintenance().scan(talk.exchange, [5]) == [] and GoMaintenance().ping(talk.exchange, 14)


def test_what_is_not_finite_is_not_asked(talk: Talk) -> None:
    assert talk.language.ask(targets([np.nan, 0, 0])) == []


@pytest.mark.parametrize(("model", "number"), [("GO-M8010-6", 15), ("A1", 1), ("GO-M8010-6", -1)])
def test_another_model_or_an_impossible_id_is_refused(model: str, number: int) -> None:
    with pytest.raises(BridgeError, match="id from 0 to 14"):
        GoBus([Drive(0, number, model)])


def test_seven_motors_fit_500_hz(talk: Talk) -> None:
    bus = GoBus([Drive(at, at, MODEL) for at in range(7)])
    assert bus.cycle_s() == pytest.approx(7 * (33 * 10 / 4e6 + 50e-6)) and bus.cycle_s() < 0.8 * 0.002
