"""Pictures of a motion: a contact sheet, a moving picture, plots with limits, and a page that binds them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.motion.body_checks import plant_of
from export.motion.check import ranges
from export.motion.findings import Finding, accepted, table
from export.motion.gif import save_gif
from export.motion.plots import BLUE, ORANGE, RED, plot
from export.motion.robot_motion import RobotMotion
from export.motion.stick_figure import figures
from export.motion.video import load_av, save_mp4
from firmware_bridge.picture import Image, contact_sheet, render_poses, save_png
from firmware_bridge.posed import PosedPlant
from runtime.human_motion import HUMAN_JOINTS, HumanMotion
from runtime.robot import Robot
from runtime.rotation import heading_rad, rotation_vector_many

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
SHEET, GIF, MP4, PAGE = "sheet.png", "motion.gif", "motion.mp4", "index.html"
SHEET_FRAMES, SHEET_COLUMNS = 12, 4
MOST_GIF_FRAMES = 75
"""Off-screen rendering without a graphics card takes a fifth of a second and more each."""
STYLE = """body{font:15px/1.5 system-ui,sans-serif;color:#1c2733;max-width:1000px;margin:24px auto;padding:0 16px}
img,video{max-width:100%}svg{width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:#52606d}
pre{font-size:12px;overflow-x:auto}.refused{color:#c9302c}.accepted{color:#1d7f3f}"""


@dataclass(frozen=True)
class Size:
    """Of one picture, pixels, and how many frames a second the moving one has at most."""

    width: int = 320
    height: int = 240
    fps: float = 15.0


def sheet_rows(frames: int, most: int = SHEET_FRAMES) -> Index:
    """Frames of the contact sheet, evenly from the first to the last."""
    return np.unique(np.linspace(0, frames - 1, min(most, frames)).round().astype(np.intp))


def gif_rows(frames: int, fps: float, most_fps: float) -> tuple[Index, float]:
    """Frames of the moving picture and how many of them a second: real time, unless it takes too many."""
    step = max(fps / most_fps, frames / MOST_GIF_FRAMES, 1.0)
    return np.arange(0, frames, step).round().astype(np.intp).clip(0, frames - 1), fps / step


def robot_pictures(motion: RobotMotion, plant: Path, rows: Index, size: Size) -> list[Image]:
    """The plant in the motion's poses, as seen by its tracking camera."""
    body = PosedPlant(plant, motion.order.names, (), np.zeros(len(motion.order)))
    states = body.states(motion.root_pos[rows], motion.root_quat_wxyz[rows], motion.joint_pos[rows])
    return render_poses(plant, list(states), (size.width, size.height))


def show_motion(
    motion: RobotMotion | HumanMotion, robot: Robot, findings: Sequence[Finding], out: Path, *, plant: Path | None,
    size: Size,
) -> list[Path]:
    """Writes sheet, moving picture and page to a folder; returns what it wrote.

    Args:
        plant: of the robot; None: the shipped one.

    Raises:
        PictureError: nothing renders here.
    """
    out.mkdir(parents=True, exist_ok=True)
    still = sheet_rows(motion.frames)
    moving, fps = gif_rows(motion.frames, motion.fps, size.fps)
    rows = np.concatenate([still, moving])
    if isinstance(motion, HumanMotion):
        images = figures(motion, rows, (size.width, size.height))
        plots = human_plots(motion)
    else:
        images = robot_pictures(motion, plant_of(robot, plant), rows, size)
        plots = robot_plots(motion, robot)
    save_png(out / SHEET, contact_sheet(images[: len(still)], SHEET_COLUMNS))
    film = MP4 if load_av() is not None else GIF
    (save_mp4 if film == MP4 else save_gif)(out / film, images[len(still) :], fps)
    (out / PAGE).write_text(page(motion, findings, plots, still, film), "utf-8")
    return [out / SHEET, out / film, out / PAGE]


def robot_plots(motion: RobotMotion, robot: Robot) -> list[str]:
    """Root height, heading and speed, then every joint with its range, and the joints' speeds of their limits."""
    t = np.arange(motion.frames) / motion.fps
    heading = np.unwrap([heading_rad(q) for q in motion.root_quat_wxyz])
    speed = np.linalg.norm(np.gradient(motion.root_pos, 1 / motion.fps, axis=0), axis=1)
    out = [plot("root height, m", t, [("height", motion.root_pos[:, 2], BLUE)]),
           plot("root heading, rad", t, [("heading", heading, BLUE)]),
           plot("root speed, m/s", t, [("speed", speed, ORANGE)])]
    lower, upper = ranges(motion, robot)
    rows = [robot.joints[i] for i in robot.order.index_of(motion.order)]
    rates = np.abs(np.gradient(motion.joint_pos, 1 / motion.fps, axis=0)) / [joint.velocity_rad_s for joint in rows]
    out.append(plot("fastest joint, of its own speed limit", t, [("ratio", rates.max(axis=1), RED)], (0.0, 1.0)))
    for i, name in enumerate(motion.order.names):
        out.append(plot(f"{name}, rad", t, [(name, motion.joint_pos[:, i], BLUE)], (float(lower[i]), float(upper[i]))))
    return out


def human_plots(motion: HumanMotion) -> list[str]:
    """Pelvis height and how far each joint is turned in its parent."""
    t = np.arange(motion.frames) / motion.fps
    angles = np.linalg.norm(rotation_vector_many(motion.local_wxyz), axis=-1)
    out = [plot("pelvis height, m", t, [("height", motion.pelvis_m[:, 2], BLUE)])]
    return out + [plot(f"{name}, rad turned", t, [(name, angles[:, i], BLUE)])
                  for i, name in enumerate(HUMAN_JOINTS) if i]


def page(motion: RobotMotion | HumanMotion, findings: Sequence[Finding], plots: Sequence[str], still: Index,
         film: str) -> str:
    """The page, beside its pictures; `film` is the moving one's file."""
    moving = (f'<video src="{film}" controls loop autoplay muted></video>' if film == MP4 else
              f'<img src="{film}" alt="the motion">')
    verdict = "accepted" if accepted(findings) else "refused"
    times = ", ".join(f"{row / motion.fps:.2f}" for row in still)
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in motion.notes)
    return (f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(motion.name)}</title>"
            f"<style>{STYLE}</style><h1>{html.escape(motion.name)}</h1>"
            f"<p>{motion.frames} frames at {motion.fps:.4g} Hz, {motion.duration_s:.2f} s: "
            f"<b class={verdict}>{verdict}</b></p>{notes}"
            f'<p>{moving}</p><p><img src="{SHEET}" alt="contact sheet"></p>'
            f"<p>contact sheet at {times} s</p><pre>{html.escape(table(findings))}</pre>"
            + "".join(plots) + "</html>\n")
