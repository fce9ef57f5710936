"""`exoactor motion show`: what a motion looks like: contact sheet, moving picture, plots with limits, viewer."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.motion.body_checks import check_robot_motion, plant_of
from export.motion.check import check_data
from export.motion.check_command import controller_pose, retargeted
from export.motion.findings import accepted, table
from export.motion.human_checks import check_human_motion
from export.motion.show import Size, show_motion
from export.motion.source import read_any
from export.motion.video import load_av
from runtime.errors import Refused
from runtime.human_motion import HumanMotion
from runtime.robot import load_robot


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `exoactor motion show`."""
    parser.epilog = ("examples:\n  exoactor motion show walk --out pictures/\n"
                     "  exoactor motion show walk --viewer")
    parser.add_argument("file", help="a motion's file, or a shipped clip's name")
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="folder for sheet.png, motion.mp4 (or .gif) and index.html")
    parser.add_argument("--viewer", action="store_true", help="serve an interactive viewer to a browser (extra `show`)")
    parser.add_argument("--host", default="127.0.0.1", help="address the viewer serves on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8080, help="its port (default: 8080)")
    parser.add_argument("--size", default="320x240", metavar="WxH", help="of one picture (default: 320x240)")
    parser.add_argument("--fps", type=float, default=15.0, help="of the moving picture, at most (default: 15)")
    parser.add_argument("--robot", default="g1_29dof", help="whose motion (default: g1_29dof)")
    parser.add_argument("--plant", type=Path, metavar="FILE.xml", help="a plant of a robot that ships without one")
    parser.add_argument("--from", dest="source", metavar="FORMAT", help="the file's format, where it leaves a choice")
    parser.add_argument("--controller", default="twist2", help="whose standing pose the start is compared with")
    parser.add_argument("--retarget", action="store_true", help="show what retargeting makes of a human's motion")


def run(args: argparse.Namespace) -> int:
    """Write the pictures, or serve the viewer; a motion that check refuses is shown all the same."""
    if args.out is None and not args.viewer:
        raise Refused("motion show", expected="--out DIR or --viewer", found="neither", what_to_do="give one of them")
    robot = load_robot(args.robot)
    motion = read_any(args.file, robot, args.source)
    if args.retarget and isinstance(motion, HumanMotion):
        motion = retargeted(motion, robot)
    plant = None
    if isinstance(motion, HumanMotion):
        findings = check_human_motion(motion)
    else:
        needed = [f for f in check_data(motion, robot) if f.check in ("joints", "frames", "finite")]
        if not accepted(needed):
            raise Refused(f"motion {motion.name}", expected="numbers that can be drawn",
                          found="; ".join(f"{f.check} {f.value:g} in {f.where()} {f.detail}".strip()
                                          for f in needed if not accepted([f])),
                          what_to_do="see exoactor motion check")
        plant = plant_of(robot, args.plant)
        findings = check_robot_motion(motion, robot, pose=controller_pose(args.controller, robot), plant=plant)
    if args.out is not None:
        for path in show_motion(motion, robot, findings, args.out, plant=plant, size=_size(args.size, args.fps)):
            print(path)
        if load_av() is None:
            print("a GIF: for MP4 install the extra: pip install 'exoactor[show]'")
    if args.viewer:
        from export.motion.viewer import view

        view(motion, plant, args.host, args.port)
    print(table(findings).splitlines()[0] if args.viewer else "accepted" if accepted(findings) else "refused: see "
          "exoactor motion check")
    return 0


def _size(text: str, fps: float) -> Size:
    parts = text.split("x")
    if len(parts) != 2 or not all(part.isdigit() and 32 <= int(part) <= 4096 for part in parts) or not 1 <= fps <= 50:
        raise Refused("--size and --fps", expected="WxH of 32 to 4096 pixels, and 1 to 50 frames a second",
                      found=f"{text} and {fps:g}", what_to_do="for example --size 320x240 --fps 15")
    return Size(int(parts[0]), int(parts[1]), fps)
