"""The stage of videos, one an action: asked of a provider, or our mannequin acting the plan before our own camera."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.evaluation.reference import length_ratio
from export.imagine.acting import Performance, perform
from export.imagine.mannequin import CAMERA, Looks, Set, View, mannequin_mjcf, poses
from export.imagine.prompt import NEGATIVE, VideoPrompt
from export.imagine.props import scaled
from export.imagine.provider import Provider, Request
from export.imagine.stage import Work
from export.motion.actor import FPS, Actor
from export.motion.body_checks import plant_of
from export.motion.video import save_mp4, video_facts, video_frames
from firmware_bridge.picture import Image, render, render_poses, save_png, seen_bodies
from firmware_bridge.scene import Scene, furnished_mjcf
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, save_human_motion
from runtime.robot import Robot, load_robot

F64 = npt.NDArray[np.float64]
EMBEDDED = "embedded"
PICTURE = "picture.png"
TRUTH, SEEN = "truth", "seen.npy"
SIZE, RATE_HZ = (640, 480), 25.0
"""Of our own videos, large enough to tell the state of a hand (about 20 pixels); the actor's 50 frames a second, every
other one."""
SHORTEST, LONGEST = 0.5, 3.0
"""How long a video may be, of what was asked for."""
_MARGIN_M = 0.45


def video_name(i: int) -> str:
    """Of the i-th action, from 0."""
    return f"{i + 1:02d}.mp4"


def view_of(points: F64, seed: int) -> View:
    """A camera that sees all of the points (n, 3), m, from a side that the seed chooses."""
    random = np.random.default_rng(seed)
    low, high = points.min(axis=0), points.max(axis=0)
    middle = (low + high) / 2
    radius = float(np.linalg.norm((high - low)[:2])) / 2 + _MARGIN_M
    azimuth = random.choice([-1, 1]) * random.uniform(math.radians(35), math.radians(95))
    fovy = math.radians(45)
    tall = max(float(high[2]), 1.75) / 2 + 0.25
    wide = math.tan(fovy / 2) * SIZE[0] / SIZE[1]
    away = max(radius / wide + radius * 0.6, tall / math.tan(fovy / 2) + radius)
    target = (float(middle[0]), float(middle[1]), 0.9)
    position = (target[0] + away * math.cos(azimuth), target[1] + away * math.sin(azimuth), random.uniform(1.1, 1.7))
    return View(position, target, fovy, light_m=(random.uniform(-1, 1), random.uniform(-2, 2), 3.5))


def robot_picture(scene: Scene, robot: str, seed: int, path: Path) -> None:
    """The robot, standing in the scene, as the camera of the first video would see it."""
    table = load_robot(robot)
    (picture,) = robot_pictures(scene, table, view_of(_standing_points(scene), seed), np.array([[0.0, 0.0, 0.79]]),
                                np.array([[1.0, 0, 0, 0]]), np.zeros((1, len(table.order))))
    save_png(path, picture)


def robot_pictures(scene: Scene, robot: Robot, view: View, root_pos: F64, root_quat_wxyz: F64,
                   joint_pos: F64) -> list[Image]:
    """The robot in a scene whose things stand where they began, as a camera sees it; (T, 3), (T, 4), (T, n)."""
    from firmware_bridge.posed import PosedPlant

    plant = plant_of(robot, None)
    text = furnished_mjcf(plant, scene, CAMERA, view.position_m, view.axes, view.fovy_rad)
    body = PosedPlant(plant, robot.order.names, (), np.zeros(len(robot.order)))
    loose = [np.array([*thing.position_m, math.cos(thing.yaw_rad / 2), 0, 0, math.sin(thing.yaw_rad / 2)])
             for thing in scene.things if thing.mass_kg is not None]
    states = body.states(root_pos, root_quat_wxyz, joint_pos)
    return render_poses(text, [np.concatenate([state, *loose]) for state in states], SIZE, CAMERA)


def first_picture(scene: Scene, seed: int, path: Path) -> None:
    """A person where the robot stood, of the same size as it."""
    large = scaled(scene, 1 / length_ratio())
    actor = Actor()
    actor.hold(0.2)
    motion = actor.motion("standing")
    around = Set(view_of(_standing_points(scene) / length_ratio(), seed), large)
    save_png(path, render(mannequin_mjcf(motion.skeleton, around), poses(motion, around)[0], SIZE, CAMERA))


def _standing_points(scene: Scene) -> F64:
    return np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.3], *(thing.position_m for thing in scene.things)])


class FilmStage:
    """One video an action; each begins with the last picture of the one before."""

    name, needs, file = "film", ("scene", "decompose", "embody", "prompt"), video_name(0)

    def __init__(self, provider: Provider | None) -> None:
        self._provider = provider
        self.provider = EMBEDDED if provider is None else provider.name
        self.version = "mannequin 1" if provider is None else provider.model

    def settings(self) -> Any:
        """Who, and of what size."""
        return [self.provider, self.version, list(SIZE), RATE_HZ]

    def check(self, folder: Path) -> None:
        """Videos without a gap in their numbers, each of which can be decoded."""
        paths = videos_in(folder)
        for path in paths:
            video_facts(path)

    def work(self, work: Work) -> None:
        """Asks for them, or films our own."""
        from export.imagine.words import load_plan, load_prompts, scene_of

        prompts = load_prompts(work.run.of("prompt"))
        if self._provider is not None:
            self._ask(work, prompts)
            return
        scene = scene_of(work.run.of("scene"))
        if scene is None:
            raise Refused("film", expected="a described scene (--scene), which our mannequin can act in",
                          found="a picture only", what_to_do="name a provider for film, or describe the scene")
        film(perform(load_plan(work.run.of("decompose")), scaled(scene, 1 / length_ratio()), work.seed),
             scaled(scene, 1 / length_ratio()), work)

    def _ask(self, work: Work, prompts: Sequence[VideoPrompt]) -> None:
        assert self._provider is not None
        picture = (work.run.of("embody") / PICTURE).read_bytes()
        for i, prompt in enumerate(prompts):
            work.say(f"  video {i + 1} of {len(prompts)}, {prompt.seconds:g} s")
            data = self._provider.ask(Request(prompt.text, negative=NEGATIVE, image=picture, seconds=prompt.seconds,
                                              seed=work.seed), work.ledger)
            path = work.out / video_name(i)
            path.write_bytes(data)
            picture = last_picture(path, prompt.seconds)


def videos_in(folder: Path) -> list[Path]:
    """The videos of the stage's folder, in order; refuses none, or a gap."""
    paths = sorted(folder.glob("*.mp4"))
    if not paths or [path.name for path in paths] != [video_name(i) for i in range(len(paths))]:
        raise Refused(f"{folder}", expected=f"videos {video_name(0)}, {video_name(1)} and so on, one an action",
                      found=", ".join(path.name for path in paths) or "none", what_to_do="name them so")
    return paths


def last_picture(path: Path, seconds: float) -> bytes:
    """The last picture of a video that should last so long, as PNG; refuses one of another length."""
    facts = video_facts(path)
    if not SHORTEST * seconds <= facts.duration_s <= max(LONGEST * seconds, 10.5):
        raise Refused(f"video {path.name}", expected=f"about {seconds:g} s", found=f"{facts.duration_s:.2f} s",
                      what_to_do="ask for it anew with --from film, or change the provider")
    for frame in video_frames(path):
        last = frame
    with tempfile.TemporaryDirectory() as folder:
        save_png(Path(folder) / PICTURE, last)
        return (Path(folder) / PICTURE).read_bytes()


def film(performance: Performance, scene: Scene, work: Work) -> None:
    """Renders a performance to one video an action; what really happened goes to TRUTH, for the report only."""
    joints = performance.whole.in_world()[0].reshape(-1, 3)
    things = np.array([thing.position_m for thing in scene.things]).reshape(-1, 3)
    around = Set(view_of(np.concatenate([joints, things]), work.seed), scene, looks_of(work.seed),
                 held=performance.held)
    rows, step = poses(performance.whole, around), round(FPS / RATE_HZ)
    text = mannequin_mjcf(performance.whole.skeleton, around)
    (work.out / TRUTH).mkdir()
    for i, motion in enumerate(performance.motions):
        start = performance.starts[i]
        frames = render_poses(text, list(rows[start:start + motion.frames:step]), SIZE, CAMERA)
        save_mp4(work.out / video_name(i), frames, RATE_HZ)
        save_human_motion(work.out / TRUTH / f"{i + 1:02d}.npz", motion)
        seen = seen_bodies(text, rows[start:start + motion.frames:step], CAMERA, HUMAN_JOINTS)
        np.save(work.out / TRUTH / f"{i + 1:02d}.{SEEN}", seen)
        work.say(f"  video {i + 1} of {len(performance.motions)}: {len(frames)} frames")
    work.facts["fovy_rad"] = around.view.fovy_rad


def looks_of(seed: int) -> Looks:
    """Clothes, hair and skin by a seed."""
    random = np.random.default_rng(seed + 1)

    def colour(low: float, high: float) -> tuple[float, float, float]:
        r, g, b = random.uniform(low, high, 3)
        return float(r), float(g), float(b)

    tone = random.uniform(0.35, 1.0)
    skin = (0.92 * tone, 0.74 * tone**1.1, 0.62 * tone**1.2)
    return Looks(skin, colour(0.1, 0.9), colour(0.05, 0.6), colour(0.05, 0.4), colour(0.05, 0.35),
                 sleeves=float(random.choice([0.5, 1.0])))
