"""A terminal's keys: typed bytes in, stops, dead-man and commands out."""

from __future__ import annotations

import contextlib
import os
import pty
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import Refused
from runtime.estop_sources import (
    KeyboardStop,
)
from runtime.keyboard import FIRST_NS, KEY_HELP, REPEAT_NS, SPEEDS, Keyboard, Keys
from runtime.mux import Source
from runtime.teleop_sources import KeyboardTeleop

MS = 1_000_000


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


@pytest.mark.parametrize(("key", "counts"), [(b"g", [(1, 0), (1, 0), (2, 0)]), (b"c", [(0, 1), (0, 1), (0, 2)])])
def test_repeats_of_a_gesture_s_key_are_one_gesture(key, counts):
    keys, found = Keys(), []
    for ms in range(0, 3000, 33):
        keys.feed(key, ms * MS)
    found.append((keys.gestures, keys.resumes))
    keys.feed(key, ms * MS + FIRST_NS)
    found.append((keys.gestures, keys.resumes))
    keys.feed(key, ms * MS + 2 * FIRST_NS + 1)
    found.append((keys.gestures, keys.resumes))
    assert found == counts


def test_the_two_gestures_are_told_apart_however_fast_they_follow():
    keys = Keys()
    keys.feed(b"gcgc", 0)
    assert (keys.gestures, keys.resumes) == (1, 1)


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
    os.write(ours, b"c")
    keyboard.pump(9)
    assert (teleop.look(9).held, teleop.look(9).gestures, teleop.look(9).resumes) == (True, 0, 1)
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
