"""A run as processes whose robot, rivals, operator or bundle do not fit: refused, and nothing is ever announced."""

import contextlib
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime.faults import Mode
from runtime.log_file import read_log
from runtime.pilot import Phase
from tests.live_run import LiveRun, await_
from tests.run_processes import (
    DAMPING_FRAMES,
    REAL,
    RIVAL,
    assert_nothing_is_left,
    helper,
    on_a_fit_computer,
    simulated_robot,
    words,
)
from tests.wire_observer import WireObserver

pytest.importorskip("mujoco")
pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.realtime

DRY, UNCHECKED, OPERATED, REFUSED = 24, 25, 26, 50
"""DDS domains of this file; the last is the first of a row, one a scenario."""

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
