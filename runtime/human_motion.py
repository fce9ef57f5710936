"""A human's motion in SMPL form in a z-up world: what every estimator's file becomes, and where retargeting starts.

SMPL's rest pose stands in a T with x to its left, y up, z forward; a joint's rotation turns what hangs on it, in the
axes of its parent. The pelvis's rotation takes those rest axes into the world. Joint names and tree: vchoutas/smplx
`joint_names.py` @ 1265df7.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.channels import HUGE
from runtime.errors import Refused
from runtime.npz_file import read_npz

F64 = npt.NDArray[np.float64]

HUMAN_JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
)
HUMAN_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
FORMAT = "exoactor-human/1"
HAND_STATES = ("open", "half-open", "closed")
"""What a hand is told, by number; -1 stands for not known."""

_REST_M = (
    (0, 0, 0), (0.07, -0.09, 0), (-0.07, -0.09, 0), (0, 0.11, -0.03), (0.03, -0.38, 0), (-0.03, -0.38, 0),
    (0, 0.13, 0), (-0.01, -0.40, -0.04), (0.01, -0.40, -0.04), (0, 0.05, 0.02), (0.04, -0.06, 0.12),
    (-0.04, -0.06, 0.12), (0, 0.21, -0.03), (0.08, 0.12, -0.02), (-0.08, 0.12, -0.02), (0, 0.09, 0.05),
    (0.09, 0.03, -0.01), (-0.09, 0.03, -0.01), (0.26, -0.01, -0.02), (-0.26, -0.01, -0.02), (0.25, 0.01, 0),
    (-0.25, 0.01, 0), (0.08, -0.01, -0.01), (-0.08, -0.01, -0.01),
)


@dataclass(frozen=True)
class Skeleton:
    """Bones of a human at rest.

    Attributes:
        offsets_m: (24, 3) each joint from its parent, in the rest axes (x left, y up, z forward); the pelvis's is zero.
        source: where they come from, for reports.
    """

    offsets_m: F64
    source: str

    def at_rest(self) -> F64:
        """(24, 3) the joints from the pelvis, in the rest axes."""
        rest = np.zeros((len(HUMAN_PARENTS), 3))
        for joint, parent in enumerate(HUMAN_PARENTS[1:], start=1):
            rest[joint] = rest[parent] + self.offsets_m[joint]
        return rest

    @property
    def height_m(self) -> float:
        """From sole to crown, about: foot joints to head joint at rest, and 0.17 m for what lies beyond these two.

        0.17 gives the plain skeleton the 1.69 m of an adult; only ratios of heights matter here.
        """
        y = self.at_rest()[:, 1]
        feet = [HUMAN_JOINTS.index(name) for name in ("left_foot", "right_foot")]
        return float(y[HUMAN_JOINTS.index("head")] - y[feet].mean() + 0.17)


PLAIN = Skeleton(np.array(_REST_M, np.float64), "a plain adult skeleton, measured off nobody")
"""What a motion gets that brings no bones: round figures of our own, of no licensed body model."""


@dataclass(frozen=True)
class HumanMotion:
    """A human's motion, checked by `make_human_motion`.

    Attributes:
        name: for reports.
        fps: frames a second.
        local_wxyz: (T, 24, 4) rotation of each joint in its parent's axes; of the pelvis in the world.
        pelvis_m: (T, 3) the pelvis joint in the world, z up.
        skeleton: whose bones.
        hand_states: (T, 2) int8, left and right, an index of HAND_STATES or -1; None where the source has no hands.
        has_place: whether `pelvis_m` means anything; False for sources that only know the camera's axes.
        notes: what the reader had to assume, a sentence each.
    """

    name: str
    fps: float
    local_wxyz: F64
    pelvis_m: F64
    skeleton: Skeleton = PLAIN
    hand_states: npt.NDArray[np.int8] | None = None
    has_place: bool = True
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def frames(self) -> int:
        """How many."""
        return len(self.pelvis_m)

    @property
    def duration_s(self) -> float:
        """From the first frame to the last."""
        return (self.frames - 1) / self.fps

    def in_world(self) -> tuple[F64, F64]:
        """Joints in the world: (T, 24, 3) positions, m, and (T, 24, 4) rotations out of the rest axes."""
        return pose_in_world(self.local_wxyz, self.pelvis_m, self.skeleton.offsets_m)


def pose_in_world(local_wxyz: F64, pelvis_m: F64, offsets_m: F64) -> tuple[F64, F64]:
    """Forward kinematics of frames (..., 24, 4), (..., 3) over bones (24, 3): positions and rotations in the world."""
    turned = np.empty_like(local_wxyz)
    placed = np.empty((*local_wxyz.shape[:-1], 3))
    turned[..., 0, :], placed[..., 0, :] = local_wxyz[..., 0, :], pelvis_m
    for joint, parent in enumerate(HUMAN_PARENTS[1:], start=1):
        above = turned[..., parent, :]
        turned[..., joint, :] = rotation.multiply_many(above, local_wxyz[..., joint, :])
        placed[..., joint, :] = placed[..., parent, :] + rotation.rotate_many(above, offsets_m[joint])
    return placed, turned


def make_human_motion(
    name: str, fps: float, local_wxyz: F64, pelvis_m: F64, skeleton: Skeleton = PLAIN, *,
    hand_states: npt.NDArray[np.int8] | None = None, has_place: bool = True, notes: tuple[str, ...] = (),
) -> HumanMotion:
    """A checked motion; quaternions are normalised and follow each other on one sheet of the double cover.

    Raises:
        Refused: shapes, non-finite numbers, quaternions far from unit, a rate out of range, unknown hand states.
    """
    what = f"human motion {name}"
    frames = len(pelvis_m)
    if frames < 3 or pelvis_m.shape != (frames, 3) or local_wxyz.shape != (frames, len(HUMAN_JOINTS), 4):
        raise Refused(what, expected="rotations (T, 24, 4) and a pelvis (T, 3) with T >= 3",
                      found=f"{local_wxyz.shape} and {pelvis_m.shape}", what_to_do="export the motion again")
    if not 1 <= fps <= 1000:
        raise Refused(what, expected="fps between 1 and 1000", found=f"{fps}", what_to_do="give the file's rate")
    for label, values in (("rotations", local_wxyz), ("pelvis positions", pelvis_m)):
        finite = (np.abs(values.reshape(frames, -1)) < HUGE).all(axis=1)
        if not finite.all():
            frame = int(np.argmin(finite))
            raise Refused(what, expected=f"finite {label}", found=f"another in frame {frame} ({frame / fps:.2f} s)",
                          what_to_do="repair or cut the motion")
    norms = np.linalg.norm(local_wxyz, axis=-1)
    if (np.abs(norms - 1) > 1e-2).any():
        frame = int(np.argmax(np.abs(norms - 1).max(axis=1)))
        raise Refused(what, expected="unit quaternions within 0.01", found=f"another norm in frame {frame}",
                      what_to_do="check which numbers the file keeps rotations in")
    if hand_states is not None and (
        hand_states.shape != (frames, 2) or not np.isin(hand_states, range(-1, len(HAND_STATES))).all()
    ):
        raise Refused(what, expected=f"hand states ({frames}, 2) among -1, 0, 1, 2", found=f"{hand_states.shape}",
                      what_to_do="export the hand tracks again")
    return HumanMotion(name, float(fps), rotation.continuous_many(local_wxyz / norms[..., None]),
                       np.asarray(pelvis_m, np.float64), skeleton, hand_states, has_place, notes)


def save_human_motion(path: Path | str, motion: HumanMotion) -> None:
    """Write it as an npz of plain arrays."""
    hands: dict[str, Any] = {} if motion.hand_states is None else {"hand_states": motion.hand_states}
    np.savez_compressed(
        path, format=np.array(FORMAT), fps=np.array(motion.fps), local_wxyz=motion.local_wxyz,
        pelvis_m=motion.pelvis_m, offsets_m=motion.skeleton.offsets_m, skeleton=np.array(motion.skeleton.source),
        has_place=np.array(motion.has_place), notes=np.array(motion.notes, np.str_), **hands,
    )


def load_human_motion(path: Path | str) -> HumanMotion:
    """Read what `save_human_motion` wrote.

    Raises:
        Refused: as `read_npz` and `make_human_motion`; another format; keys missing or of another type.
    """
    path = Path(path)
    return human_motion_of(path.name, read_npz(path, f"human motion {path.name}"))


def human_motion_of(name: str, arrays: dict[str, npt.NDArray[Any]]) -> HumanMotion:
    """The motion of an npz's arrays; refuses as `load_human_motion`."""
    what = f"human motion {name}"
    kinds = {"format": "U", "fps": "fiu", "local_wxyz": "fiu", "pelvis_m": "fiu", "offsets_m": "fiu", "skeleton": "U",
             "has_place": "b", "notes": "U"}
    wrong = [key for key, kind in kinds.items() if key not in arrays or arrays[key].dtype.kind not in kind]
    if wrong or str(arrays["format"]) != FORMAT or any(arrays[key].size != 1 for key in ("fps", "has_place")):
        raise Refused(what, expected=f"format {FORMAT} with {', '.join(kinds)}",
                      found=f"{', '.join(sorted(arrays)) or 'nothing'} (missing or mistyped: {', '.join(wrong)})",
                      what_to_do="convert the motion again")
    offsets = arrays["offsets_m"].astype(np.float64)
    if offsets.shape != (len(HUMAN_JOINTS), 3) or not (np.abs(offsets) < 10).all() or offsets[0].any():
        raise Refused(what, expected="finite bones (24, 3) in m, the pelvis's zero", found=f"{offsets.shape}",
                      what_to_do="convert the motion again")
    hands, has_place = arrays.get("hand_states"), bool(arrays["has_place"].reshape(-1)[0])
    return make_human_motion(
        name, float(arrays["fps"].reshape(-1)[0]), arrays["local_wxyz"].astype(np.float64),
        arrays["pelvis_m"].astype(np.float64), Skeleton(offsets, str(arrays["skeleton"])),
        hand_states=None if hands is None else hands.astype(np.int8), has_place=has_place,
        notes=tuple(str(note) for note in arrays["notes"].reshape(-1)),
    )
