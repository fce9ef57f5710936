"""Every serial protocol over bad lines: what one fault costs, and that nothing old or untrue is taken for new."""

from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge.drives.protocols import PROTOCOLS
from firmware_bridge.emulated_line import Damage, EmulatedLine
from firmware_bridge.motor_bus import Q
from firmware_bridge.serial_line import FAULT_JUMP, FAULT_LIMP, FAULT_LOST
from tests.line_talk import PERIOD_S, Rig, TurningMotors

MODELS = [name for name, row in PROTOCOLS.items() if row.is_serial]
CHECKED = ["go-m8010", "dynamixel", "dynamixel-fast", "feetech", "moteus-fdcanusb", "mcu"]
"""Whose frames carry a check sum; the others' are only told by their form."""
FORMS = ["damiao-slcan", "robstride-slcan"]
"""Text without a check sum: a byte too few or too many shows, another digit does not."""
QUANTUM_RAD = 0.002
RATE_RAD_S = 2.0
CYCLES = 150
ONE_TOO_OLD_RAD = RATE_RAD_S * 2 * PERIOD_S
DRIVES = [name for name in MODELS if name != "mcu"]
"""Behind a microcontroller drives die, and lose their power, in its firmware's care: tests/test_mcu_host.py."""
DAMAGES = {"lost": Damage(lost=1e-3), "corrupted": Damage(corrupted=1e-3), "duplicated": Damage(duplicated=1e-3)}


def turning(rig: Rig) -> Rig:
    """Drives that turn, each its own way, so that an old state is another than the present one."""
    n = len(rig.motors.q)
    rig.motors.rate[:] = RATE_RAD_S * np.where(np.arange(n) % 2, -1, 1)
    return rig


def cycle_and_check(rig: Rig, times: int, slack_rad: float = 0.0) -> int:
    """Cycles in which each state that counts as new is the present one; how many counted."""
    counted = 0
    for at in range(times):
        if at % 200 == 100:
            rig.motors.rate *= -1
        rig.cycle()
        wrong = np.abs(rig.sample.q - rig.motors.q) > ONE_TOO_OLD_RAD + QUANTUM_RAD + slack_rad
        assert not (rig.fresh & wrong).any(), (at, rig.sample.q, rig.motors.q)
        counted += int(rig.fresh.sum())
    return counted


@pytest.mark.slow
@pytest.mark.parametrize("way", ["there", "back"])
@pytest.mark.parametrize(("protocol", "kind"), [
    (name, kind) for name in (*CHECKED, *FORMS) for kind in DAMAGES if name in CHECKED or kind != "corrupted"])
def test_damaged_bytes_cost_samples_and_never_truth(protocol: str, kind: str, way: str) -> None:
    rig = turning(Rig(protocol))
    rig.arm()
    setattr(rig.wires[0], way, DAMAGES[kind])
    before = rig.missed()
    cycle_and_check(rig, CYCLES)
    missed = rig.missed() - before
    assert missed[3:].tolist() == [0, 0, 0], "the other port is another port"
    assert missed[:3].max() < 0.25 * CYCLES
    assert rig.motors.is_enabled.all(), "with a thousandth of the bytes lost nobody loses torque"


@pytest.mark.parametrize("protocol", MODELS)
def test_anything_at_once_never_raises_and_stays_finite(protocol: str) -> None:
    rig = turning(Rig(protocol, ports=1))
    rig.arm()
    for seed in range(3):
        rig.wires[0].there = rig.wires[0].back = Damage(0.02 * seed, 0.03, 0.02, 0.1, 0.006)
        rig.cycle(80)  # asserts that all is finite
    rig.wires[0].there = rig.wires[0].back = Damage()
    rig.cycle(60)
    before = rig.missed()
    rig.cycle(20)
    assert (rig.missed() - before <= 20).all()
    shut_out = (rig.sample.motor_error & FAULT_JUMP) > 0
    assert (rig.fresh | shut_out).all(), "the line is good again, and so is what comes from it"


@pytest.mark.parametrize("protocol", CHECKED)
def test_one_wrong_bit_costs_one_sample_of_one_drive(protocol: str) -> None:
    """On our own link all states come in one frame, so there one bit costs one sample of all."""
    rig = turning(Rig(protocol, ports=1))
    rig.arm()
    wire, random = rig.wires[0], np.random.default_rng(1)
    whole = wire.back.apply
    for _ in range(25):
        at = int(random.integers(0, 60))
        seen = 0

        def one_bit(data: bytes, generator: np.random.Generator, at: int = at) -> bytes:
            nonlocal seen
            seen += len(data)
            if seen - len(data) <= at < seen:
                raw = bytearray(data)
                raw[at - seen + len(data)] ^= 0x08
                return bytes(raw)
            return whole(data, generator)

        wire.back.apply = one_bit  # type: ignore[method-assign]
        before = rig.missed()
        cycle_and_check(rig, 1)
        wire.back.apply = whole  # type: ignore[method-assign]
        lost = rig.missed() - before
        assert lost.max() <= 1 and (lost.sum() <= 1 or protocol == "mcu" or is_fast_s_own(protocol, at))
        cycle_and_check(rig, 1)
        assert rig.fresh.all(), "the next cycle is whole"


def is_fast_s_own(protocol: str, at: int) -> bool:
    """A fast answer's head is everybody's, and a piece's CRC is where the next one's begins."""
    return protocol == "dynamixel-fast" and (at < 8 or (at - 8) % 18 >= 16)


@pytest.mark.parametrize("protocol", [name for name in DRIVES if name != "dynamixel-fast"])
def test_a_dead_drive_costs_itself(protocol: str) -> None:
    rig = turning(Rig(protocol))
    rig.arm()
    rig.motors.is_dead[1] = True
    before = rig.missed()
    cycle_and_check(rig, 60)
    missed = rig.missed() - before
    assert missed[1] == 60 and missed[[0, 2, 3, 4, 5]].tolist() == [0] * 5
    assert rig.sample.motor_error[1] & FAULT_LOST and not rig.sample.motor_error[[0, 2, 3, 4, 5]].any()


def test_a_dead_servo_ends_a_fast_answer_for_those_behind_it_only() -> None:
    rig = turning(Rig("dynamixel-fast"))
    rig.arm()
    rig.motors.is_dead[1] = True
    before = rig.missed()
    cycle_and_check(rig, 20)
    assert (rig.missed() - before).tolist() == [0, 20, 20, 0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("protocol", DRIVES)
def test_after_a_loss_of_power_only_the_operator_gives_torque(protocol: str) -> None:
    rig = Rig(protocol)
    rig.arm()
    assert rig.motors.is_enabled.all()
    rig.wires[0].brown_out(away_s=0.3)
    rig.cycle(5)
    assert not rig.motors.is_enabled[:3].any() and rig.motors.is_enabled[3:].all()
    rig.command.block[:, Q] = 0.5
    rig.cycle(150)
    assert not rig.motors.is_dead.any() and not rig.motors.is_enabled[:3].any() and rig.motors.is_enabled[3:].all()
    assert (rig.sample.motor_error[:3] & FAULT_LIMP).all() and not rig.sample.motor_error[3:].any()


@pytest.mark.parametrize("protocol", [name for name in DRIVES if name != "go-m8010"])
def test_a_loss_of_power_too_short_to_be_missed_takes_the_torque_too(protocol: str) -> None:
    """Of a GO-M8010-6 nobody can tell: each of its frames says all, and it is back before one is missing."""
    rig = Rig(protocol)
    rig.arm()
    rig.wires[0].brown_out()
    rig.cycle(30)
    assert not rig.motors.is_enabled[:3].any() and rig.motors.is_enabled[3:].all()
    assert (rig.sample.motor_error[:3] & FAULT_LIMP).all()


@pytest.mark.parametrize("protocol", MODELS)
def test_late_answers_are_not_taken_for_the_present(protocol: str) -> None:
    rig = turning(Rig(protocol, ports=1))
    rig.arm()
    late_s = 1.25 * PERIOD_S
    rig.wires[0].back = Damage(late=0.05, late_s=late_s)
    takes_turns = rig.lines[0].language.takes_turns
    cycle_and_check(rig, CYCLES, 0.0 if takes_turns else RATE_RAD_S * late_s)
    assert rig.missed().max() > 0


@pytest.mark.parametrize("protocol", MODELS)
def test_a_drive_that_answers_for_another_is_shut_out(protocol: str) -> None:
    rig = Rig(protocol)
    rig.motors.q[:] = [0.5, -0.5, 0, 0.5, -0.5, 0]
    rig.arm()
    rig.motors.q[[0, 1]] = rig.motors.q[[1, 0]]
    rig.cycle(30)
    assert [bool(error & FAULT_JUMP) for error in rig.sample.motor_error] == [True, True, False, False, False, False]
    np.testing.assert_allclose(rig.sample.q[:2], [0.5, -0.5], atol=QUANTUM_RAD)


# --- the line itself --------------------------------------------------------------------------------------------------


class Echo:
    """Answers what it is asked."""

    def feed(self, data: bytes) -> bytes:
        return data


@pytest.mark.parametrize(("damage", "share"), [
    (Damage(lost=0.1), 0.9), (Damage(duplicated=0.1), 1.1), (Damage(corrupted=0.1), 1.0)])
def test_a_line_damages_as_many_bytes_as_it_is_told(damage: Damage, share: float) -> None:
    line = EmulatedLine(Echo(), TurningMotors(1), [0])
    line.back = damage
    data = bytes(100_000)
    out = line.feed(data)
    assert len(out) == pytest.approx(share * len(data), rel=0.02)
    wrong = len(out) - out.count(0)
    assert wrong == pytest.approx(damage.corrupted * len(data), rel=0.05)


def test_a_line_is_good_unless_it_is_told_otherwise_and_keeps_bytes_in_order() -> None:
    motors = TurningMotors(1)
    line = EmulatedLine(Echo(), motors, [0])
    assert line.feed(b"abc") == b"abc" and line.tick() == b""
    line.back = Damage(late=1.0, late_s=0.01)
    assert line.feed(b"first") == b""
    line.back = Damage()
    assert line.feed(b"second") == b"", "what comes behind waits too"
    motors.step(0.02)
    assert line.tick() == b"firstsecond" and line.heard == 14 and line.sent == 14
