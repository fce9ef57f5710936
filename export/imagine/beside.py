"""A contact sheet of an imagined run: frames of its videos, and below each what the robot did at that time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.evaluation.reference import length_ratio
from export.imagine.film import robot_pictures, video_name, view_of
from export.imagine.mannequin import View
from export.imagine.run_folder import MANIFEST, RunFolder
from export.imagine.words import scene_of
from export.motion.show import sheet_rows
from export.motion.video import video_fps, video_frames
from firmware_bridge.picture import Image, contact_sheet, save_png
from firmware_bridge.scene import Scene
from runtime.chain import chain_clip
from runtime.errors import Refused
from runtime.log_file import read_log
from runtime.manifest_reader import load_manifest
from runtime.pilot import Phase
from runtime.robot import load_robot
from runtime.stitch import Seam

F64 = npt.NDArray[np.float64]
CHAIN, SHEET, LOG = "chain.json", "sheet.png", "log.mcap"
FRAMES = 6


@dataclass(frozen=True)
class Moment:
    """A time of the chain, and where it is in the videos: `action` from 0, `video_s` from that video's beginning."""

    time_s: float
    action: int
    video_s: float


@dataclass(frozen=True)
class Track:
    """What the robot did while the motion played: times (T,) of the motion, root (T, 3) and (T, 4), joints (T, n)."""

    times_s: F64
    root_pos: F64
    root_quat_wxyz: F64
    joint_pos: F64


def moments(duration_s: float, seams: list[Seam], count: int = FRAMES) -> list[Moment]:
    """Times evenly over a chain of so many seconds, in the videos that its clips were seen in.

    A seam leaves out the end of one clip and the beginning of the next; from it on the next one's time counts.
    """
    starts = [0.0, *(seam.time_s for seam in seams)]
    skipped = [0.0, *(seam.cut_s[1] for seam in seams)]
    out = []
    for row in sheet_rows(round(duration_s * 50) + 1, count):
        action = int(np.searchsorted(starts, row / 50, side="right")) - 1
        out.append(Moment(row / 50, action, row / 50 - starts[action] + skipped[action]))
    return out


def robot_track(folder: Path) -> Track:
    """The robot's motion from the folder of a simulated run.

    Raises:
        Refused: no log there, or one without the simulator's truth or without a motion that played.
    """
    path = folder / LOG
    log = read_log(path) if path.is_file() else None
    if log is None or not {"policy", "truth"} <= set(log.topics):
        raise Refused(f"{folder}", expected="the folder of a simulated run (exoactor run --lockstep --out)",
                      found="no log with the simulator's truth", what_to_do="give the run's --out folder")
    policy, truth = log.topics["policy"], log.topics["truth"]
    policy = policy[policy["phase"] == Phase.PLAY]
    if not len(policy) or not len(truth):
        raise Refused(f"{path}", expected="a motion that played", found="none", what_to_do="see its report.html")
    at = np.clip(np.searchsorted(truth["now_ns"], policy["now_ns"]), 0, len(truth) - 1)
    manifest = load_manifest(str(log.about["controller"]))
    joints = np.zeros((len(policy), len(manifest.robot.order)))
    joints[:, manifest.robot.order.index_of(manifest.order)] = policy["q"]
    quats = truth["quat_wxyz"][at].astype(np.float64)
    return Track(policy["play_time_s"].astype(np.float64), truth["position"][at].astype(np.float64), quats, joints)


def save_sheet(run: Path, robot_run: Path, robot_name: str) -> Path:
    """Writes RUN/sheet.png: videos above, robot below; things of the scene stand where they began.

    Args:
        robot_run: where `exoactor run --chain RUN/chain.json --lockstep` wrote.

    Raises:
        Refused: a run without a chain, or no simulated run of it.
    """
    if not (run / MANIFEST).is_file() or not (run / CHAIN).is_file():
        raise Refused("--beside", expected="a run that has come to its chain", found=f"none at {run}",
                      what_to_do=f"exoactor imagine --out {run}")
    folder, robot, track = RunFolder(run), load_robot(robot_name), robot_track(robot_run)
    clip, seams = chain_clip(run / CHAIN, robot)
    times = moments(clip.duration_s, seams)
    rows = [int(np.argmin(np.abs(track.times_s - moment.time_s))) for moment in times]
    scene = scene_of(folder.of("scene")) or Scene()
    points = np.concatenate([track.root_pos, track.root_pos * np.array([1, 1, 0]),
                             np.array([thing.position_m for thing in scene.things]).reshape(-1, 3)])
    view = _smaller(view_of(points / length_ratio(), int(folder.request.get("seed", 0))), length_ratio())
    below = robot_pictures(scene, robot, view, track.root_pos[rows], track.root_quat_wxyz[rows], track.joint_pos[rows])
    above = [_as_large(_frame(folder.of("film") / video_name(moment.action), moment.video_s), below[0])
             for moment in times]
    save_png(run / SHEET, contact_sheet([*above, *below], len(times)))
    return run / SHEET


def _smaller(view: View, ratio: float) -> View:
    """A view of people as one of a robot that is smaller by a ratio."""
    x, y, z = view.position_m
    at_x, at_y, at_z = view.target_m
    return replace(view, position_m=(x * ratio, y * ratio, z * ratio),
                   target_m=(at_x * ratio, at_y * ratio, at_z * ratio))


def _frame(path: Path, time_s: float) -> Image:
    """The frame of a video that is seen at a time, its last one after its end."""
    wanted = max(round(time_s * video_fps(path)), 0)
    for number, image in enumerate(video_frames(path)):
        found = image
        if number == wanted:
            break
    return found


def _as_large(image: Image, other: Image) -> Image:
    """A picture at another's size, its nearest pixels."""
    y = np.linspace(0, image.shape[0] - 1, other.shape[0]).round().astype(np.intp)
    x = np.linspace(0, image.shape[1] - 1, other.shape[1]).round().astype(np.intp)
    return np.asarray(image[y][:, x], np.uint8)
