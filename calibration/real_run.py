"""A routine's motion in real time, by processes: the gate owns the wire, the routine stands in the policy's place."""

from __future__ import annotations

import json
import time

import numpy as np

from calibration.calibration_driver import CalibrationDriver
from calibration.conductor import RATE_HZ
from calibration.order import Order
from calibration.parts import RAW
from calibration.session import ROBOT, ROUTINE, Prepared, Ran, Say, truth_path
from firmware_bridge.wiring import read_wiring, wiring_path
from runtime.errors import Refused
from runtime.faults import FAULTS, Mode
from runtime.gate_bus import refuse_clipped_gains, refuse_misfit
from runtime.log_file import read_log
from runtime.preflight import refuse_red
from runtime.preflight_list import list_for_routine
from runtime.robot import NO_WIRE
from runtime.settings import RunSettings
from runtime.supervisor import Supervisor


def settings_of(prepared: Prepared, order: Order) -> RunSettings:
    """For every process of the run."""
    return RunSettings(
        controller="", robot=str((order.out / ROBOT).absolute()), model=None, clip=None, command=(0.0, 0.0, 0.0),
        duration_s=None, target=order.target, domain=order.domain, interface=order.interface, peers=order.peers,
        out=str(order.out.absolute()), rate_hz=RATE_HZ, real_time=order.real_time, wiring=order.wiring,
        estops=order.estops, operator_bind=order.operator_bind, operator_key=order.operator_key,
        terminal=order.terminal, deadman=order.deadman, log=RAW, routine=str((order.out / ROUTINE).absolute()),
    )


def run_real(prepared: Prepared, order: Order, say: Say) -> Ran:
    """Run it; whatever happens, the robot is damped before this returns.

    Raises:
        Refused: anything that does not fit, before the robot is armed.
    """
    routine, robot = prepared.routine, prepared.robot
    if robot.wire == NO_WIRE and order.wiring is None:
        raise Refused(f"robot {robot.name}", expected="--lockstep", found="a run over DDS",
                      what_to_do="its file knows no wire: it runs on simulated time only")
    if order.wiring is not None:
        wiring = refuse_misfit(read_wiring(wiring_path(order.wiring)), robot)
        kp, kd = robot.column("kp"), robot.column("kd")
        refuse_clipped_gains(wiring, robot, np.minimum(kp, robot.kp_max), np.minimum(kd, robot.kd_max))
    settings = settings_of(prepared, order)
    (order.out / ROUTINE).write_text(json.dumps({
        "routine": routine.name, "joints": prepared.joints, "offsets": prepared.offsets.tolist(),
        "parameters": dict(order.parameters),
        "finished": prepared.finished, "about": prepared.about}), encoding="utf-8")
    checks = list(list_for_routine(settings, robot))
    (order.out / "preflight.json").write_text(json.dumps([check.as_dict() for check in checks], indent=1), "utf-8")
    refuse_red(checks)
    warnings = [f"preflight, {check.check}: {check.measured} (limit: {check.limit}); {check.what_to_do}"
                for check in checks if not check.ok]
    driver = CalibrationDriver(settings, robot, hangs=routine.hangs, say=say)
    supervisor = Supervisor(settings, driver, _sim_words(prepared, order))
    supervisor.notes["warnings"] += warnings
    began = time.monotonic()
    supervisor.run()
    robot_s = time.monotonic() - began
    notes = {key: supervisor.notes[key] for key in ("warnings", "errors", "alarms", "gate_restarts")}
    stopped = driver.stopped or _why(order)
    if supervisor.notes["gate_restarts"] or (stopped and not driver.is_done):
        return Ran(False, stopped or "the gate died", robot_s, notes)
    return Ran(driver.is_done, "", robot_s, notes)


def _why(order: Order) -> str:
    """Of a routine that could not say itself why it ended: what the gate's log shows."""
    gate = read_log(order.out / RAW).topics.get("gate", np.zeros(0))
    damped = gate[gate["mode"] >= Mode.DAMP] if len(gate) else gate
    if not len(damped):
        return "it was never armed"
    cause = int(damped["cause"][0])
    return f"{FAULTS[cause].meaning} ({FAULTS[cause].flag})" if cause >= 0 else ""


def _sim_words(prepared: Prepared, order: Order) -> list[str]:
    """Options of the simulated robot, for target sim."""
    words = ["--domain", str(order.domain), "--plant", str(_plant(prepared.robot.name)), "--robot-file",
             str((order.out / ROBOT).absolute())]
    for name, value in (("--interface", order.interface), ("--truth", truth_path(order))):
        words += [name, value] if value is not None else []
    for peer in order.peers:
        words += ["--peer", peer]
    fixture = getattr(prepared.routine, "fixture", None)
    words += [] if fixture is None else ["--fixture", fixture.name]
    words += ["--hang"] if prepared.routine.hangs else []
    words += ["--fine-physics"] if getattr(prepared.routine, "needs_fine_physics", False) else []
    return words if order.real_time else [*words, "--no-realtime"]


def _plant(robot: str) -> str:
    from firmware_bridge.sim_options import PLANT

    return str(PLANT.with_name(f"{robot}.xml"))
