"""`exoactor motion check`: whether a motion can be followed, said check by check before anything moves."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from export.motion.body_checks import check_robot_motion, feet_of, ground_m, plant_of, standing_pose
from export.motion.check import check_data
from export.motion.findings import SCHEMA, Finding, accepted, table
from export.motion.human_checks import check_human_motion
from export.motion.repair import repair_motion
from export.motion.robot_motion import RobotMotion, of_clip
from export.motion.source import read_any
from firmware_bridge.posed import PosedPlant
from runtime.clip import FORMAT, find_clip, save_clip
from runtime.errors import Refused
from runtime.human_motion import HumanMotion
from runtime.manifest_reader import load_manifest
from runtime.npz_file import read_npz
from runtime.robot import Robot, load_robot

REFUSED_CODE = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor motion check`."""
    parser.epilog = ("examples:\n  exoactor motion check walk.npz --json\n"
                     "  exoactor motion check walk.npz --repair repaired.npz\n\n"
                     "exit code 0: accepted; 2: refused")
    parser.add_argument("file", help="a motion's file, or a shipped clip's name")
    parser.add_argument("--json", action="store_true", help="the report as JSON, for programs")
    parser.add_argument("--repair", metavar="OUT", help="write a repaired motion there, tell what was changed, "
                        "and check the result")
    parser.add_argument("--robot", default="g1_29dof", help="whose joints and limits (default: g1_29dof)")
    parser.add_argument("--from", dest="source", metavar="FORMAT", help="the file's format, where it leaves a choice")
    parser.add_argument("--controller", default="twist2", help="whose standing pose the start is compared with")
    parser.add_argument("--plant", type=Path, metavar="FILE.xml", help="a plant of a robot that ships without one")
    parser.add_argument("--retarget", action="store_true", help="check what retargeting makes of a human's motion")


def run(args: argparse.Namespace) -> int:
    """Check, and repair where asked; returns the exit code."""
    robot = load_robot(args.robot)
    motion = read_any(args.file, robot, args.source)
    if args.retarget and isinstance(motion, HumanMotion):
        motion = retargeted(motion, robot)
    pose = controller_pose(args.controller, robot)
    changes: list[str] = []
    if isinstance(motion, HumanMotion):
        findings = check_human_motion(motion)
        notes = [*motion.notes, "a human's motion: joints, floor and collisions of the robot need --retarget"]
        if args.repair:
            raise Refused("--repair", expected="a robot's motion", found="a human's",
                          what_to_do="retarget it first: exoactor motion convert --retarget")
    else:
        notes = list(motion.notes)
        findings = check_robot_motion(motion, robot, pose=pose, plant=args.plant)
        if args.repair:
            motion, changes = repaired(motion, robot, findings, pose, args.plant)
            findings = check_robot_motion(motion, robot, pose=pose, plant=args.plant)
            if accepted(findings):
                write(motion, Path(args.repair), None if changes else find_clip(args.file))
    if args.json:
        print(json.dumps(report(args.file, motion, findings, notes, changes if args.repair else None), indent=1))
    else:
        _print(args, motion, findings, notes, changes)
    return 0 if accepted(findings) else REFUSED_CODE


def controller_pose(name: str, robot: Robot) -> dict[str, float] | None:
    """The standing pose of a controller, joint name -> rad; None where it is another robot's."""
    manifest = load_manifest(name)
    if manifest.robot.name != robot.name:
        return None
    return {joint: float(value) for joint, value in zip(manifest.order.names, manifest.default_pose, strict=True)}


def retargeted(motion: HumanMotion, robot: Robot) -> RobotMotion:
    """What the retargeter makes of a human's motion.

    Raises:
        Refused: there is none in this installation.
    """
    import importlib
    import importlib.util

    if importlib.util.find_spec("export.motion.retarget") is None:
        raise Refused("--retarget", expected="a retargeter", found="none in this installation",
                      what_to_do="update exoactor, or check a motion that was retargeted already")
    clip, _ = importlib.import_module("export.motion.retarget").retarget(motion, robot)
    return of_clip(clip)


def repaired(
    motion: RobotMotion, robot: Robot, findings: list[Finding], pose: dict[str, float] | None, plant: Path | None,
) -> tuple[RobotMotion, list[str]]:
    """The motion with its data repaired, then set on the floor; a line a change."""
    motion, changes = repair_motion(motion, robot, findings)
    if any(not accepted([f]) for f in check_data(motion, robot)):
        return motion, changes
    again = check_robot_motion(motion, robot, pose=pose, plant=plant)
    if any(f.check == "ground" and f.verdict != "ok" for f in again):
        body = PosedPlant(plant_of(robot, plant), motion.order.names, feet_of(robot),
                          standing_pose(motion, robot, pose))
        states = body.states(motion.root_pos, motion.root_quat_wxyz, motion.joint_pos)
        motion, more = repair_motion(motion, robot, again, ground_m(body.follow(states)))
        changes += more
    return motion, changes


def write(motion: RobotMotion, out: Path, unchanged: Path | None) -> None:
    """Our npz; bit for bit the file it came from where that is one and nothing was changed."""
    if unchanged is not None and unchanged.suffix == ".npz" and \
            str(read_npz(unchanged, f"motion {unchanged.name}").get("format", "")) == FORMAT:
        if unchanged.resolve() != out.resolve():
            shutil.copyfile(unchanged, out)
        return
    save_clip(out, motion.to_clip())


def report(
    file: str, motion: RobotMotion | HumanMotion, findings: list[Finding], notes: list[str], changes: list[str] | None,
) -> dict[str, Any]:
    """The report as programs read it; no key is ever absent."""
    def finite(row: dict[str, Any]) -> dict[str, Any]:
        return {key: None if isinstance(value, float) and not np.isfinite(value) else value
                for key, value in row.items()}

    return {
        "schema": SCHEMA, "file": file, "kind": "human" if isinstance(motion, HumanMotion) else "robot",
        "name": motion.name, "fps": motion.fps, "frames": motion.frames, "duration_s": motion.duration_s,
        "accepted": accepted(findings), "findings": [finite(finding.as_json()) for finding in findings],
        "notes": notes, "repairs": changes,
    }


def _print(
    args: argparse.Namespace, motion: RobotMotion | HumanMotion, findings: list[Finding], notes: list[str],
    changes: list[str],
) -> None:
    print(f"{motion.name}: {motion.frames} frames at {motion.fps:.4g} Hz, {motion.duration_s:.2f} s")
    print(table(findings))
    for note in notes:
        print(f"note: {note}")
    if args.repair:
        print("\n".join(f"repaired: {change}" for change in changes) or "repaired: nothing to do")
        print(f"written: {args.repair}" if accepted(findings) else "not written: what is left is refused")
    refused = [finding for finding in findings if not accepted([finding])]
    for finding in refused:
        unit = f" {finding.as_json()['unit']}".rstrip()
        detail = f", {finding.detail}" if finding.detail else ""
        print(f"refused: {finding.check} {finding.value:.4g}{unit} in {finding.where()}{detail}, limit "
              f"{finding.limit:g}{unit}")
    print("refused" if refused else "accepted")
