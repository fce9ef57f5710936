"""The parts of a run as processes, without a run: what a child says and hears, what a robot obeys."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from firmware_bridge.dds import DdsSettings, Participant
from firmware_bridge.errors import BridgeError
from firmware_bridge.layout import HG_LOW_CMD, HG_LOW_STATE
from runtime import child_life, gate_process, policy_process, target_process
from runtime.child import Child
from runtime.errors import Refused
from runtime.faults import flag_names
from runtime.policy import Policy
from runtime.realtime import PARENT
from runtime.records import status_dtype, target_dtype
from runtime.settings import RunSettings
from runtime.slots import Slot
from tests.live_run import MOTORS, await_
from tests.run_processes import simulated_robot
from tests.shared_data import shared_data

pytest.importorskip("mujoco")
pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.realtime

WIRE_LEVEL, RIVAL_ROBOT = 22, 23
"""DDS domains of this file."""


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


@pytest.mark.parametrize(("parent", "code"), [("this", 0), ("none", 0), ("another", -signal.SIGTERM)])
def test_a_child_of_process_1_lives_and_one_whose_parent_has_gone_ends(parent: str, code: int) -> None:
    told = {"this": {PARENT: str(os.getpid())}, "none": {}, "another": {PARENT: "1"}}[parent]
    words = "import signal; from runtime.realtime import die_with_parent; die_with_parent(signal.SIGTERM)"
    environment = {name: value for name, value in os.environ.items() if name != PARENT}
    ended = subprocess.run([sys.executable, "-c", words], check=False, env={**environment, **told})
    assert ended.returncode == code


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
