"""One motion from what it is to what a controller follows."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.motion.content import ReadOptions
from export.motion.formats import read_motion
from export.motion.resample import robot_at
from export.motion.robot_motion import RobotMotion
from export.motion.smpl_channels import human_clip, smpl_channels
from export.motion.sonic_writer import write_sonic_folder
from runtime.clip import Clip, load_clip, make_clip, save_clip
from runtime.errors import Refused
from runtime.human_motion import HumanMotion, save_human_motion
from runtime.robot import load_robot

TARGETS = ("npz", "sonic", "human")


@dataclass(frozen=True)
class Wish:
    """What a conversion is to make.

    Attributes:
        robot: name or file.
        source: the format, where the content leaves a choice.
        target: "npz", "sonic", or "human": the human's motion as such.
        retarget: give a human's motion a robot's joints.
        rate: frames a second of the result; None keeps a robot's own and takes 50 for a human's.
        force: write over what is there.
        fps, track, up, smpl_models, hands: see `ReadOptions`.
    """

    robot: str = "g1_29dof"
    source: str | None = None
    target: str = "npz"
    retarget: bool = False
    rate: float | None = None
    force: bool = False
    fps: float | None = None
    track: str | None = None
    up: str | None = None
    smpl_models: str | None = None
    hands: str | None = None


def convert(source: Path, out: Path, wish: Wish) -> dict[str, Any]:
    """Convert a file or folder, written whole or not at all; what came of it, for JSON.

    Raises:
        Refused: it cannot be read, or does not fit what is asked; `out` is there already.
    """
    if out.exists() and not wish.force:
        raise Refused("output", expected="a new path", found=f"{out} is there already",
                      what_to_do="choose another, or say --force")
    robot = load_robot(wish.robot)
    options = ReadOptions(
        robot=robot, fps=wish.fps, track=wish.track, up=wish.up,
        smpl_models=None if wish.smpl_models is None else Path(wish.smpl_models),
        hands=None if wish.hands is None else Path(wish.hands))
    motion = read_motion(source, wish.source, options)
    fact: dict[str, Any] = {"source": str(source), "out": str(out), "frames": motion.frames, "fps": motion.fps,
                            "duration_s": round(motion.duration_s, 3), "notes": list(motion.notes)}
    if wish.target == "human":
        if not isinstance(motion, HumanMotion):
            raise Refused(f"motion {source.name}", expected="a human's motion", found="a robot's",
                          what_to_do="leave --to human out")
        _whole(out, lambda path: save_human_motion(path, motion), ".npz")
        return fact
    clip = _clip(motion, wish, fact)

    def write(path: Path) -> None:
        if wish.target == "sonic":
            path.mkdir()
            write_sonic_folder(path, clip, robot)
        else:
            save_clip(path, clip)
            load_clip(path, robot)  # what a run would refuse is refused here

    _whole(out, write, "" if wish.target == "sonic" else ".npz")
    return fact | {"frames": len(clip.joint_pos), "fps": clip.fps, "joints": clip.joints,
                   "channels": sorted(clip.channels)}


def _clip(motion: HumanMotion | RobotMotion, wish: Wish, fact: dict[str, Any]) -> Clip:
    if isinstance(motion, RobotMotion):
        if wish.retarget:
            fact["notes"].append("a robot's motion already: nothing to retarget")
        return (motion if wish.rate is None else robot_at(motion, wish.rate)).to_clip()
    robot, rate = load_robot(wish.robot), wish.rate or 50.0
    if not wish.retarget:
        return human_clip(motion, robot, rate)
    from export.motion.retarget import retarget
    from runtime.resample import human_at

    clip, report = retarget(motion, robot, fps=rate)
    fact["retarget"] = {
        "cost": report.cost, "skate_mm_s": report.skate_mm_s, "human_skate_mm_s": report.human_skate_mm_s,
        "jerk_rad_s3": report.jerk_rad_s3, "fastest_rad_s": report.fastest_rad_s, "limit_hits": report.limit_hits,
        "first_error_m": report.first_error_m,
    }
    channels = smpl_channels(human_at(motion, rate))
    frames = len(clip.joint_pos)
    return make_clip(clip.name, clip.fps, clip.order, clip.joint_pos, clip.root_pos, clip.root_quat_wxyz,
                     {**{name: values[:frames] for name, values in channels.items()}, **clip.channels})


def _whole(out: Path, write: Callable[[Path], None], suffix: str) -> None:
    """Write beside, then put into place."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".exoactor-") as folder:
        beside = Path(folder) / f"motion{suffix}"
        write(beside)
        if out.is_dir() and not out.is_symlink():
            shutil.rmtree(out)
        os.replace(beside, out)
