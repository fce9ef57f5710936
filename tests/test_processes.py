"""The run as processes over DDS: what the robot hears when something dies, hangs, is stopped or does not fit.

Real processes, real signals, a real simulated robot; the command topic is judged by a witness (`tests.wire_observer`)
that is none of the runtime's processes. The deadlines asserted here are safety limits, the very subject.
Each harmed run damps while the next one starts, where SCHED_FIFO keeps them apart: that saves half a minute.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.errors import BridgeError
from firmware_bridge.layout import HG_LOW_CMD, HG_LOW_STATE
from runtime import child_life, gate_process, policy_process, target_process
from runtime.child import Child
from runtime.errors import Refused
from runtime.faults import Mode, flag_names
from runtime.log_file import read_log
from runtime.pilot import Phase
from runtime.policy import Policy
from runtime.records import status_dtype, target_dtype
from runtime.settings import RunSettings
from runtime.slots import Slot
from runtime.supervisor import _sweep
from tests.live_run import MOTORS, ROOT, LiveRun, await_, has_fifo, lacks_for_a_robot, resident_mb
from tests.shared_data import shared_data
from tests.wire_observer import WireObserver

pytest.importorskip("mujoco")
pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.realtime

FULL, ESTOP, WIRE_LEVEL, RIVAL_ROBOT, DRY, UNCHECKED, OPERATED = 20, 21, 22, 23, 24, 25, 26
HARMED, REFUSED = 30, 50
"""DDS domains of this file, 20 to 59; the last two are the first of a row, one a scenario."""

HAS_FIFO = has_fifo()
DEADLINE_MS = 45.0 if HAS_FIFO else 150.0
"""Without SCHED_FIFO any other process of the machine may hold the gate up for as long as the kernel likes."""
STOP_MS = 10.0 if HAS_FIFO else 100.0
RESTART_MS = 1000.0 if HAS_FIFO else 3000.0
DAMPING_FRAMES = 1000


def words(domain: int, *more: object) -> list[object]:
    """A run of the shared tracker on the shared walk."""
    return [
        "--controller", "twist2", "--model", shared_data("policies/twist2_1017_20k.onnx"),
        "--clip", shared_data("motions/twist2_walk_001.npz"), "--domain", domain, *more,
    ]


@contextlib.contextmanager
def helper(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python child that has said `ready`; it is told to end by closing its input."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=5)
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def simulated_robot(domain: int, *more: object) -> Iterator[subprocess.Popen[str]]:
    """`exoactor sim`, once it is on the network."""
    process = subprocess.Popen(
        [sys.executable, "-m", "exoactor", "sim", "--domain", str(domain), "--seconds", "60", *map(str, more)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "ready"
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=10)


RIVAL = """
import sys
from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.layout import HG_LOW_CMD
with Participant(DdsSettings(int(sys.argv[1])), "rival") as us:
    us.writer("rt/lowcmd", HG_LOW_CMD)
    print("ready", flush=True)
    sys.stdin.read()
"""

ROBOT_WITH_REMOTE = """
import contextlib, os, select, sys, time
from firmware_bridge.dds import DdsSettings
from firmware_bridge.sim_command import DdsRobot
from firmware_bridge.simulated_robot import SimulatedRobot
from firmware_bridge.remote import button_mask
with contextlib.suppress(OSError):
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(40))
robot = DdsRobot(SimulatedRobot(), DdsSettings(int(sys.argv[1])))
print("ready", flush=True)
deadline, count = time.monotonic(), 0
while True:
    count += 1
    if count % 5 == 0 and select.select([sys.stdin], [], [], 0)[0]:
        keys = sys.stdin.readline().split()
        if not keys:
            break
        robot.buttons = button_mask(keys)
        pressed = time.monotonic_ns()
        robot.tick()
        print(pressed, flush=True)
    else:
        robot.tick()
    deadline += 0.002
    time.sleep(max(0.0, deadline - time.monotonic()))
robot.close()
"""

UNITREE_MUJOCO = """
# What unitreerobotics/unitree_mujoco simulate_python publishes: 200 Hz, and crc, tick, mode_machine and
# remote all zero; it obeys whatever arrives, unchecked.
import contextlib, os, select, sys, time
import numpy as np
from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.layout import HG_LOW_CMD, HG_LOW_STATE
from firmware_bridge.motor_bus import MotorCommand
from firmware_bridge.simulated_robot import SimulatedRobot
with contextlib.suppress(OSError):
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(40))
robot = SimulatedRobot(timestep_s=0.005)
us = Participant(DdsSettings(int(sys.argv[1])), "unitree_mujoco")
states, commands = us.writer("rt/lowstate", HG_LOW_STATE), us.reader("rt/lowcmd", HG_LOW_CMD)
def state(name):
    return HG_LOW_STATE.view(states.buffer, name)
motors = {name: state("motor_state." + name)[:robot.motors] for name in ("q", "dq", "tau_est")}
imu = {name: state("imu_state." + name) for name in ("quaternion", "gyroscope", "accelerometer")}
block = HG_LOW_CMD.block(commands.buffer, "motor_cmd", "q", "kd")[:robot.motors]
command = MotorCommand(robot.motors)
print("ready", flush=True)
deadline = time.monotonic()
while not select.select([sys.stdin], [], [], 0)[0]:
    if commands.take():
        command.block[:] = block
        robot.command(command)
    sample = robot.step()
    robot.sense_accelerometer()
    motors["q"][:], motors["dq"][:], motors["tau_est"][:] = sample.q, sample.dq, sample.tau
    imu["quaternion"][:], imu["gyroscope"][:], imu["accelerometer"][:] = sample.quat_wxyz, sample.gyro, sample.accel
    states.write()
    deadline += 0.005
    time.sleep(max(0.0, deadline - time.monotonic()))
us.close()
"""

POLICY_THAT_RAISES = """
import sys
if "runtime.policy_process" in sys.orig_argv:
    from runtime.faults import Mode
    from runtime.policy import Policy
    def tick(self, mode, state, now_ns, whole=Policy.tick, ticks=[0]):
        ticks[0] += mode is Mode.TRACK
        if ticks[0] > 10:
            raise FloatingPointError("a bug in the policy")
        whole(self, mode, state, now_ns)
    Policy.tick = tick
"""


def assert_nothing_is_left(run: LiveRun) -> None:
    await_(lambda: not run.living(), 10, f"the end of every process, left: {run.living()}", poll_s=0.05)
    assert not (run.out / "processes.json").exists()
    assert not run.shared


# --- A whole run ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A short run, watched; memory is read while it tracks."""
    folder = tmp_path_factory.mktemp("full")
    more = words(FULL, "--duration", 2)
    with WireObserver(FULL, folder / "frames.npy") as wire, LiveRun(folder / "out", *more) as run:
        run.await_tracking(Phase.PLAY)
        resident = {name: resident_mb(pid) for name, pid in run.pids.items()}
        oom = {name: int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for name, pid in run.pids.items()}
        nice = {name: os.getpriority(os.PRIO_PROCESS, pid)
                for name, pid in {**run.pids, "supervisor": run.process.pid}.items()}
        run.finish()
        wire.stop()
        yield SimpleNamespace(run=run, wire=wire, resident=resident, oom=oom, nice=nice, report=run.report)


def test_a_whole_run_is_done_and_leaves_nothing_behind(full: SimpleNamespace) -> None:
    assert full.run.code == 0, full.run.output + full.run.errors
    assert full.report["outcome"] == "done"
    assert full.report["backend"] == "cpu"
    assert set(full.run.pids) == {"gate", "policy", "sim", "telemetry"}
    assert_nothing_is_left(full.run)
    assert full.run.errors == "" or HAS_FIFO is False


@pytest.mark.skipif(not HAS_FIFO, reason="no permission to go first")
def test_who_replaces_a_dead_gate_goes_before_other_programs(full: SimpleNamespace) -> None:
    assert full.nice["supervisor"] < 0 <= min(full.nice["sim"], full.nice["telemetry"])


def test_its_report_holds_what_programs_read(full: SimpleNamespace) -> None:
    report = full.report
    assert report["fell"] is False
    assert report["faults"] == [] and report["errors"] == []
    assert report["ticks"] > 300
    for key in ("joint_error_rad_mean", "root_height_error_m_mean"):
        assert isinstance(report["tracking"][key], float)
        assert 0 < report["tracking"][key] < 0.2
    for key in ("state_to_command_us", "policy_tick_us", "gate_tick_us"):
        spread = report["timing"][key]
        assert list(spread) == ["p50", "p99", "p99_9", "max"]
        assert 0 < spread["p50"] <= spread["p99"] <= spread["p99_9"] <= spread["max"]
    assert isinstance(report["timing"]["missed_deadlines"], int)
    assert (full.run.out / "report.html").stat().st_size > 10_000


def test_its_log_can_be_read(full: SimpleNamespace) -> None:
    log = read_log(full.run.out / "log.mcap")
    assert log.complete and full.report["log_complete"]
    assert len(log.topics["gate"]) > 3000 and len(log.topics["truth"]) > 500
    assert len(log.topics["policy"]) == full.report["ticks"]
    assert (np.diff(log.topics["gate"]["now_ns"]) > 0).all()


def test_the_wire_saw_one_writer_whole_frames_and_damping_at_the_end(full: SimpleNamespace) -> None:
    frames = full.wire.frames
    assert len(full.wire.writers) == 1 and "exoactor-gate" in full.wire.writers[0]
    assert frames["is_sealed"].all()
    stiff = frames["at_ns"][frames["kp"] > 0]
    assert len(full.wire.damping_after(stiff[-1])) >= DAMPING_FRAMES


def test_gate_and_policy_are_small(full: SimpleNamespace) -> None:
    print(f"resident MB: {full.resident}")
    assert full.resident["gate"] < 60
    assert full.resident["policy"] < 200


def test_memory_is_taken_from_the_log_and_the_policy_before_the_gate(full: SimpleNamespace) -> None:
    assert full.oom["telemetry"] > full.oom["policy"] > full.oom["gate"]


# --- Something dies, hangs or is stopped while the robot walks --------------------------------------------------------


def gate_falls_to(number: signal.Signals, run: LiveRun) -> int:
    old = run.pids["gate"]
    moment = run.signal("gate", number)
    await_(lambda: run.look() or run.pids["gate"] != old, 10, "another gate")
    return moment


def rival_comes(run: LiveRun) -> int:
    moment = time.monotonic_ns()
    with helper(RIVAL, HARMED + list(HARMS).index("second writer comes")):
        await_(lambda: run.look() or run.mode is Mode.DAMP, 10, "damping because of the rival")
    return moment


HARMS: dict[str, Callable[[LiveRun], int]] = {
    "policy killed": lambda run: run.signal("policy", signal.SIGKILL),
    "policy stopped": lambda run: run.signal("policy", signal.SIGSTOP),
    "gate killed": partial(gate_falls_to, signal.SIGKILL),
    "gate stopped": partial(gate_falls_to, signal.SIGSTOP),
    "robot vanishes": lambda run: run.signal("sim", signal.SIGKILL),
    "second writer comes": rival_comes,
    "exception in the policy": lambda run: time.monotonic_ns(),
    "SIGINT": lambda run: run.signal("supervisor", signal.SIGINT),
    "SIGTERM": lambda run: run.signal("supervisor", signal.SIGTERM),
    "supervisor killed": lambda run: run.signal("supervisor", signal.SIGKILL),
    "telemetry killed": lambda run: run.signal("telemetry", signal.SIGKILL),
}
FLAGS = {
    "policy killed": ["TARGET_STALE"],
    "policy stopped": ["TARGET_STALE"],
    "gate killed": ["GATE_RESTARTED"],
    "gate stopped": ["GATE_RESTARTED"],
    "robot vanishes": ["STATE_STALE", "STATE_LOST"],
    "second writer comes": ["SECOND_WRITER"],
    "exception in the policy": ["POLICY_FAULT"],
    "SIGINT": ["OPERATOR_STOP"],
    "SIGTERM": ["OPERATOR_STOP"],
}
BRIEF = ("policy killed", "gate stopped", "SIGTERM")
"""Those that a pass without the slow tests does too."""
WITHIN_MS = {"policy killed": DEADLINE_MS, "policy stopped": DEADLINE_MS, "gate killed": RESTART_MS,
             "gate stopped": RESTART_MS}


def harms(names: Iterable[str]) -> list[Any]:
    """Parameters: a harm each, most of them slow."""
    return [pytest.param(name, marks=() if name in BRIEF else pytest.mark.slow) for name in names]


@pytest.fixture(scope="module")
def harmed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SimpleNamespace]:
    """Every harm a chosen test asks for, done to a run of its own once it tracks; what came of it, by name."""
    wanted = {item.callspec.params["name"] for item in request.session.items  # type: ignore[attr-defined]
              if "harmed" in getattr(item, "fixturenames", ())}
    folder = tmp_path_factory.mktemp("harmed")
    (folder / "sitecustomize.py").write_text(POLICY_THAT_RAISES, encoding="utf-8")
    raising = {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    results: dict[str, SimpleNamespace] = {}
    with contextlib.ExitStack() as stack:
        for i, (name, harm) in enumerate(HARMS.items()):
            if name not in wanted:
                continue
            out = folder / name.replace(" ", "_")
            wire = stack.enter_context(WireObserver(HARMED + i, folder / f"{i}.npy"))
            environment = raising if name == "exception in the policy" else None
            run = stack.enter_context(LiveRun(out, *words(HARMED + i, "--duration", 1), environment=environment))
            run.await_tracking()
            results[name] = SimpleNamespace(run=run, wire=wire, moment=harm(run))
            if not HAS_FIFO:
                run.finish()
        for name, result in results.items():
            result.run.finish()
            await_(lambda run=result.run: not run.living(), 10, f"the end of all processes of {name}", poll_s=0.05)
            result.wire.stop()
    return results


@pytest.mark.parametrize("name", harms(HARMS))
def test_every_harm_ends_in_damping_that_stays(harmed: dict[str, SimpleNamespace], name: str) -> None:
    wire, moment = harmed[name].wire, harmed[name].moment
    damping = wire.damping_after(moment)
    print(f"{name}: first damping frame after {wire.delay_ms(moment):.1f} ms, {len(damping)} of them, "
          f"longest gap {wire.longest_gap_ms(moment):.1f} ms")
    assert len(damping) >= DAMPING_FRAMES
    assert wire.stiff_after_damping(moment) == 0
    assert wire.frames["is_sealed"].all()
    assert wire.delay_ms(moment) <= WITHIN_MS.get(name, float("inf"))


@pytest.mark.parametrize("name", harms(FLAGS))
def test_the_report_names_what_ended_the_run(harmed: dict[str, SimpleNamespace], name: str) -> None:
    run = harmed[name].run
    assert run.code == 1
    assert run.report["outcome"] == "fault"
    assert not run.report["fell"]
    if name.startswith("gate"):  # the new one has not seen a state yet, and says so too
        assert set(FLAGS[name]) <= set(run.flags)
    else:
        assert run.flags == FLAGS[name]
    assert run.report["gate_restarts"] == name.startswith("gate")
    assert ("a bug in the policy" in " ".join(run.report["errors"])) == (name == "exception in the policy")
    assert_nothing_is_left(run)


@pytest.mark.parametrize("name", harms(["telemetry killed"]))
def test_a_run_outlives_its_logger_and_says_that_the_log_is_cut(harmed: dict[str, SimpleNamespace], name: str) -> None:
    run, wire = harmed[name].run, harmed[name].wire
    assert run.code == 0
    assert not run.report["fell"]
    assert run.report["log_complete"] is False
    assert "telemetry" in " ".join(run.report["warnings"])
    assert "DISK_FULL" in [alarm["flag"] for alarm in run.report["alarms"]]
    assert "WARNING: DISK_FULL" in run.errors
    assert wire.delay_ms(harmed[name].moment) > 3000, "it did not play on"
    assert_nothing_is_left(run)


@pytest.mark.parametrize("name", harms(["supervisor killed"]))
def test_what_a_killed_supervisor_leaves_is_swept_by_the_next_run(
    harmed: dict[str, SimpleNamespace], name: str
) -> None:
    run = harmed[name].run
    assert run.code == -signal.SIGKILL
    assert len(read_log(run.out / "log.mcap").topics["gate"]) > DAMPING_FRAMES
    assert run.shared
    _sweep()
    assert not run.shared


@pytest.mark.slow
def test_the_stop_on_the_remote_is_obeyed_within_a_few_ticks(tmp_path: Path) -> None:
    with (
        helper(ROBOT_WITH_REMOTE, ESTOP) as robot,
        WireObserver(ESTOP, tmp_path / "f.npy") as wire,
        LiveRun(tmp_path / "o", *words(ESTOP, "--robot", "dds")) as run,
    ):
        run.await_tracking()
        assert robot.stdin is not None and robot.stdout is not None
        robot.stdin.write("L2\n")
        robot.stdin.flush()
        robot.stdout.readline()
        time.sleep(0.2)
        run.look()
        assert run.mode is Mode.TRACK, "half of the combination stopped the robot"
        robot.stdin.write("L2 B\n")
        robot.stdin.flush()
        pressed = int(robot.stdout.readline())
        assert run.finish() == 1
        wire.stop()
        print(f"remote stop: damping {wire.delay_ms(pressed):.2f} ms after the bit was published")
        assert wire.delay_ms(pressed) <= STOP_MS
        assert len(wire.damping_after(pressed)) >= DAMPING_FRAMES
        assert run.flags == ["REMOTE_STOP"]
        assert_nothing_is_left(run)


# --- What does not fit is refused, and nothing is ever announced -----------------------------------------------------

REFUSALS = {
    "no robot": (["--robot", "dds"], [f"domain {REFUSED}", "interface lo"]),
    "another variant": (["--robot", "dds"], ["mode_machine", "found 1"]),
    "second writer": (["--robot", "sim"], ["rt/lowcmd", "'rival'"]),
    "a robot where the simulator should be": (["--robot", "unitree-mujoco"], ["unitree_mujoco", "mode_machine 5"]),
    "the unchecked profile on a cable": (["--robot", "unitree-mujoco", "--interface", "eth0"], ["eth0", "loopback"]),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SimpleNamespace]:
    """All of them side by side: none gets far enough to be disturbed."""
    folder = tmp_path_factory.mktemp("refused")
    results: dict[str, SimpleNamespace] = {}
    domain = {name: REFUSED + i for i, name in enumerate(REFUSALS)}
    with contextlib.ExitStack() as stack:
        stack.enter_context(simulated_robot(domain["another variant"], "--mode-machine", 1))
        stack.enter_context(simulated_robot(domain["a robot where the simulator should be"]))
        stack.enter_context(helper(RIVAL, domain["second writer"]))
        for name, (more, _) in REFUSALS.items():
            wire = stack.enter_context(WireObserver(domain[name], folder / f"{domain[name]}.npy"))
            run = stack.enter_context(LiveRun(folder / str(domain[name]), *words(domain[name], *more)))
            results[name] = SimpleNamespace(run=run, wire=wire)
        for result in results.values():
            result.run.finish()
            result.wire.stop()
            result.living = result.run.living()
    return results


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSALS)
def test_refused_before_a_command_writer_exists(refused: dict[str, SimpleNamespace], name: str) -> None:
    run, wire = refused[name].run, refused[name].wire
    assert run.code == 2, run.output + run.errors
    for part in REFUSALS[name][1]:
        assert part in run.errors
    assert run.report["outcome"] == "refused"
    assert all(run.report["refusal"][key] for key in ("what", "expected", "found", "what_to_do"))
    assert not [text for text in wire.writers if "'rival'" not in text]
    assert len(wire.frames) == 0
    assert refused[name].living == []
    assert_nothing_is_left(run)


@pytest.mark.slow
def test_a_dry_run_goes_through_the_motions_and_writes_nothing(tmp_path: Path) -> None:
    with (
        simulated_robot(DRY) as robot,
        WireObserver(DRY, tmp_path / "f.npy") as wire,
        LiveRun(tmp_path / "o", *words(DRY, "--robot", "dds", "--dry-run", "--duration", 0.2)) as run,
    ):
        run.await_tracking(Phase.PLAY)
        assert run.finish() in (0, 1)  # a limp robot does not follow; whether that is a fault is its own affair
        wire.stop()
        assert robot.poll() is None
        assert wire.writers == [] and len(wire.frames) == 0
        assert run.report["damping_frames"] == 0
        assert run.report["ticks"] > 100
        assert_nothing_is_left(run)


REAL = ("--robot", "g1", "--interface", "lo", "--allow-unsigned")
LACKING = lacks_for_a_robot()
on_a_fit_computer = pytest.mark.skipif(bool(LACKING), reason=f"a robot would be refused here: {LACKING}")


@pytest.mark.slow
@on_a_fit_computer
def test_a_robot_moves_only_as_far_as_its_operator_says(tmp_path: Path) -> None:
    with (
        simulated_robot(OPERATED),
        WireObserver(OPERATED, tmp_path / "f.npy") as wire,
        LiveRun(tmp_path / "o", *words(OPERATED, *REAL), typed=True) as run,
    ):
        await_(lambda: "Type MOVE" in run.errors, 30, "the question")
        run.look()
        assert run.mode is Mode.DISARMED
        run.type("MOVE")
        await_(lambda: "press Enter to track" in run.errors, 20, "the start pose")
        run.look()
        assert run.mode is Mode.READY
        run.type("")
        run.await_tracking()
        run.type("")  # back to standing
        await_(lambda: run.look() or run.mode is Mode.STAND, 5, "standing")
        await_(lambda: "press Enter to release" in run.errors, 20, "the end")
        moment = time.monotonic_ns()
        await_(lambda: time.monotonic_ns() - moment > 3e9, 10, "more than the shortest damping")
        run.look()
        assert run.mode is Mode.DAMP, "it was released without its operator"
        run.type("")
        assert run.finish() == 0, run.output + run.errors
        wire.stop()
        assert len(wire.damping_after(moment)) > DAMPING_FRAMES
        assert_nothing_is_left(run)


@pytest.mark.slow
@on_a_fit_computer
def test_without_an_operator_no_robot_is_armed(tmp_path: Path) -> None:
    with (
        simulated_robot(OPERATED),
        WireObserver(OPERATED, tmp_path / "f.npy") as wire,
        LiveRun(tmp_path / "o", *words(OPERATED, *REAL)) as run,
    ):
        assert run.finish() == 2
        assert "expected MOVE" in run.errors
        wire.stop()
        assert wire.writers == [] and len(wire.frames) == 0
        assert_nothing_is_left(run)


def test_golden_vectors_are_replayed_by_the_process_that_opens_the_network(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="missing dependency: onnx")
    from export.bundle_signing import sign_bundle
    from tests import tiny_bundle

    bundle = tiny_bundle.make(tmp_path)
    tiny_bundle.edit(bundle, "controller.json", lambda manifest: manifest["action"].update(scale=0.3))
    sign_bundle(bundle)
    with (
        WireObserver(OPERATED, tmp_path / "f.npy") as wire,
        LiveRun(tmp_path / "o", "--controller", bundle, "--domain", OPERATED) as run,
    ):
        assert run.finish() == 2
        assert "golden vectors of bundle tiny" in run.errors
        assert run.report["refusal"]["what"] == "golden vectors of bundle tiny"
        wire.stop()
        assert wire.writers == [] and len(wire.frames) == 0
        assert_nothing_is_left(run)


@pytest.mark.slow
def test_what_was_let_pass_unsigned_stands_in_the_report(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="missing dependency: onnx")
    from tests import tiny_bundle

    bundle = tiny_bundle.make(tmp_path)
    (bundle / "bundle.sig").unlink()
    with LiveRun(
        tmp_path / "o", "--controller", bundle, "--domain", OPERATED, "--duration", 0.1, "--allow-unsigned"
    ) as run:
        assert run.finish() in (0, 1)
        assert run.errors.count("WARNING: bundle tiny has no signature") == 1
        assert sum("bundle tiny has no signature" in line for line in run.report["warnings"]) == 1
        assert read_log(tmp_path / "o" / "log.mcap").about["allow_unsigned"] is True


@pytest.mark.slow
def test_unitrees_own_simulator_is_obeyed_unchecked_and_with_a_warning(tmp_path: Path) -> None:
    with (
        helper(UNITREE_MUJOCO, UNCHECKED),
        WireObserver(UNCHECKED, tmp_path / "f.npy") as wire,
        LiveRun(tmp_path / "o", *words(UNCHECKED, "--robot", "unitree-mujoco", "--duration", 1)) as run,
    ):
        run.await_tracking()
        assert "WARNING: profile unitree-mujoco" in run.errors
        assert run.finish() == 0, run.output + run.errors
        wire.stop()
        assert (wire.frames["kp"] > 0).sum() > 1000
        assert_nothing_is_left(run)


# --- The parts, without a run -----------------------------------------------------------------------------------------


def settings(folder: Path) -> RunSettings:
    """Of the shared tracker, for a stage run in this process."""
    return RunSettings(
        controller="twist2", robot="g1_29dof", model=str(shared_data("policies/twist2_1017_20k.onnx")),
        clip=str(shared_data("motions/twist2_walk_001.npz")), command=(0.0, 0.0, 0.0), duration_s=None, target="sim",
        domain=0, interface=None, peers=(), out=str(folder), real_time=False, run=7, shared=str(folder),
    )


def test_an_exception_in_the_policys_tick_is_told_to_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ticks = 0

    def tick(self: Policy, *arguments: object) -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 3:
            raise ZeroDivisionError("a bug")

    settings(tmp_path).save(tmp_path / "settings.json")
    Slot(tmp_path / "status", status_dtype(MOTORS), 7, create=True)
    target = Slot(tmp_path / "target", target_dtype(MOTORS), 7, create=True)
    monkeypatch.setattr(Policy, "tick", tick)
    for module, name in ((child_life, "die_with_parent"), (target_process, "freeze_garbage")):
        monkeypatch.setattr(module, name, lambda *arguments: None)  # they would change this very process
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert policy_process.main([str(tmp_path / "settings.json")]) == 1
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert target.read()
    assert flag_names(int(target.record["flags"][0])) == ["POLICY_FAULT"]
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert events[-1] == {"event": "error", "message": "ZeroDivisionError: a bug"}


def test_a_gate_that_crashes_is_told_from_one_that_ends_in_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def crash() -> int:
        raise ZeroDivisionError("a bug")

    settings(tmp_path).save(tmp_path / "settings.json")
    monkeypatch.setattr(gate_process, "die_with_parent", lambda number: None)
    monkeypatch.setattr(gate_process, "GateProcess", lambda _, **more: SimpleNamespace(connect=lambda: None, run=crash))
    assert gate_process.main([str(tmp_path / "settings.json")]) == gate_process.CRASHED not in (0, 1, 2)
    assert "ZeroDivisionError: a bug" in capfd.readouterr().out


def test_a_dead_childs_refusal_is_heard_however_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def listen_late(child: Child, listen: Callable[[Child], None] = Child._listen) -> None:
        child.process.wait()
        time.sleep(0.2)
        listen(child)

    facts = {"what": "model", "expected": "29", "found": "27", "what_to_do": "choose another"}
    program = f"print({json.dumps({'event': 'refused', **facts})!r}); raise SystemExit(2)"
    monkeypatch.setattr(Child, "_listen", listen_late)
    with pytest.raises(Refused) as error:
        Child("policy", ["-c", program], tmp_path / "err").await_ready(20, print)
    assert error.value.what == "model" and error.value.found == "27"


def test_a_stopped_child_hears_that_it_shall_end(tmp_path: Path) -> None:
    child = Child("policy", ["-c", "import time; print('{\"event\": \"ready\"}', flush=True); time.sleep(60)"],
                  tmp_path / "err")
    child.await_ready(20, print)
    os.kill(child.pid, signal.SIGSTOP)
    child.end(20)
    assert child.process.returncode == -signal.SIGTERM


def test_a_simulated_robot_refuses_to_share_a_domain() -> None:
    from firmware_bridge.sim_command import DdsRobot
    from firmware_bridge.simulated_robot import SimulatedRobot

    with simulated_robot(RIVAL_ROBOT), pytest.raises(BridgeError) as error:
        DdsRobot(SimulatedRobot(), DdsSettings(RIVAL_ROBOT))
    assert f"domain {RIVAL_ROBOT}" in str(error.value) and "exoactor-sim" in error.value.found


def test_a_simulated_robot_drops_bad_commands_and_keeps_the_last_good_one() -> None:
    from firmware_bridge.sim_command import DdsRobot
    from firmware_bridge.simulated_robot import SimulatedRobot

    simulated = SimulatedRobot()
    robot = DdsRobot(simulated, DdsSettings(WIRE_LEVEL))
    with Participant(DdsSettings(WIRE_LEVEL), "commander") as us:
        writer, states = us.writer("rt/lowcmd", HG_LOW_CMD), us.reader("rt/lowstate", HG_LOW_STATE)
        block = HG_LOW_CMD.block(writer.buffer, "motor_cmd", "q", "kd")
        variant, crc = (HG_LOW_CMD.view(writer.buffer, name) for name in ("mode_machine", "crc"))
        seal, state_seal = HG_LOW_CMD.seal(writer.buffer), HG_LOW_STATE.seal(states.buffer)
        writer.buffer[HG_LOW_CMD.offsets("motor_cmd.mode")] = 1
        await_(writer.matched, 10, "the robot's reader")

        def stiffness_after(kp: float, variant_sent: int, crc_error: int) -> tuple[float, int, int]:
            block[:MOTORS, 3] = kp
            variant[0] = variant_sent
            seal.write()
            crc[0] ^= crc_error
            before = robot.obeyed + robot.dropped
            assert writer.write()
            await_(lambda: robot.tick() or robot.obeyed + robot.dropped > before, 10, "a command")
            return -float(simulated.model.actuator_biasprm[0, 1]), robot.obeyed, robot.dropped

        robot.obeyed = robot.dropped = 0
        assert stiffness_after(10, 5, 0) == (10, 1, 0)
        assert stiffness_after(20, 5, 1) == (10, 1, 1)
        assert stiffness_after(30, 4, 0) == (10, 1, 2)
        assert stiffness_after(40, 5, 0) == (40, 2, 2)
        for _ in range(500):
            robot.tick()
        assert -simulated.model.actuator_biasprm[0, 1] == 40, "the last command holds for ever"
        await_(lambda: robot.tick() or states.take(), 10, "a state")
        assert state_seal.matches()
    robot.close()
