"""A gamepad's file: recorded bytes in, stops, dead-man and commands out; unplugged is silent."""

from __future__ import annotations

import itertools
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.estop_sources import (
    GamepadStop,
    TeleopStop,
)
from runtime.gamepad import (
    ABS_RX,
    ABS_X,
    ABS_Y,
    DEADMAN,
    ENGAGE,
    EV_ABS,
    EV_KEY,
    EV_SYN,
    EVENT,
    MOST_EVENTS,
    RESUME,
    RETRY_NS,
    STOP,
    SYN_DROPPED,
    Gamepad,
    Pad,
    find_gamepad,
    has_key,
)
from runtime.mux import Source
from runtime.teleop_sources import GamepadTeleop

# What a pad's file gave for: dead-man down, left stick half forward, engage down and up, stop down, all up again.
RECORDED = bytes.fromhex(
    "2a00000000000000e803000000000000" "0100360101000000" "2a00000000000000e803000000000000" "0000000000000000"
    "2a00000000000000d007000000000000" "0300010000c0ffff" "2a00000000000000d007000000000000" "0000000000000000"
    "2a00000000000000b80b000000000000" "0100370101000000" "2a00000000000000a00f000000000000" "0100370100000000"
    "2a00000000000000a00f000000000000" "0100310101000000"
)


def event(kind, code, value):
    return EVENT.pack(0, 0, kind, code, value)


def test_recorded_bytes_of_a_pad_are_understood():
    pad = Pad()
    assert EVENT.size == 24
    pad.feed(RECORDED)
    assert (pad.held, pad.gestures, pad.stops, pad.is_stop_down) == (True, 1, 1, True)
    assert pad.command == pytest.approx((0.4, 0.0, 0.0), abs=1e-4)


@given(st.lists(st.integers(0, len(RECORDED)), max_size=8))
def test_events_may_come_in_pieces(cuts):
    whole, pad = Pad(), Pad()
    whole.feed(RECORDED)
    edges = [0, *sorted(cuts), len(RECORDED)]
    for start, end in itertools.pairwise(edges):
        pad.feed(RECORDED[start:end])
    assert pad == whole


def test_every_axis_has_its_end_and_sign():
    for axis, expected in ((ABS_Y, (0.8, 0, 0)), (ABS_X, (0, 0.4, 0)), (ABS_RX, (0, 0, 1.0))):
        pad = Pad()
        pad.feed(event(EV_ABS, axis, -32768))
        assert pad.command == pytest.approx(expected)
        pad.feed(event(EV_ABS, axis, 2**31 - 1))  # beyond its range: held to it
        assert pad.command == pytest.approx([-value for value in expected])
        pad.feed(event(EV_ABS, axis, 3000))
        assert pad.command == (0, 0, 0)  # dead zone


def test_a_pad_s_own_range_is_used():
    pad = Pad(ranges={ABS_Y: (0, 255), ABS_X: (7, 7)})
    pad.feed(event(EV_ABS, ABS_Y, 0) + event(EV_ABS, ABS_X, 7))
    assert pad.command == pytest.approx((0.8, 0, 0))


def test_a_held_button_s_repeats_are_no_gesture():
    pad = Pad()
    pad.feed(event(EV_KEY, ENGAGE, 1) + 5 * event(EV_KEY, ENGAGE, 2))
    assert pad.gestures == 1


def test_start_hands_back_and_its_repeats_do_not():
    pad = Pad()
    pad.feed(event(EV_KEY, RESUME, 1) + 5 * event(EV_KEY, RESUME, 2))
    assert (pad.gestures, pad.resumes, RESUME) == (0, 1, 0x13B)
    pad.feed(event(EV_KEY, RESUME, 0) + event(EV_KEY, RESUME, 1))
    assert pad.resumes == 2
    bitmap = bytearray(96)
    bitmap[RESUME // 8] |= 1 << RESUME % 8
    pad.let_go()
    pad.press(bytes(bitmap))
    pad.feed(event(EV_KEY, RESUME, 2))
    assert pad.resumes == 2, "what is found held down is no gesture"


def test_dropped_events_let_go():
    pad = Pad()
    pad.feed(event(EV_KEY, DEADMAN, 1) + event(EV_ABS, ABS_Y, -32768) + event(EV_SYN, SYN_DROPPED, 0))
    assert pad.is_behind
    assert not pad.held
    assert pad.command == (0, 0, 0)
    bitmap = bytearray(96)
    bitmap[STOP // 8] |= 1 << STOP % 8
    pad.press(bytes(bitmap))
    assert pad.is_stop_down
    assert not pad.held


@given(st.binary(max_size=200))
def test_any_bytes_of_a_device_are_taken(data):
    pad = Pad()
    pad.feed(data)
    assert all(abs(speed) <= 1.0 for speed in pad.command)


def test_a_pad_is_silent_until_plugged_and_when_unplugged(tmp_path):
    path = str(tmp_path / "event0")
    gamepad = Gamepad(path)
    stop, teleop = GamepadStop(gamepad), GamepadTeleop(gamepad)
    gamepad.pump(0)
    assert stop.poll(0) == (False, True)
    os.mkfifo(path)
    gamepad.pump(RETRY_NS - 1)
    assert not gamepad.is_open  # looked for once a second
    keeper = os.open(path, os.O_RDWR)
    gamepad.pump(RETRY_NS)
    assert stop.poll(RETRY_NS) == (False, False)
    os.write(keeper, RECORDED)
    gamepad.pump(RETRY_NS + 1)
    assert stop.poll(RETRY_NS + 1) == (True, False)
    look = teleop.look(RETRY_NS + 1)
    assert (look.source, look.session, look.held, look.gestures) == (Source.GAMEPAD, 1, True, 1)
    assert teleop.stop_pressed()
    os.close(keeper)
    gamepad.pump(RETRY_NS + 2)
    assert stop.poll(RETRY_NS + 2) == (False, True)
    look = teleop.look(RETRY_NS + 2)
    assert (look.heard_ns, look.held, look.command) == (RETRY_NS + 1, False, (0, 0, 0))


def test_a_stop_hit_between_two_looks_is_not_lost(tmp_path):
    path = str(tmp_path / "event0")
    os.mkfifo(path)
    keeper = os.open(path, os.O_RDWR)
    gamepad = Gamepad(path)
    stop, teleop = GamepadStop(gamepad), TeleopStop(GamepadTeleop(gamepad))
    os.write(keeper, event(EV_KEY, STOP, 1) + event(EV_KEY, STOP, 0))
    gamepad.pump(0)
    assert stop.poll(0) == (True, False)
    assert stop.poll(1) == (False, False)
    assert teleop.poll(0) == (True, False)
    os.close(keeper)
    gamepad.close()
    assert teleop.poll(1) == (False, False)  # a source of commands is never silent: it is held, then stood


def test_a_flood_of_events_is_taken_in_steps(tmp_path):
    path = str(tmp_path / "event0")
    os.mkfifo(path)
    keeper = os.open(path, os.O_RDWR)
    gamepad = Gamepad(path)
    os.write(keeper, (event(EV_KEY, ENGAGE, 1) + event(EV_KEY, ENGAGE, 0)) * MOST_EVENTS)
    gamepad.pump(0)
    assert gamepad.pad.gestures == MOST_EVENTS // 2
    os.close(keeper)
    gamepad.close()


@pytest.mark.parametrize(
    ("capabilities", "found"),
    [("7cdb000000000000 0 0 0 0", True), ("1000000000000 0 0 0 0", True), ("2000000000000 0 0 0 0", False),
     ("402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe", False), ("", False), ("xyz 0 0 0 0", False)],
)
def test_a_gamepad_is_known_by_its_buttons(tmp_path, capabilities, found):
    assert has_key(capabilities, 0x130) is found
    for name, text in (("event2", "0"), ("event10", capabilities)):
        folder = tmp_path / name / "device/capabilities"
        folder.mkdir(parents=True)
        (folder / "key").write_text(text + "\n")
    (tmp_path / "event3").mkdir()
    assert find_gamepad(tmp_path) == ("/dev/input/event10" if found else None)


def test_event_layout_is_the_kernel_s_on_64_bit():
    assert EVENT.size == struct.calcsize("<qqHHi")
