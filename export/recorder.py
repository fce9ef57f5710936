"""Runs in lock-step for offline work: recorded as a clip, or measured by the report a user would get."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from firmware_bridge.sim_options import PLANT
from firmware_bridge.simulated_robot import Disturbance, SimulatedRobot
from runtime.clip import Clip, make_clip
from runtime.lockstep import Lockstep, run_lockstep
from runtime.pilot import Phase
from runtime.policy import Policy
from runtime.report import make_report
from runtime.settings import RunSettings

NEVER = (float("inf"), 0)


def settings_for(
    controller: str, *, model: str | None = None, clip: str | None = None,
    command: tuple[float, float, float] = (0.0, 0.0, 0.0), duration_s: float | None = None, out: str = "",
) -> RunSettings:
    """A lock-step run of our own simulated robot."""
    from runtime.manifest_reader import load_manifest

    manifest = load_manifest(controller)
    return RunSettings(
        controller=controller, robot=manifest.robot_file, model=model, clip=clip, command=command,
        duration_s=duration_s, target="sim", domain=1, interface=None, peers=(), out=out, rate_hz=manifest.rate_hz,
    )


def record_walk(settings: RunSettings, name: str, *, every: int = 10, plant: Path | str = PLANT) -> Clip:
    """What the simulated robot does while a velocity controller plays its command, as a clip.

    Args:
        settings: of a velocity controller.
        name: of the clip.
        every: gate ticks (2 ms) between two frames.
    """
    policy, robot = Policy(settings), SimulatedRobot(plant)
    lockstep = Lockstep(settings, policy, robot)
    order = policy.manifest.robot.order
    index = policy.manifest.robot.motor_index(order)
    rows = []
    with np.errstate(all="ignore"):
        while not lockstep.is_over:
            lockstep.operate()
            lockstep.tick()
            if policy.pilot.phase in (Phase.BLEND_IN, Phase.PLAY, Phase.BLEND_OUT) and lockstep.ticks % every == 0:
                rows.append(np.concatenate([robot.base_position, robot.sample.quat_wxyz, robot.sample.q[index]]))
    track = np.array(rows)
    track[:, :2] -= track[0, :2]
    return make_clip(name, 500 / every, order, track[:, 7:], track[:, :3], track[:, 3:7])


def measure(settings: RunSettings, disturbance: Disturbance | None = None, plant: Path | str = PLANT) -> dict[str, Any]:
    """The report of one lock-step run."""
    policy = Policy(settings)
    with tempfile.TemporaryDirectory() as folder:
        factor = run_lockstep(settings, policy, SimulatedRobot(plant, disturbance=disturbance), Path(folder), NEVER)
        return make_report(Path(folder), policy.manifest, real_time_factor=factor,
                           notes={"warnings": [], "errors": [], "gate_restarts": 0})
