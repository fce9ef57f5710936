"""Targets that no policy should make, into an armed gate, by the ten million: what leaves must be within every limit.
And random lives of the fault machine, by the million.

    python -m tests.gate_fuzz [--ticks 10000000] [--sequences 1000000] [--jobs 2] [--seed 0]

Prints ticks, commands that were not finite, out of a limit or changed too fast, gates that were damped for it, and the
machine's sequences, steps and the modes they came through. Exit code 1 when a command was bad or a step was wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from firmware_bridge.motor_bus import KP, MotorSample, Q, Reading
from runtime.faults import FLAGS, Machine, Mode, Request, step
from runtime.gate import Gate
from runtime.robot import Robot, load_robot
from tests.fuzz.invariants import check_step

PERIOD_NS = 2_000_000
EXPECTED_CAUSES = {"TARGET_NON_FINITE", "TARGET_FAR"}


class Wire:
    """An armed gate between a healthy robot and whatever targets it is sent; looks at each command.

    Attributes:
        bad: commands that were not finite, beyond a limit, or faster than the rate limit.
        restarts: how often the gate had damped and a new run was begun.
    """

    def __init__(self, robot: Robot) -> None:
        self.robot, self.bad, self.restarts = robot, 0, 0
        lower, upper = robot.column("lower_rad"), robot.column("upper_rad")
        effort, velocity = robot.column("effort_n_m"), robot.column("velocity_rad_s")
        zero = np.zeros_like(lower)
        self._low = np.stack([lower, -velocity, -effort, zero, zero], axis=1)
        self._high = np.stack([upper, velocity, effort, robot.kp_max * robot.used, robot.kd_max * robot.used], axis=1)
        self._rate = velocity * robot.limits.target_rate_ratio * PERIOD_NS * 1e-9 + 1e-5
        self._pose = ((lower + upper) / 2).astype(np.float32)
        self._begin()

    def _begin(self) -> None:
        robot = self.robot
        self._gate = Gate(robot, PERIOD_NS * 1e-9)
        self._sample = MotorSample.zeros(robot.motors)
        self._sample.mode_machine[0] = robot.mode_machine[0]
        self._sample.q[:] = self._pose
        self._now, self._count = 10**9, 0
        calm = np.zeros((robot.motors, 5), np.float32)
        calm[:, Q] = self._pose
        calm[:, KP] = 50 * robot.used
        for request in (Request.NONE, Request.ARM, Request.TRACK, Request.NONE):
            command = self._tick(calm, request)
        assert command is not None
        assert self._gate.machine.mode is Mode.TRACK
        self._last = command[:, Q].copy()

    def _tick(self, target: np.ndarray, request: Request = Request.NONE) -> np.ndarray | None:
        self._now += PERIOD_NS
        self._count += 1
        self._sample.tick[0] = self._count
        self._sample.accel[0] = self._sample.tau[:] = 1e-3 * (self._count % 7)
        command = self._gate.tick(
            Reading.NEW, self._sample, target, self._count, self._now, request, 0, self._now
        )
        return None if command is None else command.block

    def send(self, target: np.ndarray) -> None:
        """One target, (motors, 5), for a tick."""
        with np.errstate(all="ignore"):
            block = self._tick(target)
        if block is None:
            raise AssertionError("an armed gate wrote nothing")
        # One comparison, false for NaN: finite and within position, velocity, torque and gain limits.
        is_good = bool(((self._low <= block) & (block <= self._high)).all())
        if self._gate.machine.mode is Mode.DAMP:
            is_good &= not block[:, :KP].any()
            cause = FLAGS[self._gate.machine.cause].flag
            if cause not in EXPECTED_CAUSES:
                raise AssertionError(f"damped by {cause}")
            self.restarts += 1
            self._begin()
        else:
            is_good &= bool((np.abs(block[:, Q] - self._last) <= self._rate).all())
            self._last[:] = block[:, Q]
        self.bad += not is_good
        if not is_good:
            raise AssertionError(f"a command beyond a limit for target {target.tolist()}")


ODD = np.array([np.nan, np.inf, -np.inf, 1e38, -1e38, 3.4e38, 1e-45, -1e-40, 0, -0.0, 1e6, -5], np.float32)


def odd_targets(rng: np.random.Generator, robot: Robot, count: int) -> Iterator[np.ndarray]:
    """Walks, jumps, and numbers no policy should make."""
    target = np.zeros((robot.motors, 5), np.float32)
    for _ in range(count):
        kind = rng.random()
        if kind < 0.5:
            target[:, Q] += rng.normal(0, 0.2, robot.motors)
        elif kind < 0.7:
            target[:] = rng.normal(0, 10.0 ** rng.integers(-3, 6), target.shape)
        elif kind < 0.8:
            target[:] = rng.choice([-1, 1]) * np.float32(3e38)
        elif kind < 0.97:
            target[:] = np.nan_to_num(target, nan=0, posinf=3, neginf=-3)
            target[:, KP:] = rng.uniform(0, 600, (robot.motors, 2))
        if rng.random() < 0.3:
            target[rng.integers(robot.motors), rng.integers(5)] = rng.choice(ODD)
        yield target
        target[~np.isfinite(target)] = 0


def fuzz(robot_name: str, ticks: int, seed: int) -> tuple[int, int, int]:
    """Ticks done, bad commands, restarts."""
    robot = load_robot(robot_name)
    wire = Wire(robot)
    for target in odd_targets(np.random.default_rng(seed), robot, ticks):
        wire.send(target)
    return ticks, wire.bad, wire.restarts


def fuzz_machine(sequences: int, seed: int) -> tuple[int, list[str]]:
    """Steps done, modes reached. Each sequence begins disarmed and is at most 24 steps long."""
    rng = np.random.default_rng(seed)
    steps, reached = 0, set()
    requests = list(Request)
    for _ in range(sequences):
        machine, length = Machine(), int(rng.integers(1, 25))
        asked = rng.choice(6, length, p=[0.6, 0.2, 0.14, 0.03, 0.02, 0.01]).tolist()
        ill = (rng.random(length) < 0.15).tolist()
        places = rng.integers(0, len(FLAGS), (length, 2)).tolist()
        asked[0] = int(Request.ARM)
        for i in range(length):
            flags = 1 << places[i][0] | 1 << places[i][1] if ill[i] else 0
            after = step(machine, flags, requests[asked[i]], i)
            check_step(machine, flags, requests[asked[i]], after)
            reached.add(after.mode.name)
            machine = after
        steps += length
    return steps, sorted(reached)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ticks", type=float, default=1e7)
    parser.add_argument("--sequences", type=float, default=1e6)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    parts = 8 * args.jobs
    robots = ["g1_29dof" if part % 4 else "g1_23dof" for part in range(parts)]
    with ProcessPoolExecutor(args.jobs) as pool:
        each = pool.map(fuzz, robots, [round(args.ticks / parts)] * parts, range(args.seed, args.seed + parts))
        ticks, bad, restarts = (sum(column) for column in zip(*each, strict=True))
        lives = list(pool.map(fuzz_machine, [round(args.sequences / parts)] * parts, range(parts)))
    machine = {"sequences": parts * round(args.sequences / parts), "steps": sum(steps for steps, _ in lives),
               "modes": sorted({mode for _, modes in lives for mode in modes})}
    print(json.dumps({"ticks": ticks, "bad": bad, "restarts": restarts, "machine": machine}))
    return 0 if bad == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
