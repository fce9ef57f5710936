"""How hard a damped robot falls, by how much it is damped: a table of impact speed and ground force in simulation.

    python -m tests.fall_impact [--scales 0,0.25,0.5,1,2,4] [--moments 6] [--json FILE]

Not a test of the suite: it takes a minute or two. Our own tracker stands or walks; at drawn moments, with and without a
push, everything is damped with the table's gains times a scale (at most the drives' `kd_max`; 0: no torque at all), and
the fall is watched for two seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from export.recorder import settings_for
from firmware_bridge.motor_bus import KD, SafeCommand
from firmware_bridge.simulated_robot import SimulatedRobot
from runtime.lockstep import Lockstep
from runtime.pilot import Phase
from runtime.policy import Policy
from runtime.robot import Robot

CLIPS = {"standing": ("sway", 0.0), "walking": ("walk", 1.0)}
"""What the robot does before it is damped, and how long it has been playing then, s."""
EVERY_S = 0.23
PUSHES_M_S = ((0.0, 0.0), (0.6, 0.0), (-0.6, 0.0), (0.0, 0.6))
"""Speed given to the base at the moment of damping, m/s: a fall forwards, backwards, aside, and the robot's own."""
FALL_S = 2.0
UPPER = ("pelvis", "torso_link")
FORCE_MS = 10
"""Ground force is averaged over so long: stiff contacts of a simulation have peaks no structure sees."""


def moments(clip: str, start_s: float, count: int) -> list[tuple[Any, Any]]:
    """(qpos, qvel) of the robot at `count` moments of a run, `EVERY_S` apart."""
    settings = settings_for("g1-tracker", clip=clip)
    run, found = Lockstep(settings, Policy(settings), SimulatedRobot()), []
    due_s = start_s
    with np.errstate(all="ignore"):
        while len(found) < count:
            run.operate()
            run.tick()
            if run.policy.pilot.phase is Phase.PLAY and run.policy.pilot.play_time_s >= due_s:
                found.append((run.robot.data.qpos.copy(), run.robot.data.qvel.copy()))
                due_s += EVERY_S
    return found


def fall(simulated: SimulatedRobot, start: tuple[Any, Any], push: tuple[float, float], kd: Any) -> dict[str, float]:
    """One fall: speeds m/s, force N, seconds until the pelvis or the torso is on the floor.

    Impact speed is that of the pelvis or the torso, downwards, just before either first touches the floor.
    """
    data, model = simulated.data, simulated.model
    data.qpos[:], data.qvel[:] = start
    data.qvel[:2] += push
    mujoco.mj_forward(model, data)
    command = SafeCommand(len(kd))
    command.block[:, KD], command.enabled = kd, True
    bodies = [model.body(name).id for name in UPPER]
    simulated.command(command)
    impact, peak, landed_s, forces = 0.0, 0.0, FALL_S, []
    for tick in range(round(FALL_S * 500)):
        simulated.step()
        rows, touching = floor_contacts(model, data)
        down = [falling_m_s(model, data, body) for body in bodies]
        if landed_s == FALL_S:
            impact = max(down)
            if touching & set(bodies):
                landed_s = tick / 500
        peak = max(peak, *down)
        forces.append(ground_force(model, data, rows))
    window = np.ones(FORCE_MS // 2) / (FORCE_MS // 2)
    return {"impact_m_s": impact if landed_s < FALL_S else 0.0, "peak_m_s": peak, "landed_s": landed_s,
            "force_n": float(np.convolve(forces, window, "valid").max()), "height_m": float(data.qpos[2])}


def falling_m_s(model: Any, data: Any, body: int) -> float:
    """Downward speed of a body's centre of mass, m/s."""
    velocity = np.zeros(6)
    mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_BODY, body, velocity, 0)
    return -float(velocity[5])


def floor_contacts(model: Any, data: Any) -> tuple[list[int], set[int]]:
    """The contacts of this instant with the world, and the bodies in them."""
    pairs = model.geom_bodyid[data.contact.geom[: data.ncon]].reshape(-1, 2)
    rows = np.flatnonzero((pairs == 0).any(axis=1)).tolist()
    return rows, set(pairs[rows].ravel().tolist())


def ground_force(model: Any, data: Any, rows: list[int]) -> float:
    """The vertical force of the floor on all of the robot, N."""
    total, wrench = 0.0, np.zeros(6)
    for i in rows:
        mujoco.mj_contactForce(model, data, i, wrench)
        total += abs(float(data.contact.frame[i].reshape(3, 3)[:, 2] @ wrench[:3]))
    return total


def measure(robot: Robot, scales: list[float], count: int) -> dict[str, dict[float, list[dict[str, float]]]]:
    """Falls by what the robot did before and by scale."""
    table, out = robot.column("damping_kd"), {}
    simulated = SimulatedRobot(gantry=False)
    for name, (clip, start_s) in CLIPS.items():
        starts = moments(clip, start_s, count)
        out[name] = {
            scale: [fall(simulated, start, push, np.minimum(scale * table, robot.kd_max))
                    for start in starts for push in PUSHES_M_S]
            for scale in scales
        }
    return out


def markdown(falls: dict[str, dict[float, list[dict[str, float]]]]) -> str:
    """Mean and worst of every figure."""
    lines = ["| before | `damping_kd` times | pelvis or torso meets the floor at, m/s | fastest on the way, m/s | "
             "ground force, N | after, s |", "|---|---|---|---|---|---|"]
    for name, scales in falls.items():
        for scale, rows in scales.items():
            cells = [f"{np.mean(values):.{digits}f} ({np.max(values):.{digits}f})" for values, digits in (
                ([row["impact_m_s"] for row in rows], 2), ([row["peak_m_s"] for row in rows], 2),
                ([row["force_n"] for row in rows], 0))]
            landed = [row["landed_s"] for row in rows if row["landed_s"] < FALL_S]
            after = f"{np.mean(landed):.2f}" if landed else "-"
            lines.append(f"| {name} | {scale:g} | {' | '.join(cells)} | {after}, {len(landed)} of {len(rows)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scales", default="0,0.25,0.5,1,2,4")
    parser.add_argument("--moments", type=int, default=6)
    parser.add_argument("--json")
    args = parser.parse_args()
    from runtime.robot import load_robot

    falls = measure(load_robot("g1_29dof"), [float(scale) for scale in args.scales.split(",")], args.moments)
    print(markdown(falls))
    if args.json:
        Path(args.json).write_text(json.dumps(falls, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
