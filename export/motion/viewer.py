"""The interactive viewer: a motion in the browser, by viser; its import waits until somebody asks for it."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.motion.robot_motion import RobotMotion
from firmware_bridge.posed import PosedPlant
from runtime.errors import Refused
from runtime.human_motion import HUMAN_PARENTS, HumanMotion

F64 = npt.NDArray[np.float64]


def load_viser() -> Any:
    """The library.

    Raises:
        Refused: it is not installed.
    """
    try:
        return importlib.import_module("viser")
    except ImportError as error:
        raise Refused("--viewer", expected="the viser package", found=f"cannot import it: {error}",
                      what_to_do="install the extra: pip install 'exoactor[show]'; or use --out DIR") from error


def view(motion: RobotMotion | HumanMotion, plant: Path | None, host: str, port: int) -> None:
    """Serves until interrupted."""
    server = load_viser().ViserServer(host=host, port=port)
    player = Player(server, motion, plant)
    print(f"viewer: http://{host}:{port} (Ctrl-C ends)", flush=True)
    try:
        player.play(time.monotonic, time.sleep)
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()


class Player:
    """A motion on a server: handles to move, and the controls that move them.

    Attributes:
        frame: the one shown.
        frames, playing, speed: the controls.
    """

    def __init__(self, server: Any, motion: RobotMotion | HumanMotion, plant: Path | None) -> None:
        self._fps = motion.fps
        server.scene.add_grid("/floor", width=20.0, height=20.0, cell_size=0.5)
        if isinstance(motion, HumanMotion):
            self._placed, _ = motion.in_world()
            self._lines = server.scene.add_line_segments("/human", self._bones(0), (42, 111, 219), line_width=4.0)
            self._show: Callable[[int], None] = self._show_human
        else:
            body = PosedPlant(plant or Path("plant"), motion.order.names, (), np.zeros(len(motion.order)))
            self._states = body.states(motion.root_pos, motion.root_quat_wxyz, motion.joint_pos)
            self._body = body
            self._parts = [_add(server, i, shape) for i, shape in enumerate(body.shapes())]
            self._show = self._show_robot
        self.frames = server.gui.add_slider("frame", min=0, max=motion.frames - 1, step=1, initial_value=0)
        self.playing = server.gui.add_checkbox("play", True)
        self.speed = server.gui.add_slider("speed", min=0.1, max=2.0, step=0.1, initial_value=1.0)
        self.last = motion.frames - 1
        self.frame = -1
        self.draw(0)

    def draw(self, frame: int) -> None:
        """Moves everything to a frame."""
        if frame != self.frame:
            self.frame = frame
            self._show(frame)

    def play(self, now: Callable[[], float], sleep: Callable[[float], None], ticks: int | None = None) -> None:
        """Follows the controls, at the motion's own pace while `play` is ticked; for ever, or for some ticks."""
        at, before = float(self.frames.value), now()
        while ticks is None or ticks > 0:
            ticks = None if ticks is None else ticks - 1
            sleep(1 / min(self._fps, 60.0))
            then, before = before, now()
            if self.playing.value:
                at = (at + (before - then) * self._fps * float(self.speed.value)) % (self.last + 1)
                self.frames.value = int(at)
            else:
                at = float(self.frames.value)
            self.draw(int(at))

    def _show_robot(self, frame: int) -> None:
        positions, quats = self._body.shape_poses(self._states[frame])
        for part, position, quat in zip(self._parts, positions, quats, strict=True):
            part.position, part.wxyz = position, quat

    def _bones(self, frame: int) -> F64:
        placed = self._placed[frame]
        return np.stack([placed[list(HUMAN_PARENTS[1:])], placed[1:]], axis=1)

    def _show_human(self, frame: int) -> None:
        self._lines.points = self._bones(frame)


def _add(server: Any, number: int, shape: tuple[str, F64, tuple[int, int, int]]) -> Any:
    kind, size, colour = shape
    name = f"/robot/{number}"
    if kind == "box":
        return server.scene.add_box(name, color=colour, dimensions=tuple(2 * size))
    if kind == "cylinder":
        return server.scene.add_cylinder(name, radius=float(size[0]), height=float(2 * size[1]), color=colour)
    return server.scene.add_icosphere(name, radius=1.0, color=colour, scale=tuple(size))
