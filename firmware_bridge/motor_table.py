"""What a simulated robot takes from a robot's file: which joint hangs on which motor slot, torque limits, heights.

The runtime reads and checks the same file in full (`runtime/robot.py`); the bridge stands below it and takes these few.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_bridge.errors import BridgeError

PREFERRED_MODE = 5
"""The G1 most people have; a robot that may not be it takes its first."""


@dataclass(frozen=True)
class MotorTable:
    """Motors by slot.

    Attributes:
        robot: its name.
        joints: joint name of each motor slot, "" where a slot is not used.
        effort_n_m: torque limit of each slot, 0 where it is not used.
        mode_machine: the variant a simulated one says it is.
        stand_height_m: height of the base while it hangs, legs straight; None: found from the plant.
        substeps: physics steps in one control step of 2 ms.
        velocity_rad_s: speed limit of each slot, 0 where none is known.
        damping_kd: N m s/rad of each slot while the robot is damped, 0 where none is known.
        wire: message family of a robot of this kind on DDS.
    """

    robot: str
    joints: tuple[str, ...]
    effort_n_m: tuple[float, ...]
    mode_machine: int = 0
    stand_height_m: float | None = None
    substeps: int = 1
    velocity_rad_s: tuple[float, ...] = ()
    damping_kd: tuple[float, ...] = ()
    wire: str = "unitree_hg"


def read_motor_table(path: Path) -> MotorTable:
    """The motors of a robot's file.

    Raises:
        BridgeError: no such file, or another layout.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return _table(data)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise BridgeError(f"robot file {path.name}", expected="the layout of docs/robots.md",
                          found=f"{type(error).__name__}: {str(error)[:200]}", what_to_do="correct the file") from error


def _table(data: dict[str, Any]) -> MotorTable:
    columns = {name: place for place, name in enumerate(data["joint_columns"])}
    rows = data["joints"]
    slots = 1 + max(int(row[columns["motor"]]) for row in rows)
    names, efforts, speeds, damping = [""] * slots, [0.0] * slots, [0.0] * slots, [0.0] * slots
    for row in rows:
        slot = int(row[columns["motor"]])
        names[slot], efforts[slot] = str(row[columns["name"]]), float(row[columns["effort_n_m"]])
        if "velocity_rad_s" in columns:
            speeds[slot] = float(row[columns["velocity_rad_s"]])
        if "damping_kd" in columns:
            damping[slot] = float(row[columns["damping_kd"]])
    modes, simulation = data.get("mode_machine", []), data.get("simulation", {})
    height = simulation.get("stand_height_m")
    return MotorTable(
        robot=str(data["name"]),
        joints=tuple(names),
        effort_n_m=tuple(efforts),
        mode_machine=PREFERRED_MODE if PREFERRED_MODE in modes else int(modes[0]) if modes else 0,
        stand_height_m=None if height is None else float(height),
        substeps=int(simulation.get("substeps", 1)),
        velocity_rad_s=tuple(speeds),
        damping_kd=tuple(damping),
        wire=str(data.get("wire", "unitree_hg")),
    )
