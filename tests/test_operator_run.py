"""A run with an operator: its options, the terminal that is lent, and one run over the network from start to end."""

from __future__ import annotations

import argparse
import io
import os
import pty
import subprocess
import sys
import termios
import time
from dataclasses import replace

import pytest

import exoactor
from runtime.console import Console
from runtime.driver import Seen
from runtime.errors import Refused
from runtime.faults import Mode, Request
from runtime.manifest import OWN_CONTROLLER
from runtime.manifest_reader import load_manifest
from runtime.mux import Source
from runtime.operator_key import make_key, read_key
from runtime.operator_options import BIND, add_operator_options, operator_settings
from runtime.operator_view import OperatorView, start_pose_text
from runtime.pilot import Phase
from runtime.policy_driver import PolicyDriver
from runtime.records import OPERATOR_DTYPE
from runtime.settings import RunSettings
from runtime.slots import Slot
from runtime.supervisor import DIED, Supervisor
from runtime.teleop_command import add_arguments
from tests.linked_operator import free_port
from tests.live_run import ROOT, LiveRun, await_
from tests.test_operator_process import Operator

pytestmark = pytest.mark.realtime

PLAIN = RunSettings(
    controller="", robot="", model=None, clip=None, command=(0.0, 0.0, 0.0), duration_s=None, target="g1", domain=0,
    interface=None, peers=(), out="",
)


def options(*words: str, lockstep: bool = False, robot: str = "sim") -> dict[str, object]:
    parser = argparse.ArgumentParser()
    add_operator_options(parser.add_argument_group())
    args = parser.parse_args(words)
    args.lockstep, args.robot = lockstep, robot
    return operator_settings(args)


@pytest.fixture
def no_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())


def test_without_options_there_is_no_operator():
    assert replace(PLAIN, **options()).operator == ()
    assert options(lockstep=True)["teleop"] is None


def test_sources_are_in_the_order_of_their_bits(tmp_path):
    key = tmp_path / "key"
    make_key(key)
    found = options("--estop", "gpio:/x", "--teleop", "network", "--estop", "network", "--teleop-bind", "0.0.0.0:7",
                    "--teleop-key", str(key))
    settings = replace(PLAIN, **found)
    assert settings.operator == ("gpio:/x", "network", "teleop")
    assert (settings.operator_bind, settings.terminal) == ("0.0.0.0:7", None)
    settings.save(tmp_path / "settings.json")
    assert RunSettings.load(tmp_path / "settings.json") == settings
    assert options()["operator_bind"] == BIND == PLAIN.operator_bind


@pytest.mark.parametrize(
    "words",
    [
        ["--teleop", "network", "--teleop-bind", "0.0.0.0:7"],
        ["--estop", "network", "--teleop-bind", "0.0.0.0:7"],
        ["--estop", "network:0.0.0.0:7"],
        ["--teleop", "network", "--teleop-key", "/dev/null"],
        ["--estop", "mushroom"],
        ["--teleop", "keyboard"],
        ["--estop", "keyboard"],
    ],
)
def test_what_cannot_work_is_refused(words, no_terminal):
    with pytest.raises(Refused):
        options(*words)


def test_simulated_time_has_no_operator():
    with pytest.raises(Refused, match="--lockstep"):
        options("--estop", "gpio:/x", lockstep=True)


@pytest.mark.parametrize(
    ("fields", "said", "unsaid"),
    [
        ({}, ["press Enter to track", "Enter brings it back"], ["engage"]),
        ({"teleop": "network"}, ["(its g or right", "(its c or START), or press Enter for that.", "Enter brings"], []),
        ({"teleop": "gamepad"}, ["steer it (right shoulder button)", "motion (START), or press Enter for that."], []),
        ({"teleop": "keyboard", "terminal": "/dev/pts/0"}, ["steer it (g) or", "motion (c)."], ["Enter"]),
        ({"teleop": "gamepad", "terminal": "/dev/pts/0"}, ["(right shoulder button)", "(START)."], ["Enter"]),
        ({"estops": ("keyboard",), "terminal": "/dev/pts/0"}, ["press g or c to track"], ["Enter", "steer"]),
    ],
)
def test_the_operator_is_told_what_works(fields, said, unsaid):
    text = start_pose_text(replace(PLAIN, **fields))
    assert all(words in text for words in said)
    assert not any(words in text for words in unsaid)


def test_a_lent_terminal_is_not_read_and_comes_back_as_it_was(monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        console, before = Console(), termios.tcgetattr(theirs)
        console.lend()
        changed = termios.tcgetattr(theirs)
        changed[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(theirs, termios.TCSANOW, changed)
        os.write(ours, b"yes\n")
        assert console.line(0.05) is None
        assert not console.is_closed
        console.take_back()
        assert termios.tcgetattr(theirs) == before
        assert console.line(0.05) is None  # what was typed meanwhile was not meant for us
        os.write(ours, b"MOVE\n")
        assert console.line(1.0) == "MOVE"
    os.close(ours)


def test_the_supervisor_sees_fresh_gestures_and_what_is_up(tmp_path):
    view = OperatorView(tmp_path, 5, ("gpio:/x", "teleop"), 29)
    slot = Slot(tmp_path / "operator", OPERATOR_DTYPE, 5)
    assert view.up() == ["gpio:/x silent", "teleop silent"]
    assert not view.gesture()
    slot.record["beat_ns"], slot.record["engages"], slot.record["silent"], slot.record["stop"] = 1, 2, 1, 2
    slot.record["source"], slot.record["latency_s"], slot.record["held"] = 3, 0.2, 1
    slot.publish()
    assert view.gesture()
    assert not view.gesture()
    slot.record["engages"], slot.record["held"] = 3, 0
    slot.publish()
    assert not view.gesture()  # engaged and let go of between two looks: the HOLD that followed stays
    assert view.up() == ["gpio:/x silent", "teleop pressed"]
    assert view.describe() == "network released 200 ms SLOW gpio:/x silent teleop pressed"
    slot.record["engages"], slot.record["source"], slot.record["silent"], slot.record["stop"] = 4, Source.CLIP, 0, 0
    slot.publish()
    assert view.gesture()
    assert view.describe() == "handed back"


class QuietConsole(Console):
    """Nobody types."""

    def say(self, text: str) -> None:
        """Nobody reads."""

    def line(self, wait_s: float = 0.0) -> str | None:
        return None


class Dead:
    """A child process, or what is left of it."""

    def __init__(self, alive: bool) -> None:
        self.alive = alive

    def is_alive(self) -> bool:
        return self.alive


@pytest.mark.parametrize("source", [Source.NETWORK, Source.CLIP])
@pytest.mark.parametrize("target", ["g1", "sim"])
def test_either_gesture_is_relayed_where_it_counts(tmp_path, source, target):
    driver = PolicyDriver(replace(PLAIN, teleop="network", target=target), load_manifest(OWN_CONTROLLER))
    view, slot, asked = OperatorView(tmp_path, 5, ("teleop",), 29), Slot(tmp_path / "operator", OPERATOR_DTYPE, 5), []

    def look(mode: Mode, phase: Phase, before: Request = Request.ARM) -> Request:
        return driver.look(Seen(mode, phase, Source.NONE, before, view.gesture(), QuietConsole()))

    for mode, phase in ((Mode.READY, Phase.RAMP), (Mode.READY, Phase.READY), (Mode.TRACK, Phase.PLAY),
                        (Mode.HOLD, Phase.PLAY), (Mode.STAND, Phase.PLAY)):
        for engages in (0, 1):  # one look without, one with a fresh gesture
            slot.record["engages"] += engages
            slot.record["source"], slot.record["held"] = source, source is Source.NETWORK
            slot.publish()
            asked.append(look(mode, phase) is Request.TRACK)
    assert asked == [False, False, False, target == "g1", False, False, False, True, False, True]
    slot.record["engages"] += 1
    slot.publish()
    assert look(Mode.HOLD, Phase.PLAY, Request.DAMP) is Request.NONE


def test_the_supervisor_says_once_that_the_operator_s_process_died() -> None:
    supervisor = Supervisor.__new__(Supervisor)
    supervisor.notes, supervisor.children = {"errors": []}, {"operator": Dead(False)}  # type: ignore[dict-item]
    for _ in range(2):
        supervisor._note_the_dead()
    assert supervisor.notes["errors"] == [DIED["operator"]]


# ---- the operator's computer


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "--to HOST:PORT"),
        (["stop-button"], "--to HOST:PORT"),
        (["keygen"], "a file name"),
        (["--to", "192.168.123.164:5570"], "a key file"),
        (["--to", "127.0.0.1:1", "--key", "/dev/null"], "a plain file"),
        (["--to", "127.0.0.1:1", "--source", "keyboard"], "a terminal"),
    ],
)
def test_the_command_refuses_what_cannot_work(words, expected, capsys, no_terminal):
    assert exoactor.main(["teleop", *words]) == exoactor.REFUSED
    assert expected in capsys.readouterr().err


def test_keygen_writes_a_key(tmp_path, capsys):
    assert exoactor.main(["teleop", "keygen", str(tmp_path / "key")]) == 0
    assert len(read_key(tmp_path / "key")) == 32
    assert exoactor.main(["teleop", "keygen", str(tmp_path / "key")]) == exoactor.REFUSED


def test_the_help_is_quick_to_give():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert "stop-button" in parser.format_help()


# ---- a run


def test_a_run_waits_for_its_stops_and_hears_its_operator(tmp_path):
    """Real processes: the GPIO line is pressed at first, the stop button is another process, so is the robot."""
    pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
    gpio, key, port = tmp_path / "value", tmp_path / "key", free_port()
    gpio.write_text("1\n")
    make_key(key)
    words = ["--domain", 91, "--duration", 1, "--teleop", "network", "--estop", f"gpio:{gpio}", "--estop", "network",
             "--teleop-bind", f"127.0.0.1:{port}", "--teleop-key", key]
    button = [sys.executable, "-m", "exoactor", "teleop", "stop-button", "--to", f"127.0.0.1:{port}", "--key", str(key)]
    with LiveRun(tmp_path / "run", *words) as run:
        far = subprocess.Popen(button, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        operator = Operator(port, read_key(key))
        try:
            waited = f"waiting for emergency stops: gpio:{gpio} pressed"
            await_(lambda: waited in run.errors, 40, "the run to say what it waits for")
            run.look()
            assert run.mode is Mode.DISARMED
            gpio.write_text("0\n")
            await_(operator.step, 10, "the lease")
            run.await_tracking(Phase.SETTLE)
            assert operator.client.answer is not None
            assert run.finish() == 0
        finally:
            operator.socket.close()
            far.terminate()
            far.wait(5)
    assert any(line.startswith("lease 1: ") for line in run.report["warnings"])
    assert run.report["errors"] == []
    assert run.living() == []


@pytest.mark.slow
def test_a_run_is_held_handed_back_and_stopped_by_its_operator(tmp_path):
    pytest.importorskip("mujoco", reason="missing dependency: mujoco")
    pytest.importorskip("onnxruntime", reason="missing dependency: onnxruntime")
    port = free_port()
    words = ["--domain", 92, "--duration", 60, "--teleop", "network", "--teleop-bind", f"127.0.0.1:{port}",
             "--teleop-controller", "none"]
    with LiveRun(tmp_path / "run", *words) as run:
        operator = Operator(port, None)

        def until(true, what, **said):
            await_(lambda: (operator.step(**said), run.look(), true())[-1], 40, what)

        def stays(mode, **said):
            """For half a second of the operator's beats."""
            seen, end = set(), time.monotonic() + 0.5
            until(lambda: seen.add(run.mode) or time.monotonic() > end, "time to go on", **said)
            assert seen == {mode}

        try:
            until(lambda: run.mode is Mode.TRACK and run.phase is Phase.PLAY, "the motion", held=True)
            folder, = run.shared
            slot = Slot(folder / "operator", OPERATOR_DTYPE, int(folder.name.split("-")[2], 16))
            until(lambda: slot.read() and slot.record["held"][0], "somebody to be engaged", engages=1)
            until(lambda: run.mode is Mode.HOLD, "the hand to be missed", held=False, engages=1)
            assert run.cause == "DEADMAN_RELEASED"
            stays(Mode.HOLD, held=True, engages=1)
            until(lambda: run.mode is Mode.TRACK, "the motion to go on", engages=1, resumes=1)
            stays(Mode.TRACK, held=False, engages=1, resumes=1)
            until(lambda: run.mode is Mode.DAMP, "the stop", held=False, engages=1, resumes=1, stop=True)
            assert run.cause == "ESTOP"
            assert run.finish() == 1
        finally:
            operator.socket.close()
    reacted = [fault["flag"] for fault in run.report["faults"] if fault["reaction"] != "counted"]
    assert reacted == ["DEADMAN_RELEASED", "ESTOP"]
    assert run.living() == []
