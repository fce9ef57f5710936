"""moteus on a port: units, gains that are shares, check sums that switch on, and when a drive may have torque."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.drives import moteus_settings
from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.moteus import LineStream, Mode, crc8, crc8_of_many, make_line, make_position, with_checksum
from firmware_bridge.drives.moteus_bus import FAULT_GAINS, MODEL, MoteusBus
from firmware_bridge.drives.moteus_codec import QUERY, QUESTION, MoteusCodec
from firmware_bridge.drives.moteus_far_end import MoteusFarEnd, parts_of
from firmware_bridge.drives.moteus_maintenance import MoteusMaintenance
from firmware_bridge.drives.protocols import make_far_end, make_language
from firmware_bridge.drives.turns import MOST_SILENT
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q
from tests.drive_talk import Talk, motors_of, targets

DRIVES = [Drive(0, 1, MODEL, name="hip"), Drive(1, 17, MODEL, name="knee"), Drive(2, 127, MODEL, name="ankle"),
          Drive(3, 2, MODEL, name="toe")]
WATCHDOG_S = 0.05
ZERO = targets([0.0] * 4)


@pytest.fixture
def talk() -> Talk:
    motors = motors_of(4)
    return Talk(make_language("moteus-fdcanusb", DRIVES), make_far_end("moteus-fdcanusb", DRIVES, motors, [0, 1, 2, 3]),
                motors)


def connect(talk: Talk) -> list[str]:
    return [problem for fact in talk.language.connect(talk.exchange, WATCHDOG_S) for problem in fact.problems]


def arm(talk: Talk) -> None:
    assert connect(talk) == []
    talk.send(talk.language.enabling())
    talk.cycle(ZERO, 3)
    assert talk.motors.is_enabled.all()


def test_drives_go_where_they_are_told_in_radians(talk: Talk) -> None:
    arm(talk)
    wanted = [0.5, -0.5, 1.0, 0.0]
    assert talk.cycle(targets(wanted), 400) == 4
    np.testing.assert_allclose(talk.motors.q, wanted, atol=0.02)
    np.testing.assert_allclose(talk.language.states.q, talk.motors.q, atol=0.01)
    assert talk.language.states.is_driving.all() and not talk.language.states.faults.any()


def test_positions_beyond_three_revolutions_arrive(talk: Talk) -> None:
    """As int16 they would end at 3.27 revolutions, without a word."""
    connect(talk)
    talk.motors.q[0] = 11.9 * 2 * math.pi
    talk.cycle(ZERO)
    assert talk.language.states.q[0] == pytest.approx(11.9 * 2 * math.pi, rel=1e-6)


def test_gains_are_mapped_onto_those_of_each_drive(talk: Talk) -> None:
    moteus_settings.Console(talk.exchange, LineStream(), 1, True).tell(moteus_settings.KP, 200.0)
    arm(talk)
    block = np.zeros((4, 5))
    block[:, Q], block[:, DQ], block[:, TAU], block[:, KP], block[:, KD] = 0.5, -1.0, 2.0, 25.0, 1.5
    talk.cycle(block)
    np.testing.assert_allclose(talk.motors.target, block, rtol=1e-5)
    assert not talk.language.states.faults.any()


def test_a_gain_beyond_the_drive_s_own_is_a_fault_and_not_a_softer_joint(talk: Talk) -> None:
    arm(talk)
    block = targets([0.0] * 4, kp=20.0)
    block[1, KP] = 400.0 / (2 * math.pi) * 1.01
    talk.cycle(block)
    assert talk.language.states.faults.tolist() == [0, FAULT_GAINS, 0, 0]


@pytest.mark.parametrize(("name", "value"), [
    (moteus_settings.KP, 0.0), (moteus_settings.KD, 0.0), (moteus_settings.KI, 1.0),
    (moteus_settings.LIMITS[0], 2.0), (moteus_settings.LIMITS[1], 2.0)])
def test_settings_that_would_bend_the_targets_are_refused(talk: Talk, name: str, value: float) -> None:
    talk.far_end.settings[1][name] = value
    (problem,) = connect(talk)
    assert problem.startswith(f"knee: {name} is")


def test_the_watchdog_is_set_and_read_back_and_a_drive_that_let_go_stays_so(talk: Talk) -> None:
    facts = talk.language.connect(talk.exchange, WATCHDOG_S)
    assert [fact.watchdog_s for fact in facts] == [WATCHDOG_S] * 4
    assert talk.motors.watchdog_s.tolist() == [WATCHDOG_S] * 4
    talk.send(talk.language.enabling())
    talk.cycle(ZERO, 3)
    talk.wait(2 * WATCHDOG_S)
    talk.cycle(targets([1.0] * 4), 5)
    assert talk.far_end.modes == [Mode.TIMEOUT] * 4 and not talk.motors.is_enabled.any()
    assert not talk.language.states.is_driving.any()
    talk.send(talk.language.enabling())
    talk.cycle(ZERO, 2)
    assert talk.language.states.is_driving.all(), "a stop is the only way out, and an operator's"


def test_a_watchdog_that_cannot_be_set_is_told(talk: Talk) -> None:
    del talk.far_end.settings[2][moteus_settings.TIMEOUT]
    facts = talk.language.connect(talk.exchange, WATCHDOG_S)
    assert facts[2].watchdog_s == 0 and facts[2].problems == ["ankle: watchdog None s, 0.05 s was set"]


def test_nothing_has_torque_before_enabling_nor_after_disabling(talk: Talk) -> None:
    connect(talk)
    assert talk.cycle(targets([1.0] * 4), 10) == 4
    assert not talk.motors.is_enabled.any()
    talk.send(talk.language.enabling())
    assert not talk.motors.is_enabled.any(), "enabling itself moves nobody"
    talk.cycle(ZERO, 2)
    talk.send(talk.language.disabling())
    talk.cycle(targets([1.0] * 4), 5)
    assert not talk.motors.is_enabled.any() and talk.far_end.modes == [Mode.STOPPED] * 4


def test_connecting_again_takes_the_operator_s_word_back(talk: Talk) -> None:
    arm(talk)
    assert connect(talk) == []
    talk.cycle(targets([1.0] * 4), 5)
    assert not talk.motors.is_enabled.any()


def test_a_drive_whose_power_came_back_stays_without_torque(talk: Talk) -> None:
    """A position command is all that a moteus needs to turn: the next cycle's would be one."""
    arm(talk)
    talk.motors.is_enabled[1], talk.far_end.modes[1] = False, Mode.STOPPED
    talk.cycle(ZERO)
    talk.motors.is_enabled[1], talk.far_end.modes[1] = False, Mode.STOPPED  # as it says before the command counts
    talk.motors.is_dead[1] = True
    talk.cycle(ZERO, MOST_SILENT + 1)
    talk.motors.is_dead[1] = False
    talk.cycle(targets([1.0] * 4), 5)
    assert talk.motors.is_enabled.tolist() == [True, False, True, True]
    assert talk.language.states.is_driving.tolist() == [True, False, True, True]
    talk.send(talk.language.enabling())
    talk.cycle(ZERO, 2)
    assert talk.motors.is_enabled.all()


def test_a_drive_that_says_it_stopped_is_only_asked_from_then_on(talk: Talk) -> None:
    arm(talk)
    stopped = with_checksum(b"rcv 100 210000" + b"2f01" + b"00" * 12 + b"230d300000" + b"5050 E B F")
    talk.language.hear(stopped, talk.now_ns)
    (question,) = talk.language.ask(ZERO)
    payloads = [bytes.fromhex(line.split()[3].decode()) for line in question.splitlines()]
    assert payloads[0] == QUESTION and all(payload[2] == Mode.POSITION for payload in payloads[1:])


def test_enabling_again_for_one_that_is_limp_does_not_drop_the_others(talk: Talk) -> None:
    """The bus asks for torque again where a drive did not take it: a frame may be lost."""
    arm(talk)
    talk.motors.is_enabled[1], talk.far_end.modes[1] = False, Mode.STOPPED
    talk.language.states.is_driving[1] = False
    (stops,) = talk.language.enabling()
    assert [line.split()[2] for line in stops.splitlines()] == [b"8011"]
    talk.send([stops])
    talk.cycle(ZERO, 2)
    assert talk.motors.is_enabled.all() and talk.far_end.modes == [Mode.POSITION] * 4


def test_a_fault_is_told_by_its_number_and_kept_until_an_operator_clears_it(talk: Talk) -> None:
    arm(talk)
    talk.motors.faults[2], talk.motors.is_enabled[2] = 33, False
    talk.cycle(ZERO, 20)
    assert talk.language.states.faults.tolist() == [0, 0, 33, 0] and talk.far_end.modes[2] == Mode.FAULT
    talk.send(talk.language.enabling())
    talk.cycle(ZERO, 2)
    assert not talk.language.states.faults.any() and talk.motors.is_enabled.all()


def test_a_uart_that_wants_check_sums_and_an_adapter_that_knows_none(talk: Talk) -> None:
    talk.far_end.needs_checksum = True
    assert connect(talk) == [] and talk.language.has_checksum  # type: ignore[attr-defined]
    motors = motors_of(4)

    class OldAdapter(MoteusFarEnd):
        def _take(self, line: bytes) -> bytes:
            return b"ERR unknown command\r\n" if b"*" in line else super()._take(line).replace(b"\n", b"\r\n")

    old = Talk(MoteusBus(DRIVES), OldAdapter(DRIVES, motors, [0, 1, 2, 3]), motors)
    assert connect(old) == [] and not old.language.has_checksum  # type: ignore[attr-defined]
    assert old.cycle(ZERO, 3) == 4 and old.language.bad == 0


def test_damage_that_hides_the_check_sum_is_still_damage() -> None:
    stream = LineStream()
    line = with_checksum(b"rcv 100 2404000a005000000170ff230d181400 E B F")
    assert len(stream.feed(line)) == 1
    assert stream.feed(line.replace(b"*", b" ")) == [] and stream.bad == 1
    assert stream.feed(line.partition(b"*")[0] + b"\n") == [] and stream.bad == 2


def test_one_bad_crc_costs_one_sample_of_one_drive(talk: Talk) -> None:
    arm(talk)
    before = talk.language.states.answers.copy()
    talk.back = lambda data: data.replace(b"rcv 1100 2100", b"rcv 1100 2200", 1)
    talk.cycle(ZERO)
    talk.back = bytes
    assert (talk.language.states.answers - before).tolist() == [1, 0, 1, 1] and talk.language.bad == 1
    assert talk.cycle(ZERO) == 4


def test_a_damaged_acknowledgement_costs_nothing(talk: Talk) -> None:
    """moteus 1.1.1 waits 200 ms for one."""
    arm(talk)
    talk.back = lambda data: data.replace(b"OK *BD", b"OK *BC", 1)
    assert talk.cycle(ZERO) == 4


def test_a_dead_drive_costs_only_itself_and_is_told(talk: Talk) -> None:
    talk.motors.is_dead[1] = True
    assert connect(talk) == ["knee: no answer"]
    talk.send(talk.language.enabling())
    assert talk.cycle(ZERO, 3) == 3


def test_answers_that_are_no_numbers_and_those_of_strangers_are_left_out(talk: Talk) -> None:
    connect(talk)
    before = talk.language.states.answers.copy()
    nan = np.array([np.nan, 0, 0], "<f4").tobytes().hex().encode()
    for line in (b"rcv 100 210000" + b"2f01" + nan + b"230d300000" + b"5050 E B F",
                 b"rcv 500 210000" + b"2f01" + b"00" * 12 + b"230d300000" + b"5050 E B F"):
        talk.language.hear(with_checksum(line), talk.now_ns)
    assert talk.language.states.answers.tolist() == before.tolist()


def test_what_is_not_finite_is_not_asked(talk: Talk) -> None:
    block = ZERO.copy()
    block[1, KD] = np.nan
    assert talk.language.ask(block) == []


def test_a_model_that_is_none_is_refused() -> None:
    with pytest.raises(BridgeError, match="found RS00"):
        MoteusBus([Drive(0, 1, "RS00")])


@given(st.lists(st.binary(max_size=120), max_size=14))
def test_check_sums_of_many_lines_equal_each_one_s(lines: list[bytes]) -> None:
    assert crc8_of_many(lines) == [crc8(line) for line in lines]


@pytest.mark.parametrize("checksum", [True, False])
def test_lines_of_many_equal_those_made_one_by_one(checksum: bool) -> None:
    rng = np.random.default_rng(2)
    ids = [1, 2, 17, 127]
    codec = MoteusCodec(ids)
    for _ in range(12_500):  # 1e5 frames, with and without check sums
        values = rng.normal(size=(4, 5)).astype(np.float32).astype(np.float64)
        is_driven = rng.random(4) < 0.7
        wanted = b"".join(make_line(id_, make_position(*row) + QUERY if driven else QUESTION, checksum=checksum)
                          for id_, row, driven in zip(ids, values.tolist(), is_driven, strict=True))
        assert codec.encode(values, is_driven, checksum) == wanted


def test_the_far_end_reads_the_documents_command() -> None:
    parts = list(parts_of(bytes.fromhex("01000a07206000200150ff140400130d")))
    assert parts[0] == ("write", 0, 1, [10])
    kind, register, count, values = parts[1]
    assert (kind, register, count) == ("write", 0x20, 3) and values == pytest.approx([0.0096, 0.072, -1.76])
    assert parts[2:] == [("read", 0, 4, [1]), ("read", 13, 3, [0])]


@given(st.binary(max_size=300))
def test_the_far_end_survives_anything(noise: bytes) -> None:
    motors = motors_of(4)
    far = MoteusFarEnd(DRIVES, motors, [0, 1, 2, 3])
    far.feed(noise + b"\n")
    assert b"OK" in far.feed(b"can send 8001 " + noise[:12].hex().encode() + b"\ncan send 8001 00 BF\n") or \
        far.needs_checksum
    assert np.isfinite(motors.target).all()


def test_a_scan_tells_who_is_there_and_what_each_says(talk: Talk) -> None:
    upkeep = MoteusMaintenance()
    found = upkeep.scan(talk.exchange, upkeep.ids)
    assert [drive.id for drive in found] == [1, 2, 17, 127]
    assert found[0].watchdog_s == 0.1 and found[0].is_driving is False and found[0].facts[moteus_settings.KP] == 400
    assert upkeep.ping(talk.exchange, 17) and not upkeep.ping(talk.exchange, 18)
    assert not talk.motors.is_enabled.any()


def test_an_id_and_a_watchdog_are_changed_and_confirmed(talk: Talk) -> None:
    upkeep = MoteusMaintenance()
    assert upkeep.set_watchdog(talk.exchange, 17, 0.2) == 0.2 and talk.motors.watchdog_s[1] == 0.2
    assert upkeep.set_id(talk.exchange, 17, 30) == ""
    assert upkeep.ping(talk.exchange, 30) and not upkeep.ping(talk.exchange, 17)
    talk.motors.is_dead[1] = True
    with pytest.raises(BridgeError, match="an answer as 31"):
        upkeep.set_id(talk.exchange, 30, 31)
