"""Keys, gamepads, buttons and GPIO: recorded bytes in, stops and commands out; anything silent stops."""

from __future__ import annotations

import contextlib
import itertools
import os
import pty
import struct
import termios
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import BridgeError
from firmware_bridge.serial_button import open_button
from runtime.errors import Refused
from runtime.estop_sources import (
    KINDS,
    MOST_SOURCES,
    ButtonStop,
    EstopSpec,
    GamepadStop,
    GpioStop,
    KeyboardStop,
    TeleopStop,
    parse_estop,
    parse_estops,
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
    RETRY_NS,
    STOP,
    SYN_DROPPED,
    Gamepad,
    Pad,
    find_gamepad,
    has_key,
)
from runtime.keyboard import FIRST_NS, KEY_HELP, REPEAT_NS, SPEEDS, Keyboard, Keys
from runtime.lease import Lease
from runtime.operator_message import Beat
from runtime.operator_state import Source
from runtime.stop_button import LONGEST, TIMEOUT_NS, ButtonLine
from runtime.teleop_sources import STREAM_NS, GamepadTeleop, KeyboardTeleop, NetworkTeleop

MS = 1_000_000

# ---- specs


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("keyboard", EstopSpec("keyboard", None)),
        ("gamepad", EstopSpec("gamepad", None)),
        ("gamepad:/dev/input/event3", EstopSpec("gamepad", "/dev/input/event3")),
        ("network", EstopSpec("network", None)),
        ("network:127.0.0.1:5580", EstopSpec("network", "127.0.0.1:5580")),
        ("button:/dev/ttyUSB0", EstopSpec("button", "/dev/ttyUSB0")),
        ("gpio:/sys/class/gpio/gpio12/value", EstopSpec("gpio", "/sys/class/gpio/gpio12/value")),
    ],
)
def test_a_spec_says_kind_and_place(text, spec):
    assert parse_estop(text) == spec


@pytest.mark.parametrize(
    "text", ["", "teleop", "mushroom", "keyboard:x", "keyboard:", "gamepad:", "network:", "network:x", "button",
             "button:", "gpio", "gpio:", ":x"]
)
def test_a_spec_of_another_form_is_refused(text):
    with pytest.raises(Refused, match="--estop"):
        parse_estop(text)


def test_a_source_is_given_once_and_bits_are_not_used_up():
    with pytest.raises(Refused, match="keyboard twice"):
        parse_estops(["keyboard", "gamepad", "keyboard"])
    many = [f"gpio:{i}" for i in range(MOST_SOURCES + 1)]
    assert len(parse_estops(many[:-1])) == MOST_SOURCES < 31
    with pytest.raises(Refused, match=str(MOST_SOURCES)):
        parse_estops(many)


@given(st.text(max_size=30))
def test_any_text_is_a_spec_or_refused(text):
    with contextlib.suppress(Refused):
        assert parse_estop(text).kind in KINDS


# ---- keyboard


@pytest.mark.parametrize("key", [b" ", b"\x1b", b"\x1b[A", b"w w", b"\xff "])
def test_space_and_escape_stop_wherever_they_stand(key):
    keys = Keys()
    keys.feed(key, 0)
    assert keys.stops == 1


@pytest.mark.parametrize("key", [chr(code) for code in SPEEDS])
def test_a_key_of_the_table_holds_and_commands(key):
    for typed in (key, key.upper()):
        keys = Keys()
        keys.feed(typed.encode(), 0)
        assert keys.held(0)
        assert keys.command(0) == SPEEDS[ord(key)]
        assert keys.stops == 0


@pytest.mark.parametrize(("after", "held"), [(FIRST_NS, True), (FIRST_NS + 1, False)])
def test_a_first_press_holds_until_repeat_would_have_begun(after, held):
    keys = Keys()
    keys.feed(b"w", 0)
    assert keys.held(after) is held
    assert (keys.command(after) == (0.0, 0.0, 0.0)) is not held


@pytest.mark.parametrize(("after", "held"), [(REPEAT_NS, True), (REPEAT_NS + 1, False)])
def test_a_repeating_key_is_let_go_sooner(after, held):
    keys = Keys()
    for ms in range(0, 900, 33):
        keys.feed(b"w", ms * MS)
    assert keys.held(ms * MS + after) is held


def test_another_key_lets_go_at_once():
    for other in (b"x", b"\r", b"\x00", b"W7"):
        keys = Keys()
        keys.feed(b"w" + other, 0)
        assert not keys.held(0)


def test_repeats_of_the_engage_key_are_one_gesture():
    keys = Keys()
    for ms in range(0, 3000, 33):
        keys.feed(b"g", ms * MS)
    assert keys.gestures == 1
    keys.feed(b"g", ms * MS + FIRST_NS)
    assert keys.gestures == 1
    keys.feed(b"g", ms * MS + 2 * FIRST_NS + 1)
    assert keys.gestures == 2


@given(st.lists(st.tuples(st.binary(max_size=8), st.integers(0, 10**9))))
def test_any_typing_is_taken(typed):
    keys, now = Keys(), 0
    for data, after in typed:
        now += after
        keys.feed(data, now)
        assert keys.command(now) in {*SPEEDS.values(), (0.0, 0.0, 0.0)}


def test_the_help_names_every_key():
    assert all(chr(key) in KEY_HELP for key in SPEEDS)


@pytest.fixture
def terminal():
    ours, theirs = pty.openpty()
    yield ours, theirs, os.ttyname(theirs)
    for descriptor in (ours, theirs):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def test_a_terminal_is_read_key_by_key_and_given_back(terminal):
    ours, theirs, path = terminal
    before = termios.tcgetattr(theirs)
    keyboard = Keyboard(path)
    stop, teleop = KeyboardStop(keyboard), KeyboardTeleop(keyboard)
    assert stop.poll(0) == (False, True)  # not taken yet: silent
    assert teleop.look(1).heard_ns == 0
    keyboard.open()
    assert not termios.tcgetattr(theirs)[3] & (termios.ICANON | termios.ECHO)
    assert termios.tcgetattr(theirs)[3] & termios.ISIG  # Ctrl-C still is one
    os.write(ours, b"w ")
    keyboard.pump(5)
    assert stop.poll(5) == (True, False)
    assert stop.poll(6) == (False, False)
    assert teleop.stop_pressed() and not teleop.stop_pressed()
    os.write(ours, b"w")
    keyboard.pump(7)
    look = teleop.look(7)
    assert (look.source, look.heard_ns, look.held, look.command) == (Source.KEYBOARD, 7, True, (0.4, 0.0, 0.0))
    keyboard.close()
    assert termios.tcgetattr(theirs) == before
    assert stop.poll(8) == (False, True)


def test_a_terminal_that_hangs_up_is_silent(terminal):
    ours, theirs, path = terminal
    keyboard = Keyboard(path)
    keyboard.open()
    stop, teleop = KeyboardStop(keyboard), KeyboardTeleop(keyboard)
    teleop.look(1)
    os.close(ours)
    os.close(theirs)
    keyboard.pump(2)
    assert stop.poll(2) == (False, True)
    assert teleop.look(2).heard_ns == 1


def test_what_is_no_terminal_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "none"):
        keyboard = Keyboard(str(path))
        with pytest.raises(Refused, match="terminal"):
            keyboard.open()
        assert not keyboard.is_open


# ---- gamepad

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


# ---- wired button


def test_a_button_is_silent_until_its_number_rises():
    line = ButtonLine()
    assert line.poll(0) == (False, True)
    line.feed(b"RUN 7\n", 0)
    assert line.poll(0) == (False, True)
    line.feed(b"RUN 8\n", 1)
    assert line.poll(1) == (False, False)


def test_a_number_that_stands_still_is_silence():
    line = ButtonLine()
    line.feed(b"RUN 7\nRUN 8\n", 0)
    for now in range(0, TIMEOUT_NS + 2, 50 * MS):
        line.feed(b"RUN 8\n", now)
    assert line.poll(TIMEOUT_NS + 1) == (False, True)


@pytest.mark.parametrize(("after", "silent"), [(TIMEOUT_NS, False), (TIMEOUT_NS + 1, True)])
def test_a_quiet_button_is_silent(after, silent):
    line = ButtonLine()
    line.feed(b"RUN 1\nRUN 2\n", 0)
    assert line.poll(after) == (False, silent)


def test_stop_is_pressed_until_it_runs_again():
    line = ButtonLine()
    line.feed(b"RUN 1\r\nRUN 2\r\nSTOP\r\n", 0)
    assert line.poll(TIMEOUT_NS) == (True, False)
    line.feed(b"RUN 2\n", TIMEOUT_NS)
    assert line.poll(TIMEOUT_NS)[0]
    line.feed(b"RUN 3\n", TIMEOUT_NS)
    assert line.poll(TIMEOUT_NS) == (False, False)


def test_a_counter_may_wrap_and_a_board_may_restart():
    line = ButtonLine()
    line.feed(b"RUN 4294967295\nRUN 0\n", 0)
    assert line.poll(0) == (False, False)
    line.feed(b"RUN 100\n", 1)
    line.feed(b"RUN 0\n", 2 + TIMEOUT_NS)  # backwards: heard, not believed
    assert line.poll(2 + TIMEOUT_NS) == (False, True)
    line.feed(b"RUN 1\n", 3 + TIMEOUT_NS)
    assert line.poll(3 + TIMEOUT_NS) == (False, False)


@pytest.mark.parametrize(
    "data", [b"RUN\n", b"RUN x\n", b"RUN -1\n", b"RUN 12345678901\n", b" RUN 9\n", b"run 9\n", b"RUN 9 \n", b"\n",
             b"x" * 5000 + b"RUN 9\n", b"STOPP\n", b"RUN 9"]
)
def test_other_lines_mean_nothing(data):
    line = ButtonLine()
    line.feed(b"RUN 1\nRUN 2\n", 0)
    line.feed(data, TIMEOUT_NS)
    assert line.poll(TIMEOUT_NS + 1) == (False, True)


@pytest.mark.parametrize("size", [1, LONGEST, LONGEST + 1])
def test_a_line_s_end_is_not_taken_for_a_line(size):
    line = ButtonLine()
    for byte in b"x" * size + b"RUN 1\n" + b"y" * size + b"RUN 2\n":
        line.feed(bytes([byte]), 0)
    assert line.poll(0) == (False, True)


@given(st.lists(st.binary(max_size=80), max_size=20))
def test_any_bytes_of_a_button_are_taken(pieces):
    line = ButtonLine()
    for now, data in enumerate(pieces):
        line.feed(data, now)
        line.poll(now)
        assert len(line._rest) <= LONGEST


def test_a_button_on_a_serial_port(terminal):
    pytest.importorskip("serial", reason="missing dependency: pyserial")
    ours, _, path = terminal
    button = ButtonStop(path)
    assert button.poll(0) == (False, True)
    os.write(ours, b"RUN 1\nRUN 2\nRU")
    assert button.poll(1) == (False, False)
    with pytest.raises(BridgeError, match="nobody else uses"):
        open_button(path)
    os.write(ours, b"N 3\nSTOP\n")
    assert button.poll(2) == (True, False)
    os.close(ours)  # the cable is pulled
    assert button.poll(3) == (True, False)
    assert button.poll(3 + TIMEOUT_NS) == (True, True)
    button.close()


def test_a_button_on_a_fifo(tmp_path):
    path = str(tmp_path / "button")
    os.mkfifo(path)
    button = ButtonStop(path)
    assert button.poll(0) == (False, True)
    writer = os.open(path, os.O_WRONLY)
    os.write(writer, b"RUN 1\nRUN 2\n")
    assert button.poll(1) == (False, False)
    os.close(writer)
    assert button.poll(2 + TIMEOUT_NS) == (False, True)
    button.close()


def test_what_is_no_button_is_refused(tmp_path):
    (tmp_path / "file").write_text("RUN 1\nRUN 2\n")
    for name, words in (("file", "another kind"), ("none", "No such file")):
        with pytest.raises(BridgeError, match=words):
            open_button(str(tmp_path / name))


# ---- GPIO


@pytest.mark.parametrize(
    ("content", "expected"),
    [("0\n", (False, False)), ("1\n", (True, False)), ("0", (False, False)), ("", (False, True)),
     ("2\n", (False, True)), ("00\n", (False, True)), ("0\n1\n", (False, True))],
)
def test_a_gpio_value(tmp_path, content, expected):
    path = tmp_path / "value"
    path.write_text(content)
    gpio = GpioStop(str(path))
    assert gpio.poll(0) == expected
    path.write_text("1\n")
    assert gpio.poll(1) == (True, False)
    gpio.close()
    assert gpio.poll(2) == (False, True)


def test_no_gpio_file_is_refused(tmp_path):
    with pytest.raises(Refused, match="gpio"):
        GpioStop(str(tmp_path / "value"))


# ---- network, as a source of commands


def test_a_commander_counts_as_streaming_while_frames_come():
    lease = Lease(lambda: 5)
    lease.epoch, lease.lease, lease.beat_ns = 1, 5, 7
    teleop = NetworkTeleop(lease)
    assert teleop.look(7).heard_ns == 0
    teleop.beat(Beat(0, 0, 3, 0.5, 0.0, -0.5, 1))
    look = teleop.look(7)
    assert (look.source, look.heard_ns, look.session, look.held, look.gestures) == (Source.NETWORK, 7, 1, True, 3)
    assert look.command == (0.5, 0.0, -0.5)
    assert look.p99_s is None
    teleop.pose(10)
    assert teleop.look(10 + STREAM_NS).source is Source.STREAM
    assert teleop.look(11 + STREAM_NS).source is Source.NETWORK
    lease.epoch = 2  # taken over: the old commander's beat is nothing
    assert (teleop.look(8).heard_ns, teleop.look(8).held) == (0, False)
    assert lease.rejected == Counter()


def test_a_stop_message_is_reported_once():
    teleop = NetworkTeleop(Lease(lambda: 5))
    assert not teleop.stop_pressed()
    teleop.stop()
    assert teleop.stop_pressed()
    assert not teleop.stop_pressed()


def test_event_layout_is_the_kernel_s_on_64_bit():
    assert EVENT.size == struct.calcsize("<qqHHi")
