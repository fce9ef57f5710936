"""Everything that has to end a routine, at random moments of every routine, on simulated time.

A trial takes one routine (the seed chooses), runs it once to learn how long it is, and once more: at drawn moments it
forks, and the copy lets the dead-man go, silences the bus, overheats a motor or pushes a joint. What is measured is the
time from the first sample that shows it to the first damping command. A joint is pushed where the robot holds one, and
a push that ends at a stop of the joint, before its drive bears what the routine takes for an obstacle, shows nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from calibration.command import ROUTINES
from calibration.envelope import enclosed
from calibration.lockstep import CalibrationRun
from calibration.routine import Routine
from firmware_bridge.ailments import Ailment, Ailments
from firmware_bridge.motor_bus import KD, KP
from firmware_bridge.motor_table import read_motor_table
from firmware_bridge.simulated_robot import SimulatedRobot
from firmware_bridge.truth import read_truth
from runtime.faults import Mode
from runtime.robot import Robot, read_robot
from tests.acceptance_calibration.figures import Asked, Check

KINDS = ("dead-man released", "bus lost", "motor too hot", "obstacle")
MOMENTS = 25
PERIOD_MS, WITHIN_MS = 2.0, 20.0
LONGEST_TICKS, ANSWER_TICKS = 150_000, 600
SAID_S, HOT_C = 0.0, 130
ASKED: dict[str, Asked] = {}
"""Every row of this part has to be so always."""


def start(name: str, seed: int, folder: Path) -> tuple[CalibrationRun, SimulatedRobot]:
    """A routine of at most two joints on a robot with noise, friction and offsets."""
    rng = np.random.default_rng(seed)
    routine: Routine = ROUTINES[name]()
    data = enclosed("g1_29dof", routine.envelope)
    (folder / "robot.json").write_bytes(data)
    robot = read_robot("robot.json", data)
    joints = [str(joint) for joint in rng.choice([row.name for row in robot.joints], 2, replace=False)]
    if name != "joint-zero":
        joints = [row.name for row in robot.joints]
    routine.prepare(robot, joints, np.zeros(robot.motors))
    truth = read_truth({"schema": "exoactor-truth/1", "seed": seed,
                        "noise": {"q_rad": 2e-4, "dq_rad_s": 0.02, "tau_n_m": 0.05}})
    simulated = SimulatedRobot(hangs=routine.hangs, truth=truth, table=read_motor_table(folder / "robot.json"),
                               fixture=getattr(routine, "fixture", None))
    return CalibrationRun(routine, robot, simulated), simulated


def moving_ticks(run: CalibrationRun) -> tuple[int, int]:
    """The first tick in which the routine moves, and how many of them there are."""
    first = 0
    with np.errstate(all="ignore"):
        while run.gate.machine.mode < Mode.DAMP and run.ticks < LONGEST_TICKS:
            run.tick()
            if not first and run.gate.machine.mode is Mode.TRACK:
                first = run.ticks
    return first, run.ticks - first - 2


def inject(
    kind: str, run: CalibrationRun, simulated: SimulatedRobot, rng: np.random.Generator
) -> Callable[[], bool] | None:
    """Begin it; what comes back says, after a tick, whether the newest sample shows it. None: everything is limp."""
    state, bench = run.gate.state, run.conductor.bench
    if kind == "dead-man released":
        run.conductor._is_held = lambda: False
        return lambda: True
    if kind == "bus lost":
        run.ailments = Ailments(simulated, [Ailment("silence", SAID_S, {})], int(rng.integers(1 << 30)))
        return lambda: True
    if kind == "motor too hot":
        motor = int(rng.integers(simulated.motors))
        run.ailments = Ailments(simulated, [Ailment("heat", SAID_S, {"motor": motor, "c": HOT_C})], 1)
        return lambda: True
    free = [row.motor for row in run.robot.joints
            if np.isfinite(bench.torque_ratio[row.motor]) and bench.target[row.motor, KP] > 0]
    if not free:
        return None
    motor = int(rng.choice(free))
    effort, sign = float(run.robot.column("effort_n_m")[motor]), float(rng.choice([-1, 1]))
    place = list(simulated._slot).index(motor)
    simulated.data.qfrc_applied[simulated._dof[place]] = 1.5 * sign * effort
    limit = float(bench.torque_ratio[motor]) * effort
    return lambda: abs(float(state.tau[motor])) > limit


def answer(kind: str, run: CalibrationRun, simulated: SimulatedRobot, seed: int) -> dict[str, object]:
    """Inject and watch: ms from the first sample that shows it to the first damping command; None for never."""
    shows, since, shown = inject(kind, run, simulated, np.random.default_rng(seed)), 0, False
    if shows is None:
        return {"shows": False}
    for _ in range(ANSWER_TICKS):
        run.tick()
        if run.gate.machine.mode >= Mode.DAMP:
            block = run.command.block if run.command is not None else np.zeros((1, 5))
            damps = bool((block[:, KP] == 0).all() and (block[:, KD] > 0).any())
            return {"shows": True, "ms": since * PERIOD_MS, "damps": damps, "why": run.conductor.stopped}
        shown = shown or shows()
        since += shown
    return {"shows": shown, "ms": None, "damps": False, "why": f"{ANSWER_TICKS} ticks without damping"}


def in_a_copy(work: Callable[[], dict[str, object]]) -> dict[str, object]:
    """What a forked copy of this process finds."""
    near, far = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.write(far, json.dumps(work()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(far)
    with os.fdopen(near, "rb") as said:
        text = said.read()
    os.waitpid(pid, 0)
    died: dict[str, object] = {"shows": True, "ms": None, "damps": False, "why": "the copy died"}
    found: dict[str, object] = json.loads(text) if text else died
    return found


def outside(run: CalibrationRun, robot: Robot) -> str:
    """In what the newest command leaves the envelope; empty when in nothing."""
    if run.command is None or run.gate.machine.mode is not Mode.TRACK:
        return ""
    block, q = run.command.block, run.gate.state.q
    pull = np.abs(block[:, KP] * (block[:, 0] - q)) - 1.02 * robot.column("effort_n_m") - 0.1
    if pull.max() > 0:
        return f"a spring {pull.max():.2f} N m beyond"
    return "gains" if (block[:, KP] > robot.kp_max).any() or (block[:, KD] > robot.kd_max).any() else ""


def trial(seed: int, folder: Path) -> Iterator[Check]:
    """One routine, every kind, many moments."""
    name = list(ROUTINES)[seed % len(ROUTINES)]
    first, ticks = moving_ticks(start(name, seed, folder)[0])
    rng = np.random.default_rng(seed + 1)
    moments = sorted((int(at), kind) for kind in KINDS for at in first + rng.integers(1, max(ticks, 2), MOMENTS))
    run, simulated = start(name, seed, folder)
    took: dict[str, list[float]] = {}
    said: dict[str, object] = {}
    with np.errstate(all="ignore"):
        for number, (at, kind) in enumerate(moments):
            while run.ticks < at and run.gate.machine.mode < Mode.DAMP:
                run.tick()
                wide = outside(run, run.robot)
                if wide:
                    yield Check("never outside its envelope", False, f"{name}, tick {run.ticks}: {wide}")
            found = in_a_copy(lambda kind=kind, number=number: answer(kind, run, simulated, 1000 * seed + number))
            if not found["shows"]:
                continue
            said[kind] = found["why"]
            took.setdefault(kind, []).append(float(str(found["ms"])) if found["ms"] is not None else np.inf)
            is_met = bool(found["damps"]) and took[kind][-1] <= WITHIN_MS
            yield Check(f"{name}: {kind}, damping within {WITHIN_MS:g} ms", is_met,
                        f"tick {at}: {found['ms']} ms, {found['why']}")
    for kind, values in took.items():
        print(f"{name}: {kind}: median {np.median(values):g} ms, most {max(values):g} ms of {len(values)}; such as: "
              f"{said[kind]}", file=sys.stderr, flush=True)
    yield Check("never outside its envelope", True)
