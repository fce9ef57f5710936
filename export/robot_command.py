"""`exoactor export robot`: a robot's file from its MJCF plant, for somebody to look over and complete."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from export.draft import number, safe_name
from firmware_bridge.plant import describe_plant
from runtime.errors import Refused
from runtime.robot import NO_WIRE, SCHEMA, Joint, read_robot

ASSUMED_SPEED_RAD_S = 20.0
GAIN_LIMITS = {"kp": 500, "kd": 50}
DAMPING_PER_EFFORT, LEAST_DAMPING, MOST_DAMPING = 0.05, 0.5, 5.0
"""N m s/rad a N m: what the G1's own table has, 5 for its 88 N m hips and 2 for its 50 N m ankles."""
STIFFNESS_PER_EFFORT = 1.0
"""N m/rad a N m: full torque one radian off."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the job."""
    parser.epilog = "example: exoactor export robot --plant my_robot.xml --out my_robot.json"
    parser.add_argument("--plant", required=True, metavar="FILE.xml", help="MJCF with a floating base")
    parser.add_argument("--anchor", metavar="BODY", help="body that trackers compare (default: torso_link, if there)")
    parser.add_argument("--name", help="the robot's name (default: the file's)")
    parser.add_argument("--out", required=True, metavar="R.json", help="where to write it")


def run(args: argparse.Namespace) -> int:
    """Write the file; 0. It is read back."""
    plant, out = Path(args.plant), Path(args.out)
    found = describe_plant(plant, args.anchor)
    unlimited = [row[0] for row in found["joints"] if row[3] is None]
    if unlimited:
        raise Refused("plant", expected="a torque limit for every joint", found=f"none for {', '.join(unlimited)}",
                      what_to_do="add actuatorfrcrange or forcerange to the plant, from the drives' data sheet")
    text = robot_text(args.name or safe_name(plant.stem), plant.name, found)
    robot = read_robot(out.name, text.encode("utf-8"))
    out.write_text(text, encoding="utf-8")
    print(f"{out}: {robot.name}, {len(robot.joints)} joints, simulation only until it has a `wire`")
    print(f"check: velocity_rad_s is {ASSUMED_SPEED_RAD_S:g} for every joint, an MJCF has none")
    print("check: kp, kd and damping_kd are rough figures from the torque limits; a run uses the controller's gains, "
          "damping uses damping_kd")
    return 0


def robot_text(name: str, plant: str, found: dict[str, Any]) -> str:
    """The file, a row a joint."""
    rows = []
    for motor, (joint, lower, upper, effort, armature) in enumerate(found["joints"]):
        kp = number(round(max(1.0, effort * STIFFNESS_PER_EFFORT), 1))
        kd = number(round(min(max(effort * DAMPING_PER_EFFORT, LEAST_DAMPING), MOST_DAMPING), 2))
        rows.append([joint, motor, number(round(lower, 6)), number(round(upper, 6)), number(effort),
                     number(ASSUMED_SPEED_RAD_S), kp, kd, kd, number(armature)])
    head: dict[str, Any] = {
        "schema": SCHEMA, "name": name, "description": f"from {plant}: look over velocity, gains and damping",
        "source": f"{plant} by `exoactor export robot`", "wire": NO_WIRE, "gain_limits": GAIN_LIMITS, "limits": {},
        "bodies": found["bodies"], "simulation": {},
        "joint_columns": list(Joint.__dataclass_fields__),
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    table = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    return "\n".join(["{", *lines, ' "joints": [', table, " ]", "}", ""])
