"""Inspire's RH56 hands behind the hand port: angles there and back, and a cable that comes back moves nothing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from firmware_bridge.drives.inspire import JOINTS, scan
from firmware_bridge.drives.inspire_far_end import InspireFarEnd
from firmware_bridge.errors import BridgeError
from firmware_bridge.hand_bus import LEFT, RIGHT, SafeHandCommand
from firmware_bridge.inspire_hands import (
    ANSWER_NS,
    MOTORS,
    RANGE_RAD,
    REOPEN_NS,
    InspireBus,
    InspireHand,
    to_counts,
)
from firmware_bridge.motor_bus import KP, Q, Reading
from firmware_bridge.serial_port import SerialPort
from firmware_bridge.wiring import HandsWiring, read_wiring
from runtime.errors import Refused
from runtime.gate_hands import open_hand_bus
from runtime.hand import load_hand
from runtime.hand_options import add_hand_options, hand_settings
from runtime.settings import RunSettings
from tests.test_wiring import small_wiring

STEP_NS = 10_000_000


class Port:
    """A hand at the end of a wire in memory."""

    def __init__(self, far_end: InspireFarEnd) -> None:
        self.far_end, self.is_open, self.is_silent = far_end, True, False
        self.asked: list[bytes] = []
        self._waiting = b""

    def write(self, data: bytes) -> bool:
        self.asked.append(data)
        answer = self.far_end.feed(data)
        self._waiting += b"" if self.is_silent else answer
        return True

    def read(self) -> bytes:
        out, self._waiting = self._waiting, b""
        return out


class Pair:
    """Both hands, on a clock of the test's own."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000
        self.ends = {name: InspireFarEnd(1, lambda: self.now_ns * 1e-9) for name in ("l", "r")}
        self.ports: dict[str, Port] = {}
        self.is_there = True
        self.bus = InspireBus("l", "r", open_port=self.open)

    def open(self, path: str, baud: int) -> SerialPort:
        if not self.is_there:
            raise BridgeError("serial port", expected="one", found="none", what_to_do="plug it in")
        self.ports[path] = Port(self.ends[path])
        return cast(SerialPort, self.ports[path])

    def hand(self, side: int) -> InspireHand:
        hand = self.bus._hands[side]
        assert hand is not None
        return hand

    def cycle(self, times: int, command: SafeHandCommand | None = None) -> list[Reading]:
        readings = []
        for _ in range(times):
            for side in (LEFT, RIGHT):
                if command is not None:
                    self.bus.write(side, command)
                readings.append(self.hand(side).read(self.now_ns))
            self.now_ns += STEP_NS
        return readings


@pytest.fixture
def pair() -> Pair:
    return Pair()


def closing(share: float = 1.0) -> SafeHandCommand:
    command = SafeHandCommand(MOTORS)
    command.block[:, :, Q], command.block[:, :, KP] = share * RANGE_RAD, 1
    return command


def test_hands_go_where_they_are_told(pair: Pair) -> None:
    pair.bus.open_writers()
    assert Reading.NEW in pair.cycle(200, closing(0.4))
    for side in (LEFT, RIGHT):
        np.testing.assert_allclose(pair.bus.sample.q[side], 0.4 * RANGE_RAD, atol=0.003)
        np.testing.assert_allclose(pair.bus.sample.dq[side], 0, atol=0.01)
    assert np.isnan(pair.bus.sample.tau).all()


def test_counts_run_from_closed_to_open() -> None:
    assert to_counts(np.zeros(6, np.float32)) == [1000] * 6 and to_counts(RANGE_RAD) == [0] * 6
    assert to_counts(5 * RANGE_RAD) == [0] * 6 and to_counts(-RANGE_RAD) == [1000] * 6


def test_nothing_moves_without_writers_or_gain_or_leave(pair: Pair) -> None:
    assert not pair.bus.write(LEFT, closing())
    pair.cycle(20, closing())
    pair.bus.open_writers()
    loose, off = closing(), closing()
    loose.block[:, :, KP] = 0
    off.enabled[:] = False
    pair.cycle(20, loose)
    pair.cycle(20, off)
    assert (pair.ends["l"].goal == 1000).all() and (pair.ends["r"].goal == 1000).all()
    one = closing()
    one.block[:, 1:, KP] = 0
    pair.cycle(20, one)
    assert pair.ends["l"].goal.tolist() == [0, 1000, 1000, 1000, 1000, 1000]


def test_what_is_not_finite_is_not_said(pair: Pair) -> None:
    pair.bus.open_writers()
    bad = closing()
    bad.block[LEFT, 2, Q] = np.nan
    assert not pair.bus.write(LEFT, bad) and pair.bus.write(RIGHT, bad)


def test_errors_and_heat_are_told(pair: Pair) -> None:
    pair.ends["r"].errors[2], pair.ends["r"].temperature_c[2] = 4, 61
    pair.cycle(20)
    assert pair.bus.sample.motor_error[RIGHT].tolist() == [0, 0, 4, 0, 0, 0]
    assert pair.bus.sample.temperature_c[RIGHT, 2] == 61 and not pair.bus.sample.motor_error[LEFT].any()


def test_a_cable_that_comes_back_is_read_and_moves_nothing(pair: Pair) -> None:
    pair.bus.open_writers()
    pair.cycle(30, closing(0.2))
    pair.ports["l"].is_open, pair.is_there = False, False
    pair.cycle(30, closing(1.0))
    pair.is_there = True
    goal = pair.ends["l"].goal.copy()
    pair.now_ns += REOPEN_NS
    assert Reading.NEW in pair.cycle(30, closing(1.0))[::2]
    assert pair.ends["l"].goal.tolist() == goal.tolist() and (pair.ends["r"].goal == 0).all()
    pair.bus.open_writers()
    pair.cycle(10, closing(1.0))
    assert (pair.ends["l"].goal == 0).all()


def test_a_silent_hand_is_missed_and_the_other_is_not(pair: Pair) -> None:
    pair.ports["l"].is_silent = True
    readings = pair.cycle(40)
    assert Reading.NEW not in readings[::2] and Reading.NEW in readings[1::2]
    assert pair.hand(LEFT).missed >= 40 * STEP_NS // ANSWER_NS - 4 and pair.hand(RIGHT).missed == 0


def test_an_answer_to_another_question_is_no_reading(pair: Pair) -> None:
    pair.cycle(1)
    stale = pair.ends["l"].feed(pair.ports["l"].asked[0])
    pair.cycle(4)
    hand = pair.hand(LEFT)
    hand._asked = 0
    pair.ports["l"]._waiting = stale
    assert hand.read(pair.now_ns) is Reading.NONE


def test_noise_never_raises_nor_yields_what_is_not_finite(pair: Pair) -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        pair.ports["l"]._waiting += random.integers(0, 256, int(random.integers(0, 60))).astype(np.uint8).tobytes()
        pair.cycle(1)
    assert np.isfinite(pair.bus.sample.q).all() and np.isfinite(pair.bus.sample.dq).all()
    assert Reading.NEW in pair.cycle(10)[::2]


def test_a_missing_hand_is_silent_alone() -> None:
    pair = Pair()
    bus = InspireBus("", "r", open_port=pair.open)
    bus.open_writers()
    assert bus.read(LEFT) is Reading.NONE and not bus.write(LEFT, closing()) and bus.write(RIGHT, closing())


def test_hands_are_found() -> None:
    end = InspireFarEnd(3, lambda: 0.0)

    def exchange(data, is_enough, longest_s):  # type: ignore[no-untyped-def]
        answer = end.feed(data)
        return bool(answer) and is_enough(answer)

    assert scan(exchange, list(range(1, 6))) == [3]


def test_the_shipped_hand_s_file_is_of_this_hand() -> None:
    model = load_hand("inspire-rh56")
    assert model.joints == JOINTS and model.bus == "inspire"
    np.testing.assert_allclose(model.upper_rad, [RANGE_RAD, RANGE_RAD], atol=1e-3)
    assert to_counts(model.states_rad[0, LEFT]) == [1000] * MOTORS, "open"
    assert max(to_counts(model.states_rad[2, RIGHT])) < 450, "closed"


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_hand_options(parser)
    return parser.parse_args(words)


def test_hands_of_a_wiring_file_are_the_run_s_unless_others_are_named() -> None:
    wired = HandsWiring("inspire-rh56", "/dev/left", "")
    found = hand_settings(options(), wired)
    assert found["hands"].endswith("inspire_rh56.json") and found["hand_ports"] == ("/dev/left", "")
    assert hand_settings(options("--hands", "none"), wired) == {}
    typed = hand_settings(options("--hands", "inspire-rh56", "--hand-ports", "/dev/a,/dev/b"), wired)
    assert typed["hand_ports"] == ("/dev/a", "/dev/b")
    for words in (("--hand-ports", "/dev/a,"), ("--hands", "inspire-rh56", "--hand-ports", "/dev/a"),
                  ("--hands", "inspire-rh56", "--hand-ports", ",")):
        with pytest.raises(Refused):
            hand_settings(options(*words))


def test_hands_on_serial_ports_need_their_ports() -> None:
    settings = RunSettings(controller="", robot="g1_29dof", model=None, clip=None, command=(0, 0, 0), duration_s=None,
                           target="g1", domain=0, interface=None, peers=(), out="")
    with pytest.raises(Refused, match="--hand-ports"):
        open_hand_bus(load_hand("inspire-rh56"), settings)


@pytest.mark.parametrize("hands", [
    {"protocol": "inspire-rh56"}, {"protocol": "dex3-1", "left": "a"}, {"protocol": "inspire-rh56", "left": "port_a"},
    {"protocol": "inspire-rh56", "both": "a"}, {"protocol": "inspire-rh56", "left": "a", "right": "a"}, 3,
])
def test_hands_that_cannot_be_in_a_wiring_file_are_refused(tmp_path: Path, hands: object) -> None:
    with pytest.raises(BridgeError, match="wiring file"):
        read_wiring(small_wiring(tmp_path, hands=hands))


def test_hands_of_a_wiring_file_have_ports_beside_its_folder(tmp_path: Path) -> None:
    wiring = read_wiring(small_wiring(tmp_path, hands={"protocol": "inspire-rh56", "right": "hand"}))
    assert wiring.hands == HandsWiring("inspire-rh56", "", str(tmp_path / "hand"))
