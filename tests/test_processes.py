"""The run as processes over DDS: what the robot hears when something dies, hangs, is stopped or does not fit.

Real processes, real signals, a real simulated robot; the command topic is judged by a witness (`tests.wire_observer`)
that is none of the runtime's processes. The deadlines asserted here are safety limits, the very subject.
Each harmed run damps while the next one starts, where SCHED_FIFO keeps them apart: that saves half a minute.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime.faults import Mode
from runtime.log_file import read_log
from runtime.pilot import Phase
from runtime.supervisor import _sweep
from tests.live_run import ROOT, LiveRun, await_, has_fifo, resident_mb
from tests.run_processes import (
    DAMPING_FRAMES,
    RIVAL,
    assert_nothing_is_left,
    helper,
    words,
)
from tests.wire_observer import WireObserver

pytest.importorskip("mujoco")
pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.realtime

FULL, ESTOP, HARMED = 20, 21, 30
"""DDS domains of this file; the last is the first of a row, one a scenario; its neighbours have 22 to 26, 50 to 59."""

HAS_FIFO = has_fifo()
DEADLINE_MS = 45.0 if HAS_FIFO else 150.0
"""Without SCHED_FIFO any other process of the machine may hold the gate up for as long as the kernel likes."""
STOP_MS = 10.0 if HAS_FIFO else 100.0
RESTART_MS = 1000.0 if HAS_FIFO else 3000.0

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
