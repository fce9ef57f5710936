"""What our own controller must show, measured in lock-step: a table of requirement, measured value and verdict.

    python -m tests.acceptance_own [--controller BUNDLE] [--motions DIR...] [--teacher-model FILE] [--json FILE]

Not a test of the suite: it takes some minutes. Exit code 1 when something falls short. Without --motions only the
shipped clips are played; shared walks lie in $EXOACTOR_SHARED_DATA, else in ../shared/data.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from export.recorder import settings_for
from firmware_bridge.motor_bus import Reading
from firmware_bridge.simulated_robot import Disturbance, Push, SimulatedRobot
from runtime.clip import clip_names
from runtime.controller import Controller
from runtime.gate import Gate
from runtime.lockstep import Lockstep
from runtime.manifest import OWN_CONTROLLER
from runtime.pilot import Phase
from runtime.policy import Policy
from runtime.rotation import gravity_in_base
from runtime.state import RobotState
from tests.acceptance import DATA, Table

JOINT_RAD = 0.085
PUSH_N_S, PHASES_S = 15.0, (7.0, 7.25, 7.5, 7.75)
FELL_BELOW_M, FELL_COS = 0.4, 0.5
STALE_TICKS, EVERY_S = 3, 0.5


class Trial(Lockstep):
    """A run that watches the robot.

    Args:
        stale_ticks: control periods out of every half second that see the state of the period before.
        lost_frames: states of the robot out of every half second that never arrive.

    Attributes:
        fell: the pelvis below 0.4 m or tilted beyond 60 degrees while tracking.
        errors: mean |q - reference| of every control period of the motion, rad.
    """

    def __init__(self, *args: Any, stale_ticks: int = 0, lost_frames: int = 0) -> None:
        super().__init__(*args)
        self.fell, self.errors = False, []
        self._stale_ticks, self._lost_frames = stale_ticks, lost_frames
        self._seen = RobotState(self.policy.manifest.robot.motors)
        self._periods = 0

    def tick(self) -> None:
        self.reading = Reading.NONE if self.ticks % int(EVERY_S * 500) < self._lost_frames else Reading.NEW
        super().tick()
        if Phase.SETTLE <= self.policy.pilot.phase < Phase.FINISHED and self.gate.machine.mode.name == "TRACK":
            upright = -gravity_in_base(self.robot.sample.quat_wxyz)[2]
            self.fell |= bool(self.robot.base_position[2] < FELL_BELOW_M or upright < FELL_COS)

    def policy_tick(self) -> None:
        period = self._periods % round(EVERY_S * self.policy.manifest.rate_hz)
        self._periods += 1
        gate: Gate = self.gate
        fresh = gate.state
        if period >= self._stale_ticks:
            self._seen.record[:] = fresh.record
        gate.state = self._seen
        super().policy_tick()
        gate.state = fresh
        controller = self.policy.controller
        if self.policy.pilot.phase is Phase.PLAY:
            self.errors.append(float(np.abs(controller.inputs.q - controller.window.now.joint_pos).mean()))


def trial(controller: str, clip: str, disturbance: Disturbance | None = None, **more: int) -> tuple[bool, float]:
    """(upright to the end, mean joint error) of one run."""
    settings = settings_for(controller, clip=clip)
    run = Trial(settings, Policy(settings), SimulatedRobot(disturbance=disturbance), **more)
    run.run()
    finished = run.policy.pilot.phase is Phase.FINISHED and run.gate.machine.mode.name == "DAMP"
    whole = len(run.errors) >= 0.98 * run.policy.pilot._play_ticks
    return finished and whole and not run.fell, float(np.mean(run.errors)) if run.errors else float("nan")


def p50_us(one: Controller, other: Controller, turns: int = 60, runs: int = 20) -> tuple[float, float]:
    """Median inference of two networks in turns, so that both meet the same machine."""
    times: tuple[list[int], list[int]] = [], []
    for _ in range(turns):
        for model, taken in zip((one.model, other.model), times, strict=True):
            for _ in range(runs):
                start = time.perf_counter_ns()
                model.run()
                taken.append(time.perf_counter_ns() - start)
    return float(np.median(times[0])) / 1e3, float(np.median(times[1])) / 1e3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--controller", default=OWN_CONTROLLER)
    parser.add_argument("--motions", nargs="*", default=[str(DATA / "motions")])
    parser.add_argument("--teacher", default="twist2")
    parser.add_argument("--teacher-model", default=str(DATA / "policies" / "twist2_1017_20k.onnx"))
    parser.add_argument("--json")
    args = parser.parse_args()
    table = Table()
    given = [str(path) for place in args.motions for path in sorted(Path(place).glob("*.npz"))]
    for title, clips in (("given walks", given), ("demo clips", clip_names())):
        runs = {Path(clip).stem: trial(args.controller, clip) for clip in clips}
        table.figures[title] = {name: {"upright": up, "joint_error_rad": error} for name, (up, error) in runs.items()}
        fallen = [name for name, (up, _) in runs.items() if not up]
        errors = [error for _, error in runs.values()]
        table.add(f"{title}: no fall", f"{len(runs) - len(fallen)} of {len(runs)} {' '.join(fallen)}", not fallen)
        listed = ", ".join(f"{error:.3f}" for error in errors)
        table.add(f"{title}: joint error <= {JOINT_RAD} rad", f"mean {np.mean(errors):.4f} ({listed})",
                  bool(runs) and float(np.mean(errors)) <= JOINT_RAD)
    hard = given or ["walk"]
    falls = sum(
        not trial(args.controller, hard[0],
                  Disturbance(pushes=(Push(start, 0.1, (PUSH_N_S / 0.1 * x, PUSH_N_S / 0.1 * y, 0.0)),)))[0]
        for start in PHASES_S for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1))
    )
    table.add("pushes of 15 N s, 4 directions x 4 phases: 0 falls", f"{falls} of 16", falls == 0)
    for title, disturbance, more in (
        ("20 ms latency: no fall", Disturbance(latency_s=0.02), {}),
        ("3 of every 25 control periods see an old state: no fall", None, {"stale_ticks": STALE_TICKS}),
        ("3 states lost every 0.5 s on the wire: no fall", None, {"lost_frames": 3}),
    ):
        runs = {Path(clip).stem: trial(args.controller, clip, disturbance, **more) for clip in hard}
        fallen = [name for name, (up, _) in runs.items() if not up]
        listed = ", ".join(f"{error:.3f}" for _, error in runs.values())
        table.add(title, f"{len(runs) - len(fallen)} of {len(runs)} upright, joint error {listed} rad", not fallen)
    if Path(args.teacher_model).is_file():
        own = Policy(settings_for(args.controller, clip=hard[0])).controller
        teacher = Policy(settings_for(args.teacher, model=args.teacher_model, clip=hard[0])).controller
        ours, theirs = p50_us(own, teacher)
        table.add("inference p50 at most half of the teacher's", f"{ours:.0f} us against {theirs:.0f} us",
                  ours <= theirs / 2)
    return table.finish(args.json)


if __name__ == "__main__":
    sys.exit(main())
