"""A routine's motion on simulated time, in this process: the gate's own code, a simulated robot, nobody beside it."""

from __future__ import annotations

import sys

from calibration.calibration_driver import bar
from calibration.lockstep import CalibrationRun
from calibration.order import Order
from calibration.parts import RAW
from calibration.session import ROBOT, Prepared, Ran, Say
from firmware_bridge.motor_table import read_motor_table
from firmware_bridge.simulated_robot import PLANTS, SimulatedRobot
from firmware_bridge.truth import Truth, load_truth

SHOWN_TICKS = 250


def run_simulated(prepared: Prepared, order: Order, say: Say) -> Ran:
    """Run it, passing on what the routine says and asks."""
    routine = prepared.routine
    simulated = SimulatedRobot(PLANTS / f"{prepared.robot.name}.xml", table=read_motor_table(order.out / ROBOT),
                               hangs=routine.hangs, truth=load_truth(order.truth) if order.truth else Truth(),
                               fixture=getattr(routine, "fixture", None),
                               is_fine=getattr(routine, "needs_fine_physics", False))
    run = CalibrationRun(routine, prepared.robot, simulated, order.out / RAW, prepared.about,
                         finished=prepared.finished)
    bench, said = run.conductor.bench, 0
    is_terminal = sys.stderr.isatty()

    def look() -> None:
        nonlocal said
        while said < len(bench.said):
            say(bench.said[said])
            said += 1
        if is_terminal and run.ticks % SHOWN_TICKS == 0:
            print(f"\r{bar(bench.progress)}", end="", file=sys.stderr)

    run.run(look=look)
    if is_terminal:
        print(file=sys.stderr)
    return Ran(run.conductor.is_done, run.conductor.stopped, run.ticks / 500, {})
