"""A recorded motion, read from npz, checked, and sampled at any time.

Two layouts are told apart by their keys:

- ours: `format` = "exoactor-clip/1", `fps`, `joint_names` (n), `joint_pos` (N, n) rad, `root_pos` (N, 3) m,
  `root_quat_wxyz` (N, 4), and `channel_<name>` (N, width) for each channel it carries; root in a z-up world. `joints`
  = "wrists" where it is a human's motion, of which a robot's joints hold no more than the wrists.
- the npz form of TWIST/GMR motions: `fps`, `joint_names`, `dof_pos` (N, n), `root_pos`, `root_quat_xyzw` (or
  `root_rot`, also x, y, z, w); further keys are ignored.

Sampling follows amazon-far/TWIST2 `pose/utils/motion_lib_pkl.py` @ d5c7108: positions linear, rotation slerp,
velocities central differences taken from the frame before; after the end the last frame at rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.channels import HUGE, PREFIX, read_channels
from runtime.errors import Refused
from runtime.npz_file import read_npz
from runtime.robot import JointOrder, Robot

F64 = npt.NDArray[np.float64]

CLIPS = Path(__file__).with_name("clips")
OWN_CLIP = "walk"
"""What it plays when neither controller nor clip is named."""
FORMAT = "exoactor-clip/1"
ALL_JOINTS, WRISTS = "all", "wrists"
MAX_ROOT_SPEED_M_S = 6.0
"""Above a sprinting robot, far below the 40 m/s and more of published clips that teleport in their first frames."""
MAX_JOINT_SPEED_RATIO = 1.5
"""Of the joint's own velocity limit: good published clips reach 24 rad/s in a first frame pair."""
RANGE_TOLERANCE_RAD = 0.05
"""Retargeted clips overshoot ranges by rounding; more than this is another robot or another order."""


@dataclass(frozen=True)
class Clip:
    """A checked motion in its own joint order.

    Attributes:
        joint_pos, joint_vel: (N, n) float64, rad, rad/s.
        root_pos, root_vel: (N, 3) in world, m, m/s.
        root_quat_wxyz: (N, 4), base in world.
        root_ang_vel: (N, 3) in world, rad/s.
        channels: name -> (N, width), what it carries beyond joints (`channels.py`).
        joints: ALL, or WRISTS where the other joints are none of the motion: a human's, for controllers that follow
            humans.
    """

    name: str
    fps: float
    order: JointOrder
    joint_pos: F64
    joint_vel: F64
    root_pos: F64
    root_vel: F64
    root_quat_wxyz: F64
    root_ang_vel: F64
    channels: dict[str, F64] = field(default_factory=dict)
    joints: str = ALL_JOINTS

    @property
    def duration_s(self) -> float:
        """From the first frame to the last."""
        return (len(self.joint_pos) - 1) / self.fps


def make_clip(
    name: str, fps: float, order: JointOrder, joint_pos: F64, root_pos: F64, root_quat_wxyz: F64,
    channels: dict[str, F64] | None = None, *, joints: str = ALL_JOINTS,
) -> Clip:
    """A clip with velocities by central differences (one-sided at the ends)."""
    q = root_quat_wxyz / np.linalg.norm(root_quat_wxyz, axis=1, keepdims=True)
    turn = np.empty_like(root_pos)
    between = rotation.rotation_vector_many(
        rotation.multiply_many(q[2:], rotation.conjugate_many(q[:-2]))
    )
    ends = rotation.rotation_vector_many(
        rotation.multiply_many(q[[1, -1]], rotation.conjugate_many(q[[0, -2]]))
    )
    turn[1:-1] = between * (fps / 2)
    turn[0], turn[-1] = ends[0] * fps, ends[1] * fps
    return Clip(
        name=name,
        fps=fps,
        order=order,
        joint_pos=joint_pos,
        joint_vel=np.gradient(joint_pos, 1 / fps, axis=0),
        root_pos=root_pos,
        root_vel=np.gradient(root_pos, 1 / fps, axis=0),
        root_quat_wxyz=q,
        root_ang_vel=turn,
        channels=channels or {},
        joints=joints,
    )


def clip_names() -> list[str]:
    """The clips that ship with the runtime."""
    return sorted(path.stem for path in CLIPS.glob("*.npz"))


def find_clip(name_or_path: str) -> Path:
    """A file, or a shipped clip by its name."""
    shipped = CLIPS / f"{name_or_path}.npz"
    return shipped if not is_file(Path(name_or_path)) and is_file(shipped) else Path(name_or_path)


def is_file(path: Path) -> bool:
    """Whether there is one; also of a text too long for any file system."""
    try:
        return path.is_file()
    except OSError:
        return False


def load_clip(path: Path | str, robot: Robot) -> Clip:
    """Read and check a clip for a robot; a shipped one by its name.

    Raises:
        Refused: unreadable, pickled or truncated file, unknown layout, wrong shapes, non-finite values, quaternions
            that are not unit, joints the robot does not have or that leave their range, a root that teleports,
            channels nobody knows.
    """
    path = find_clip(str(path))
    if not is_file(path):
        raise Refused("clip", expected=f"an .npz file, or one of {', '.join(clip_names())}",
                      found=f"no file {str(path)[:200]}",
                      what_to_do="check the path")
    return clip_of(path.name, read_npz(path, f"clip {path.name}"), robot)


def save_clip(path: Path | str, clip: Clip) -> None:
    """Write our own layout."""
    more: dict[str, Any] = {PREFIX + name: values for name, values in clip.channels.items()}
    if clip.joints != ALL_JOINTS:
        more["joints"] = np.array(clip.joints)
    np.savez_compressed(
        path,
        format=np.array(FORMAT),
        fps=np.array(clip.fps),
        joint_names=np.array(clip.order.names),
        joint_pos=clip.joint_pos,
        root_pos=clip.root_pos,
        root_quat_wxyz=clip.root_quat_wxyz,
        **more,
    )


def clip_of(name: str, arrays: dict[str, npt.NDArray[Any]], robot: Robot) -> Clip:
    """The checked clip of an npz's arrays; refuses as `load_clip`."""
    what = f"clip {name}"
    fps, names, joint_pos, root_pos, quat = _pick(what, arrays)
    _check_shapes(what, names, joint_pos, root_pos, quat, robot)
    if not (math.isfinite(fps) and 1 <= fps <= 1000):
        raise Refused(what, expected="fps between 1 and 1000", found=f"{fps}", what_to_do="correct `fps`")
    for label, values in (("joint positions", joint_pos), ("root position", root_pos), ("root rotation", quat)):
        finite = (np.abs(values) < HUGE).all(axis=1)
        if not finite.all():
            frame = int(np.argmin(finite))
            raise Refused(what, expected=f"finite {label}",
                          found=f"NaN, infinity or more than {HUGE:g} in frame {frame} ({frame / fps:.2f} s)",
                          what_to_do="repair or cut the motion")
    norm = np.abs(np.linalg.norm(quat, axis=1) - 1)
    if norm.max() > 1e-2:
        frame = int(np.argmax(norm))
        raise Refused(what, expected="unit quaternions within 0.01",
                      found=f"norm {np.linalg.norm(quat[frame]):.3f} in frame {frame} ({frame / fps:.2f} s)",
                      what_to_do="normalise the rotation, and check that the key holds quaternions")
    check_convention(what, root_pos, quat)
    _check_range(what, names, fps, joint_pos, robot)
    channels = read_channels(what, arrays if "format" in arrays else {}, len(joint_pos), fps)
    joints = str(arrays["joints"]) if "format" in arrays and "joints" in arrays else ALL_JOINTS
    if joints not in (ALL_JOINTS, WRISTS):
        raise Refused(what, expected=f"`joints` {ALL_JOINTS} or {WRISTS}", found=joints,
                      what_to_do="convert the motion again")
    clip = make_clip(name, fps, JointOrder(names), joint_pos, root_pos, quat, channels, joints=joints)
    _check_speed(what, clip, robot)
    return clip


def _pick(what: str, arrays: dict[str, npt.NDArray[Any]]) -> tuple[float, tuple[str, ...], F64, F64, F64]:
    own = "format" in arrays
    quat_key = "root_quat_wxyz" if own else next(
        (key for key in ("root_quat_xyzw", "root_rot") if key in arrays), "root_quat_xyzw"
    )
    joint_key = "joint_pos" if own else "dof_pos"
    if own and str(arrays["format"]) != FORMAT:
        raise Refused(what, expected=f"format {FORMAT}", found=str(arrays["format"]),
                      what_to_do="convert it with the version that wrote it")
    wanted = ["fps", "joint_names", joint_key, "root_pos", quat_key]
    missing = [key for key in wanted if key not in arrays]
    if missing:
        raise Refused(what, expected=f"keys {', '.join(wanted)}",
                      found=f"{', '.join(sorted(arrays)) or 'nothing'} (missing {', '.join(missing)})",
                      what_to_do="see docs/clips.md for the two layouts")
    for key in wanted:
        array, kinds = arrays[key], "U" if key == "joint_names" else "fiu"
        if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds:
            found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise Refused(what, expected=f"`{key}` of {'texts' if kinds == 'U' else 'real numbers'}", found=f"{found}",
                          what_to_do="see docs/clips.md for the two layouts")
    if arrays["fps"].size != 1 or arrays["joint_names"].ndim != 1:
        raise Refused(what, expected="one `fps` and a row of `joint_names`",
                      found=f"shapes {arrays['fps'].shape} and {arrays['joint_names'].shape}",
                      what_to_do="see docs/clips.md for the two layouts")
    with np.errstate(over="ignore"):  # of longer floats: infinity is refused further on
        fps, joint_pos, root_pos, quat = (
            arrays[key].astype(np.float64) for key in ("fps", joint_key, "root_pos", quat_key)
        )
    return (
        float(fps.reshape(-1)[0]),
        tuple(str(joint) for joint in arrays["joint_names"]),
        joint_pos,
        root_pos,
        quat if own or quat.ndim == 0 or quat.shape[-1] != 4 else quat[..., [3, 0, 1, 2]],
    )


def _check_shapes(
    what: str, names: tuple[str, ...], joint_pos: F64, root_pos: F64, quat: F64, robot: Robot
) -> None:
    frames = len(joint_pos) if joint_pos.ndim == 2 else 0
    shapes = f"joints {joint_pos.shape}, root position {root_pos.shape}, root rotation {quat.shape}"
    if frames < 3 or root_pos.shape != (frames, 3) or quat.shape != (frames, 4):
        raise Refused(what, expected="joints (N, n), root position (N, 3), rotation (N, 4) with N >= 3",
                      found=shapes, what_to_do="export the motion again")
    if joint_pos.shape[1] != len(names):
        raise Refused(what, expected=f"one column for each of its {len(names)} joint names",
                      found=f"{joint_pos.shape[1]} columns", what_to_do="export the motion again")
    if len(names) != len(robot.joints):
        raise Refused(what, expected=f"{len(robot.joints)} joints of {robot.name}", found=f"{len(names)} joints",
                      what_to_do=f"retarget the motion to {robot.name}, or choose its robot")
    robot.order.index_of(JointOrder(names))


def check_convention(what: str, root_pos: F64, quat: F64) -> None:
    """Refuses rotations that only make sense in another order of their four numbers.

    An upright robot's quaternion has small x and y. Read in the wrong order it stands on its head, lies down as it
    turns, or, w last read as first, faces the other way and walks backwards, where the other order has it upright and
    walking forwards. (w first read as last, a robot that faces backwards cannot be told from one that does not.)
    """
    w, x, y, z = quat.T
    upright = 1 - 2 * (x * x + y * y)
    last_first = 1 - 2 * (w * w + x * x)  # were they x, y, z, w: what stands at w, x is x, y
    first_last = 1 - 2 * (y * y + z * z)  # were they z, w, x, y: what stands at y, z is x, y

    def forwards(w: F64, x: F64, y: F64, z: F64) -> float:
        facing = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z)], axis=1)[:-1]
        return float((np.diff(root_pos[:, :2], axis=0) * facing).sum())

    stands_on_its_head = float(np.median(upright)) < -0.5
    lies_down = float(upright.min()) < 0.5 and max(float(last_first.min()), float(first_last.min())) > 0.75
    walks_backwards = float(last_first.min()) > 0.75 and forwards(w, x, y, z) < -0.3 < 0.3 < forwards(z, w, x, y)
    if stands_on_its_head or lies_down or walks_backwards:
        found = "a robot on its head" if stands_on_its_head else "a walk that makes sense in another order only"
        raise Refused(what, expected="root rotations in the order its key names", found=found,
                      what_to_do="exchange the quaternions' order (w first or w last) where the file was written")


def _check_range(what: str, names: tuple[str, ...], fps: float, joint_pos: F64, robot: Robot) -> None:
    rows = [robot.joints[i] for i in robot.order.index_of(JointOrder(names))]
    lower = np.array([joint.lower_rad for joint in rows])
    upper = np.array([joint.upper_rad for joint in rows])
    beyond = np.maximum(lower - joint_pos, joint_pos - upper)
    if beyond.max() > RANGE_TOLERANCE_RAD:
        frame, column = divmod(int(np.argmax(beyond)), beyond.shape[1])
        joint = rows[column]
        raise Refused(what, expected=f"{joint.name} within [{joint.lower_rad:.3f}, {joint.upper_rad:.3f}] rad",
                      found=f"{joint_pos[frame, column]:.3f} rad in frame {frame} ({frame / fps:.2f} s)",
                      what_to_do="check the joint order of the file, or retarget the motion within the limits")


def _check_speed(what: str, clip: Clip, robot: Robot) -> None:
    step = np.linalg.norm(np.diff(clip.root_pos, axis=0), axis=1) * clip.fps
    if step.max() > MAX_ROOT_SPEED_M_S:
        frame = int(np.argmax(step))
        raise Refused(what, expected=f"root speed up to {MAX_ROOT_SPEED_M_S} m/s",
                      found=f"{step[frame]:.1f} m/s between frames {frame} and {frame + 1} ({frame / clip.fps:.2f} s)",
                      what_to_do="the root teleports: cut those frames")
    rows = [robot.joints[i] for i in robot.order.index_of(clip.order)]
    speed = np.abs(np.diff(clip.joint_pos, axis=0)) * clip.fps
    limit = np.array([joint.velocity_rad_s for joint in rows]) * MAX_JOINT_SPEED_RATIO
    if (speed > limit).any():
        frame, column = divmod(int(np.argmax(speed - limit)), speed.shape[1])
        raise Refused(what, expected=f"{rows[column].name} below {limit[column]:.0f} rad/s",
                      found=f"{speed[frame, column]:.0f} rad/s at {frame / clip.fps:.2f} s",
                      what_to_do="the motion jumps there: smooth or cut it")
