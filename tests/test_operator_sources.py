"""Stops on the command line, wired buttons, GPIO and commanders: bytes in, stops out; anything silent stops."""

from __future__ import annotations

import contextlib
import os
import pty
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
    GpioStop,
    parse_estop,
    parse_estops,
)
from runtime.lease import Lease
from runtime.mux import Source
from runtime.operator_message import Beat
from runtime.stop_button import LONGEST, TIMEOUT_NS, ButtonLine
from runtime.teleop_sources import STREAM_NS, NetworkTeleop

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


def test_a_button_on_a_serial_port():
    pytest.importorskip("serial", reason="missing dependency: pyserial")
    ours, theirs = pty.openpty()
    path = os.ttyname(theirs)
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
    os.close(theirs)


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
    teleop.beat(Beat(0, 0, 3, 4, 0.5, 0.0, -0.5, 1))
    look = teleop.look(7)
    assert (look.source, look.heard_ns, look.session, look.held) == (Source.NETWORK, 7, 1, True)
    assert (look.gestures, look.resumes) == (3, 4)
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
