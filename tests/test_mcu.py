"""Our link to a microcontroller: its firmware in C, the same in Python, and the host that speaks to either."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware_bridge.drives import mcu_constants
from firmware_bridge.drives.language import Drive
from firmware_bridge.drives.mcu_bus import McuBus
from firmware_bridge.drives.mcu_far_end import McuFarEnd
from firmware_bridge.drives.mcu_link import (
    DAMPING,
    HELLO,
    MOTOR_STATE,
    VERSION,
    FrameStream,
    Kind,
    LinkMode,
    MotorFault,
    make_command,
    make_frame,
)
from firmware_bridge.drives.mcu_maintenance import McuMaintenance
from firmware_bridge.emulated_drives import EmulatedMotors, Motor
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import KD, KP, Q
from tests.mcu_firmware import build

REPLAY = Path(__file__).with_name("mcu_replay.c")
SESSION = 0x1234
Ends = tuple["CEnd", "PythonEnd"]


def drives(count: int) -> list[Drive]:
    return [Drive(at, at, "mcu", name=f"joint {at}") for at in range(count)]


def hello(session: int = SESSION, watchdog_ms: int = 0, version: int = VERSION, sequence: int = 0) -> bytes:
    body = np.zeros(1, HELLO)
    body["version"], body["watchdog_ms"] = VERSION, watchdog_ms
    return make_frame(Kind.HELLO, session, sequence, 7, 0, body.tobytes(), version)


def order(kind: Kind, sequence: int, session: int = SESSION, version: int = VERSION) -> bytes:
    return make_frame(kind, session, sequence, 7, 0, b"", version)


def command(sequence: int, block: Any, session: int = SESSION) -> bytes:
    made = make_command(session, sequence, 7, np.asarray(block, np.float32))
    assert made is not None
    return made


class CEnd:
    """The firmware in C, as `mcu_replay.c` drives it."""

    def __init__(self, program: Path, motors: int) -> None:
        self._count = motors
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([program, str(motors)], stdin=pipe, stdout=pipe, text=True)

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _lines(self) -> list[str]:
        assert self._process.stdout is not None
        self._say("q")
        lines: list[str] = []
        while sum(line.startswith("g") for line in lines) < self._count:
            lines.append(self._process.stdout.readline())
        return lines

    def time(self, us: int) -> None:
        self._say(f"t {us}")

    def press(self, is_pressed: bool) -> None:
        self._say(f"s {int(is_pressed)}")

    def motor(self, at: int, q: float, dq: float, tau: float, temperature_c: int, faults: int) -> None:
        self._say(f"m {at} {q:.9g} {dq:.9g} {tau:.9g} {temperature_c} {faults}")

    def feed(self, data: bytes) -> bytes:
        self._say(f"r {data.hex()}")
        return bytes.fromhex("".join(line[2:].strip() for line in self._lines() if line.startswith("a")))

    def look(self) -> tuple[int, int, int, int, list[list[float]]]:
        lines = self._lines()
        mode, watchdog, bad, ignored = (int(part) for part in lines[0].split()[1:])
        return mode, watchdog, bad, ignored, [[float(part) for part in line.split()[2:]] for line in lines[1:]]

    def __enter__(self) -> CEnd:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes its pipes and waits
            pass
        assert self._process.returncode == 0


class PythonEnd:
    """The same in Python."""

    def __init__(self, motors: int) -> None:
        self.motors = EmulatedMotors([Motor() for _ in range(motors)])
        self.end = McuFarEnd(drives(motors), self.motors, list(range(motors)), b"exo-replay")

    def time(self, us: int) -> None:
        self.motors.now_s = us * 1e-6
        self.end.tick()

    def press(self, is_pressed: bool) -> None:
        self.end.stop = is_pressed

    def motor(self, at: int, q: float, dq: float, tau: float, temperature_c: int, faults: int) -> None:
        m = self.motors
        m.q[at], m.dq[at], m.tau[at], m.temperature_c[at], m.faults[at] = q, dq, tau, temperature_c, faults

    def feed(self, data: bytes) -> bytes:
        return self.end.feed(data)

    def look(self) -> tuple[int, int, int, int, list[list[float]]]:
        end = self.end
        targets = [[float(f"{value:.9g}") for value in row] for row in self.motors.target]
        return int(end.mode), end.watchdog_ms, end.bad, end.ignored, targets


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(REPLAY, tmp_path_factory.mktemp("mcu"))


@pytest.fixture
def ends(program: Path) -> Iterator[Ends]:
    with CEnd(program, 2) as c:
        python = PythonEnd(2)
        for end in (c, python):
            end.motor(0, 0, 0, 0, 25, 0)
            end.motor(1, 0, 0, 0, 25, 0)
        yield c, python


def both(ends: Ends, do: Callable[[Any], Any]) -> Any:
    """What both ends give, which must be the same."""
    c, python = (do(end) for end in ends)
    assert c == python
    return c


def test_the_constants_of_the_firmware_are_the_codec_s() -> None:
    assert mcu_constants.PATH.read_text("ascii") == mcu_constants.header(), "run the module again"


def test_the_firmware_allocates_nothing() -> None:
    for name in ("exo_link.c", "exo_link.h"):
        source = mcu_constants.PATH.with_name(name).read_text("ascii")
        assert not re.search(r"\b(malloc|calloc|realloc|free|alloca|printf)\b|<stdio|<stdlib", source)


# --- Golden frames, both ways -----------------------------------------------------------------------------------------



def test_golden_frames_are_made_and_answered_as_the_page_says(ends: Ends) -> None:
    page = (Path(__file__).parents[1] / "docs" / "mcu_link.md").read_text("utf-8")
    rows = re.findall(r"^\| (\w+) \| `([0-9a-f]+)` \| `([0-9a-f]+)` \|$", page, re.MULTILINE)
    assert [name for name, _, _ in rows] == ["hello", "enable", "command", "damp"]
    both(ends, lambda end: (end.time(1_000_000), end.motor(0, 0.25, -1.5, 2.0, 41, 0), end.motor(1, 1, 0, 0, 99, 1)))
    sent = [hello(watchdog_ms=50), order(Kind.ENABLE, 1), command(2, [[0.5, 0, 0, 20, 1], [-0.5, 0, 1.5, 20, 1]]),
            order(Kind.DAMP, 3)]
    for made, (name, asked, answered) in zip(sent, rows, strict=True):
        assert made.hex() == asked, name
        assert both(ends, lambda end, data=made: end.feed(data)).hex() == answered, name


# --- What the firmware does -------------------------------------------------------------------------------------------


def drive(ends: Ends, watchdog_ms: int = 50) -> None:
    both(ends, lambda end: end.feed(hello(watchdog_ms=watchdog_ms) + order(Kind.ENABLE, 1)))
    both(ends, lambda end: end.feed(command(2, [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])))
    assert both(ends, lambda end: end.look())[0] == LinkMode.DRIVEN


def test_nothing_moves_before_it_is_enabled(ends: Ends) -> None:
    assert both(ends, lambda end: end.feed(command(1, np.ones((2, 5))))) == b""  # no session yet
    both(ends, lambda end: end.feed(hello() + command(1, np.ones((2, 5)))))
    mode, _, _, _, targets = both(ends, lambda end: end.look())
    assert mode == LinkMode.LIMP and not np.any(targets)


def test_a_silent_host_lets_it_damp_by_itself_and_stay_so(ends: Ends) -> None:
    drive(ends)
    both(ends, lambda end: end.time(50_000))
    assert both(ends, lambda end: end.look())[0] == LinkMode.DRIVEN
    both(ends, lambda end: end.time(50_001))
    assert both(ends, lambda end: end.look())[::4] == (LinkMode.DAMPED, [[0, 0, 0, 0, DAMPING]] * 2)
    answer = both(ends, lambda end: end.feed(command(3, np.ones((2, 5)))))
    (frame,) = FrameStream().feed(answer)
    state = frame.state()
    assert state is not None and (state[0]["faults"] == MotorFault.HEARTBEAT).all()
    assert both(ends, lambda end: end.look())[0] == LinkMode.DAMPED
    both(ends, lambda end: end.feed(order(Kind.ENABLE, 4)))
    assert both(ends, lambda end: end.look())[::4] == (LinkMode.DRIVEN, [[0] * 5] * 2)  # the old target is forgotten


def test_a_pressed_stop_line_damps_and_no_enable_gets_past_it(ends: Ends) -> None:
    drive(ends)
    both(ends, lambda end: (end.press(True), end.time(1)))
    assert both(ends, lambda end: end.look())[0] == LinkMode.DAMPED
    (frame,) = FrameStream().feed(both(ends, lambda end: end.feed(order(Kind.ENABLE, 3))))
    state = frame.state()
    assert state is not None and state[1]["stop"] == 1 and (state[0]["faults"] == MotorFault.STOP_LINE).all()
    both(ends, lambda end: (end.press(False), end.time(2)))
    assert both(ends, lambda end: end.look())[0] == LinkMode.DAMPED
    both(ends, lambda end: end.feed(order(Kind.ENABLE, 4)))
    assert both(ends, lambda end: end.look())[0] == LinkMode.DRIVEN


def test_a_new_host_damps_what_the_old_one_drove_and_ends_its_session(ends: Ends) -> None:
    drive(ends)
    both(ends, lambda end: end.feed(hello(session=77)))
    assert both(ends, lambda end: end.look())[0] == LinkMode.DAMPED
    assert both(ends, lambda end: end.feed(order(Kind.ENABLE, 9))) == b""  # what the old one still had under way
    assert both(ends, lambda end: end.look())[0] == LinkMode.DAMPED
    both(ends, lambda end: end.feed(order(Kind.ENABLE, 1, session=77)))
    assert both(ends, lambda end: end.look())[0] == LinkMode.DRIVEN


def test_an_old_or_repeated_command_is_no_heartbeat(ends: Ends) -> None:
    drive(ends)
    old = command(2, np.ones((2, 5)))
    both(ends, lambda end: end.time(40_000))
    assert both(ends, lambda end: end.feed(old)) == b""
    both(ends, lambda end: end.time(60_000))
    assert both(ends, lambda end: end.look())[0] == LinkMode.DAMPED


def test_sequences_go_round(ends: Ends) -> None:
    both(ends, lambda end: end.feed(hello(sequence=65_534) + order(Kind.ENABLE, 65_535)))
    assert both(ends, lambda end: end.feed(command(0, np.ones((2, 5))))) != b""
    assert both(ends, lambda end: end.look())[4] == [[1] * 5] * 2


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_no_target(ends: Ends, bad: float) -> None:
    drive(ends)
    block = np.ones((2, 5), "<f4")
    block[1, 3] = bad
    frame = make_frame(Kind.COMMAND, SESSION, 3, 7, 2, block.tobytes())
    assert both(ends, lambda end: end.feed(frame)) == b""
    assert both(ends, lambda end: end.look())[4] == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]


def test_anybody_may_damp(ends: Ends) -> None:
    drive(ends)
    assert both(ends, lambda end: end.feed(order(Kind.DAMP, 0, session=5))) != b""
    assert both(ends, lambda end: end.look())[0] == LinkMode.DAMPED


@pytest.mark.parametrize(("asked", "taken"), [(0, 50), (1, 10), (10, 10), (123, 123), (1000, 1000), (65_535, 1000)])
def test_the_watchdog_stays_within_its_limits_and_is_never_off(ends: Ends, asked: int, taken: int) -> None:
    (frame,) = FrameStream().feed(both(ends, lambda end: end.feed(hello(watchdog_ms=asked))))
    assert np.frombuffer(frame.body, HELLO, 1)[0]["watchdog_ms"] == taken


def test_frames_of_another_version_do_nothing_but_a_hello_is_answered(ends: Ends) -> None:
    drive(ends)
    for kind in (Kind.DAMP, Kind.DISABLE, Kind.ENABLE):
        assert both(ends, lambda end, kind=kind: end.feed(order(kind, 3, version=VERSION + 1))) == b""
    assert both(ends, lambda end: end.look())[0] == LinkMode.DRIVEN
    (frame,) = FrameStream().feed(both(ends, lambda end: end.feed(hello(version=VERSION + 1))))
    assert frame.version == VERSION


def some_frame(rng: np.random.Generator, motors: int, sequence: int) -> bytes:
    """A frame as a host might send it, seldom of another session or size, seldom damaged."""
    session = SESSION if rng.random() < 0.97 else 9
    count = motors if rng.random() < 0.97 else motors % 64 + 1
    which = int(rng.integers(0, 40))
    if which == 0:
        data = hello(session, int(rng.integers(0, 200)), sequence=sequence)
    elif which < 6:
        data = order([Kind.DAMP, Kind.DISABLE, *[Kind.ENABLE] * 3][which - 1], sequence, session)
    else:
        data = command(sequence, rng.normal(size=(count, 5)) * rng.integers(0, 2, (count, 5)), session)
    if rng.random() < 0.1:
        damaged = bytearray(data)
        damaged[int(rng.integers(len(data)))] ^= int(rng.integers(1, 256))
        return bytes(damaged)
    return data


@pytest.mark.parametrize("motors", [1, 2, 13, 64])
def test_both_firmwares_answer_any_traffic_alike(program: Path, motors: int) -> None:
    """Random frames, right and wrong, at random times: the same answers, modes and targets."""
    rng = np.random.default_rng(11)
    python, now, sequence, driven = PythonEnd(motors), 0, 0, 0
    with CEnd(program, motors) as c:
        for end in (c, python):
            for at in range(motors):
                end.motor(at, 0, 0, 0, 25, 0)
            end.feed(hello() + order(Kind.ENABLE, 1))
        for _ in range(250):
            now += int(rng.choice([500, 500, 500, 500, 2000, 2000, 30_000, 60_000]))
            q, dq, tau = (float(value) for value in rng.normal(size=3).astype(np.float32))
            motor = (int(rng.integers(motors)), q, dq, tau, int(rng.integers(-40, 200)), int(rng.integers(1 << 6)))
            is_pressed = bool(rng.random() < 0.02)
            sequence = (sequence + int(rng.choice([1] * 17 + [2, 0, 40_000]))) & 0xFFFF
            data = some_frame(rng, motors, sequence)
            for end in (c, python):
                end.motor(*motor)
                end.press(is_pressed)
                end.time(now)
            assert c.feed(data) == python.feed(data)
            seen = c.look()
            assert seen == python.look()
            driven += seen[0] == LinkMode.DRIVEN
    assert 20 < driven < 250


def test_no_bytes_lead_the_firmware_beyond_its_memory(tmp_path: Path) -> None:
    """Under the compiler's own watch for addresses and undefined behaviour: noise, overlong pieces, damaged frames."""
    program = build(REPLAY, tmp_path, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    for motors in (1, 64, 200):  # more than it takes are not there
        rng, lines = np.random.default_rng(motors), list[str]()
        for at in range(500):
            noise = rng.integers(0, 256, int(rng.integers(0, 3000))).astype(np.uint8)
            data = noise.tobytes() if at % 5 == 0 else np.maximum(noise, 1).tobytes() if at % 5 == 1 else b""
            lines += [f"t {at * 700}", f"r {(data or some_frame(rng, min(motors, 64), at)).hex()}"]
        done = subprocess.run([program, str(motors)], input="\n".join([*lines, "q"]) + "\n", text=True,
                              capture_output=True)
        assert done.returncode == 0, done.stderr
        assert sum(line.startswith("a") for line in done.stdout.splitlines()) > 50


# --- The host ---------------------------------------------------------------------------------------------------------


class Link:
    """A host and an emulated microcontroller, without a port."""

    def __init__(self, motors: int = 3) -> None:
        self.far = PythonEnd(motors)
        self.far.end.imu[0] = 1
        self.bus = McuBus(drives(motors))
        self.now_ns = 0

    def exchange(self, data: bytes, is_enough: Callable[[bytes], bool], longest_s: float) -> bool:
        answer = self.far.feed(data)
        return bool(answer) and is_enough(answer)

    def send(self, frames: list[bytes]) -> int:
        self.now_ns += 1_000_000
        return self.bus.hear(self.far.feed(b"".join(frames)), self.now_ns)

    def cycle(self, block: Any = None) -> int:
        return self.send(self.bus.ask(np.zeros((len(self.bus.drives), 5)) if block is None else block))


@pytest.fixture
def link() -> Link:
    link = Link()
    facts = link.bus.connect(link.exchange, 0.05)
    assert [fact.problems for fact in facts] == [[], [], []] and [fact.watchdog_s for fact in facts] == [0.05] * 3
    return link


def test_targets_arrive_and_states_come_back_in_the_order_of_the_file() -> None:
    link = Link()
    link.bus = McuBus([Drive(0, 2, "mcu"), Drive(1, 0, "mcu"), Drive(2, 1, "mcu")])
    link.bus.connect(link.exchange, 0.05)
    link.send(link.bus.enabling())
    block = np.arange(15.0).reshape(3, 5)
    assert link.cycle(block) == 3
    assert link.far.motors.target.tolist() == block[[1, 2, 0]].tolist()
    link.far.motors.q[:] = [10, 20, 30]
    link.cycle(block)
    assert link.bus.states.q.tolist() == [30, 10, 20] and link.bus.states.is_driving.all()


def test_a_firmware_of_another_version_is_to_be_reflashed() -> None:
    link = Link()
    link.far.end.version = VERSION + 1
    assert "reflash" in link.bus.connect(link.exchange, 0.05)[0].problems[0]
    with pytest.raises(BridgeError, match="reflash"):
        McuMaintenance().scan(link.exchange, [0])


def test_another_number_of_motors_is_told() -> None:
    link = Link()
    link.bus = McuBus(drives(2))
    assert link.bus.connect(link.exchange, 0.05)[0].problems == ["it has 3 motors, the wiring file 2"]


def test_nobody_there_is_told() -> None:
    assert "no answer" in McuBus(drives(1)).connect(lambda *a: False, 0.05)[0].problems[0]


@pytest.mark.parametrize("ids", [[1, 2], [0, 0], [0, 2]])
def test_motors_are_numbered_without_a_gap(ids: list[int]) -> None:
    with pytest.raises(BridgeError, match="numbered from 0"):
        McuBus([Drive(at, number, "mcu") for at, number in enumerate(ids)])


def test_the_heartbeat_s_and_the_stop_line_s_damping_reach_the_states(link: Link) -> None:
    link.send(link.bus.enabling())
    link.far.time(200_000)
    link.cycle()
    assert not link.bus.states.is_driving.any() and (link.bus.states.faults == MotorFault.HEARTBEAT).all()
    link.far.press(True)
    link.cycle()
    assert link.bus.stop and (link.bus.states.faults & MotorFault.STOP_LINE).all()


def test_an_old_state_is_not_taken_for_a_new_one(link: Link) -> None:
    first = link.far.feed(link.bus.ask(np.zeros((3, 5)))[0])
    link.far.motors.q[:] = 5
    second = link.far.feed(link.bus.ask(np.zeros((3, 5)))[0])
    assert link.bus.hear(second, 1) == 3 and link.bus.states.q.tolist() == [5] * 3
    assert link.bus.hear(first, 2) == 0 and link.bus.hear(second, 3) == 0
    assert link.bus.states.q.tolist() == [5] * 3 and link.bus.states.answered_ns.tolist() == [1] * 3


def test_a_state_of_another_session_is_a_stranger_s(link: Link) -> None:
    late = link.far.feed(link.bus.ask(np.zeros((3, 5)))[0])
    link.bus.connect(link.exchange, 0.05)
    assert link.bus.hear(late, 9) == 0 and link.bus.strangers == 1


def test_lost_commands_and_the_round_trip_are_known_from_the_answers(link: Link) -> None:
    link.cycle()
    for _ in range(4):
        link.bus.ask(np.zeros((3, 5)))  # these are lost
    assert link.cycle() == 3 and link.bus.lost == 4 and math.isfinite(link.bus.round_trip_s)


def test_its_imu_comes_with_the_motors_and_one_that_it_has_not_does_not(link: Link) -> None:
    link.far.end.imu[:] = [0, 1, 0, 0, 1, 2, 3, 4, 5, 6]
    link.cycle()
    assert link.bus.imu.values.tolist() == [0, 1, 0, 0, 1, 2, 3, 4, 5, 6] and link.bus.imu.readings == 1
    link.far.end.imu[:4] = 0
    link.cycle()
    assert link.bus.imu.readings == 1


def test_a_target_that_is_not_finite_is_not_asked(link: Link) -> None:
    block = np.zeros((3, 5))
    block[0, Q] = math.nan
    assert link.bus.ask(block) == []


def test_damaged_bytes_never_raise_and_never_read_wrong(link: Link) -> None:
    rng = np.random.default_rng(2)
    link.far.motors.q[:] = [1, 2, 3]
    for _ in range(2000):
        data = bytearray(link.far.feed(link.bus.ask(np.zeros((3, 5)))[0]))
        for _ in range(int(rng.integers(0, 3))):
            data[int(rng.integers(len(data)))] ^= int(rng.integers(1, 256))
        link.bus.hear(bytes(data), 5)
        if link.bus.states.answered_ns.any():
            assert link.bus.states.q.tolist() == [1, 2, 3]
    assert link.bus.bad > 100


def test_a_cycle_of_29_motors_fits_500_hz_at_its_usual_speed() -> None:
    assert McuBus(drives(29)).cycle_s() < 0.8 / 500
    assert McuBus(drives(29), 2_000_000).cycle_s() > 0.8 / 500


def test_a_board_is_scanned_and_its_watchdog_set() -> None:
    link, upkeep = Link(), McuMaintenance()
    found = upkeep.scan(link.exchange, range(64))
    assert [drive.id for drive in found] == [0, 1, 2] and found[0].model == "exo-replay"
    assert found[0].watchdog_s == 0.05 and found[0].is_driving is False
    assert upkeep.set_watchdog(link.exchange, 1, 0.1) == pytest.approx(0.1) and upkeep.ping(link.exchange, 1)
    with pytest.raises(BridgeError, match="board's firmware"):
        upkeep.set_id(link.exchange, 1, 2)


def test_motors_hold_their_targets_behind_the_link(link: Link) -> None:
    link.send(link.bus.enabling())
    block = np.zeros((3, 5))
    block[:, Q], block[:, KP], block[:, KD] = [0.3, -0.2, 0.1], 20, 1
    for _ in range(400):
        link.cycle(block)
        link.far.motors.step(0.002)
    np.testing.assert_allclose(link.bus.states.q, [0.3, -0.2, 0.1], atol=0.02)
    assert MOTOR_STATE.itemsize == 16
