"""A robot's motion as a file had it: not yet checked, so that what is wrong with it can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.clip import Clip, make_clip
from runtime.robot import JointOrder

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RobotMotion:
    """Arrays of a motion, in SI and a z-up world; values are whatever the file held.

    Attributes:
        name, fps: of the file.
        order: of the columns of `joint_pos`.
        joint_pos: (T, n) rad.
        root_pos: (T, 3) m.
        root_quat_wxyz: (T, 4).
        channels: as in a `Clip`.
        joint_vel, root_vel, root_ang_vel: what the file says the velocities are, if it does; the root's in world axes.
        joints: "all", or "wrists" where the joints but for those of the wrists are not the motion's.
        notes: what the reader had to assume.
    """

    name: str
    fps: float
    order: JointOrder
    joint_pos: F64
    root_pos: F64
    root_quat_wxyz: F64
    channels: dict[str, F64] = field(default_factory=dict)
    joint_vel: F64 | None = None
    root_vel: F64 | None = None
    root_ang_vel: F64 | None = None
    joints: str = "all"
    notes: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        """How many."""
        return len(self.joint_pos)

    @property
    def duration_s(self) -> float:
        """From the first frame to the last."""
        return (self.frames - 1) / self.fps

    def to_clip(self) -> Clip:
        """The same as a clip; whether it holds up is for `load_clip` or `motion check` to say."""
        return make_clip(self.name, self.fps, self.order, self.joint_pos, self.root_pos, self.root_quat_wxyz,
                         self.channels, joints=self.joints)


def of_clip(clip: Clip) -> RobotMotion:
    """A clip's arrays."""
    extra: dict[str, Any] = {"channels": dict(clip.channels), "joints": clip.joints}
    return RobotMotion(clip.name, clip.fps, clip.order, clip.joint_pos, clip.root_pos, clip.root_quat_wxyz, **extra)
