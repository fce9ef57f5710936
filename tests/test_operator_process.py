"""The operator's process itself: a real child, real sockets, a pty and files; what it publishes is read from its slot.

The deadlines asserted here are safety limits, the very subject: the gate damps when this process is silent for 100 ms,
and holds when its commander is not heard for 250 ms.
"""

from __future__ import annotations

import os
import pty
import resource
import secrets
import signal
import socket
import subprocess
import sys
import termios
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from runtime.child import Child
from runtime.errors import Refused
from runtime.mux import Source
from runtime.operator_key import make_key, read_key
from runtime.operator_message import LARGEST, pose_form, stream_form
from runtime.operator_state import GAP_NS, HEALTHY_NS
from runtime.operator_view import OperatorView
from runtime.records import CONTROL_DTYPE, OPERATOR_DTYPE, STREAM_RING, status_dtype, stream_dtype
from runtime.robot import load_robot
from runtime.settings import RunSettings
from runtime.slots import Ring, Slot
from runtime.teleop_client import TeleopClient
from tests.linked_operator import free_port
from tests.live_run import ROOT, await_

pytestmark = pytest.mark.realtime

ROBOT = load_robot("g1_29dof")
FORM = pose_form(ROBOT.order.names)
BEAT_LIMIT_NS = 100_000_000
RUN = 77


class Operated:
    """The process and the slots around it."""

    def __init__(self, folder: Path, **fields: object) -> None:
        self.port = free_port()
        self.settings = RunSettings(
            controller="", robot="g1_29dof", model=None, clip=None, command=(0.0, 0.0, 0.0), duration_s=None,
            target="sim", domain=1, interface=None, peers=(), out=str(folder), run=RUN, shared=str(folder),
            **{"operator_bind": f"127.0.0.1:{self.port}", **fields},
        )
        Slot(folder / "status", status_dtype(ROBOT.motors), RUN, create=True).publish()
        self.control = Slot(folder / "control", CONTROL_DTYPE, RUN, create=True)
        self.view = OperatorView(folder, RUN, self.settings.operator, len(ROBOT.joints))
        self._slot = Slot(folder / "operator", OPERATOR_DTYPE, RUN)
        self.ring = Ring(folder / "stream_ring", stream_dtype(len(ROBOT.joints)), RUN, STREAM_RING)
        self.settings.save(folder / "settings.json")
        self.child = Child("operator", ["-m", "runtime.operator_process", str(folder / "settings.json")],
                           folder / "operator.err")

    def ready(self) -> dict[str, object]:
        return self.child.await_ready(20.0, print)

    def __getitem__(self, name: str) -> object:
        self._slot.read()
        return self._slot.record[name][0]

    def give_terminal(self) -> None:
        self.control.record["sequence"] += 1
        self.control.publish()


@contextmanager
def operated(folder: Path, **fields: object):
    process = Operated(folder, **fields)
    try:
        yield process
    finally:
        process.child.end(5.0)


class Operator:
    """A commander that says what is due whenever it is asked to."""

    def __init__(self, port: int, key: bytes | None) -> None:
        self.client = TeleopClient(key, lambda: secrets.randbits(64), form=FORM)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect(("127.0.0.1", port))

    def step(self, *, held: bool = True, engages: int = 0, resumes: int = 0, stop: bool = False) -> bool:
        now = time.monotonic_ns()
        try:
            while True:
                self.client.take_in(self.socket.recv(2000), now)
        except OSError:
            pass
        for data in self.client.outgoing(now, held=held, engages=engages, resumes=resumes, command=(0.3, 0.0, 0.1),
                                         stop=stop):
            self.socket.send(data)
        return self.client.has_lease


def test_stops_of_every_wired_kind_are_published(tmp_path):
    gpio, fifo = tmp_path / "value", tmp_path / "button"
    gpio.write_text("0\n")
    os.mkfifo(fifo)
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    estops = (f"gpio:{gpio}", f"button:{fifo}", "keyboard", "gamepad:/dev/input/none")
    with operated(tmp_path, estops=estops, terminal=os.ttyname(theirs)) as process:
        assert process.view.up() == [f"{name} silent" for name in estops]
        assert process.ready()["sources"] == list(estops)
        await_(lambda: process["silent"] == 0b1110, 5, "GPIO alone to be alive")
        assert termios.tcgetattr(theirs) == before  # the terminal is the supervisor's until it asked for something
        process.give_terminal()
        await_(lambda: process["silent"] == 0b1010, 5, "the keyboard")
        with fifo.open("wb", buffering=0) as button:
            button.write(b"RUN 1\nRUN 2\n")
            await_(lambda: process["silent"] == 0b1000, 5, "the button")
            button.write(b"STOP\n")
            await_(lambda: process["stop"] == 0b0010, 5, "the button's stop")
        gpio.write_text("1\n")
        await_(lambda: int(process["stop"]) & 1, 5, "the GPIO's stop")
        os.write(ours, b" ")
        await_(lambda: int(process["stop"]) & 0b100, 5, "the space key")
        assert any(text.endswith("pressed") for text in process.view.up())
        os.write(ours, b"g")
        time.sleep(0.05)
        assert not process.view.gesture()  # a stop is up
    assert process.child.process.returncode == 0
    assert termios.tcgetattr(theirs) == before
    for descriptor in (ours, theirs):
        os.close(descriptor)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"teleop": "network", "operator_bind": "0.0.0.0:5599"}, "--teleop-key"),
        ({"estops": ("network:0.0.0.0:5599",)}, "--teleop-key"),
        ({"estops": ("button:/dev/none",)}, "stop button"),
        ({"teleop": "keyboard"}, "terminal"),
        ({"teleop": "network", "operator_key": "/dev/null"}, "key file"),
    ],
)
def test_what_cannot_be_opened_is_refused(tmp_path, fields, words):
    with operated(tmp_path, **fields) as process, pytest.raises(Refused, match=words):
        process.ready()


def test_an_engaged_operator_is_published_and_lost_without_engaging_again(tmp_path):
    make_key(tmp_path / "key")
    with operated(tmp_path, teleop="network", operator_key=str(tmp_path / "key")) as process, ExitStack() as stack:
        process.ready()
        operator = Operator(process.port, read_key(tmp_path / "key"))
        stack.callback(operator.socket.close)
        await_(lambda: operator.step(), 5, "the lease")
        start = time.monotonic_ns()
        await_(lambda: operator.step() and time.monotonic_ns() > start + 2 * HEALTHY_NS, 5, "a healthy link")
        assert process["source"] == Source.NONE
        await_(lambda: operator.step(engages=1) and process["engages"] == 1, 2, "the engage")
        assert (process["source"], process["held"]) == (Source.NETWORK, 1)
        assert np.allclose(process["command"], [0.3, 0.0, 0.1])
        assert process.view.gesture() and not process.view.gesture()
        assert process.view.describe().startswith("network held")

        frame = [np.full(29, 0.1), np.zeros(29), np.zeros(3), np.array([1, 0, 0, 0])]
        operator.socket.send(operator.client.pose(time.monotonic_ns(), *frame))
        frames: list[bytes] = []
        await_(lambda: process.ring.drain(frames.append), 2, "the frame")
        record = np.frombuffer(frames[0], stream_dtype(29))[0]
        assert record["joint_pos"] == pytest.approx(0.1)
        assert record["root_quat_wxyz"].tolist() == [1, 0, 0, 0]
        assert 0 <= record["received_ns"] - record["source_ns"] < 1e9  # one computer, one clock
        assert record["form"] == stream_form(FORM.names)
        await_(lambda: operator.step(engages=1, resumes=1) and process["engages"] == 2, 2, "the clip to be asked for")
        assert (process["source"], process["held"]) == (Source.CLIP, 0)
        await_(lambda: operator.step(engages=2, resumes=1) and process["engages"] == 3, 2, "the engage")

        heard = int(process["heard_ns"])
        await_(lambda: not np.any(process["command"]), 2, "the loss")
        assert int(process["heard_ns"]) - heard <= GAP_NS
        assert process["held"] == 1  # nobody let go
        start = time.monotonic_ns()
        await_(lambda: operator.step(engages=2, resumes=1) and time.monotonic_ns() > start + 2 * HEALTHY_NS, 5,
               "a healthy link")
        assert (process["held"], process["engages"]) == (0, 3)
        await_(lambda: operator.step(engages=3, resumes=1) and process["engages"] == 4, 2, "a fresh engage")
        await_(lambda: operator.step(engages=3, resumes=1, stop=True) and process["stop"] == 1, 2, "the stop")
        assert process["held"] == 0


def test_a_person_at_another_terminal_commands_and_gives_the_lease_back(tmp_path):
    """`exoactor teleop` itself, typed at through a pty; a second one without --take-over is refused."""
    ours, theirs = pty.openpty()
    with operated(tmp_path, teleop="network") as process, ExitStack() as stack:
        process.ready()
        command = [sys.executable, "-m", "exoactor", "teleop", "--to", f"127.0.0.1:{process.port}", "--name", "ann"]
        ann = subprocess.Popen(command, cwd=ROOT, stdin=theirs, stderr=subprocess.PIPE)
        stack.callback(ann.kill)
        start = time.monotonic_ns()
        await_(lambda: process["heard_ns"] and time.monotonic_ns() > start + 3 * HEALTHY_NS, 20, "a healthy link")
        second = subprocess.run(command, cwd=ROOT, stdin=theirs, capture_output=True, text=True, timeout=20)
        assert second.returncode == 2
        assert "--take-over" in second.stderr
        await_(lambda: os.write(ours, b"g") and process["held"], 10, "the engage", poll_s=0.03)
        await_(lambda: os.write(ours, b"w") and np.allclose(process["command"], [0.4, 0, 0]), 5, "w", poll_s=0.03)
        await_(lambda: process["held"] == 0, 5, "the key to be let go")
        await_(lambda: os.write(ours, b"c") and process["source"] == Source.CLIP, 5, "the hand-back", poll_s=0.03)
        assert process["held"] == 0
        await_(lambda: os.write(ours, b" ") and process["stop"] == 1, 5, "the stop")
        ann.send_signal(signal.SIGINT)
        assert ann.wait(5) == 0
        assert b"latency p50" in ann.stderr.read()
        ann.stderr.close()
        again = Operator(process.port, None)
        stack.callback(again.socket.close)
        await_(again.step, 1, "the lease that was given back")
    for descriptor in (ours, theirs):
        os.close(descriptor)


FLOOD = """
import socket, sys
flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
flood.connect(("127.0.0.1", int(sys.argv[1])))
junk = b"EXOT" + bytes(int(sys.argv[2]) - 4)
sent = 0
while sent < 100_000_000:
    try:
        sent += flood.send(junk)
    except OSError:
        pass
"""


@pytest.mark.parametrize("size", [200, LARGEST + 376])
def test_a_flood_of_100_mb_stops_no_beat(tmp_path, size):
    with operated(tmp_path, teleop="network") as process, ExitStack() as stack:
        process.ready()
        operator = Operator(process.port, None)
        stack.callback(operator.socket.close)
        await_(lambda: operator.step(), 5, "the lease")
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        flood = subprocess.Popen([sys.executable, "-c", FLOOD, str(process.port), str(size)])
        stack.callback(flood.kill)
        worst_beat = worst_heard = looks = 0
        start = time.monotonic_ns()
        while flood.poll() is None or looks < 50:
            operator.step()
            time.sleep(0.004)
            now, looks = time.monotonic_ns(), looks + 1
            worst_beat = max(worst_beat, now - int(process["beat_ns"]))
            if now - start > HEALTHY_NS:
                worst_heard = max(worst_heard, now - int(process["heard_ns"]))
        took_s = (time.monotonic_ns() - start) * 1e-9
        print(f"{size} bytes each: {took_s:.1f} s, beat {worst_beat / 1e6:.0f} ms, heard {worst_heard / 1e6:.0f} ms, "
              f"dropped {process['dropped']}, malformed {process['malformed']}")
        assert worst_beat < BEAT_LIMIT_NS
        assert worst_heard < GAP_NS
        assert int(process["malformed"]) + int(process["dropped"]) > 100
        process.child.process.send_signal(signal.SIGTERM)
        process.child.process.wait(5)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"children's CPU {after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime:.1f} s")
