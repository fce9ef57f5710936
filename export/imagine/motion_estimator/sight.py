"""What the three networks see in one picture: where a person is, how it is posed, and what its hands do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.imagine.motion_estimator.body import local_rotations
from export.imagine.motion_estimator.layout import (
    CROP_SIDE,
    HAND_SIDE,
    HAND_WINDOW_M,
    JOINTS,
    OPPOSITE,
    POSE_OUTPUTS,
    TURNED,
    USUAL_WINDOW_M,
)
from export.imagine.motion_estimator.pinhole import Pinhole, depth_m
from export.imagine.motion_estimator.squares import (
    MIRROR,
    box_about,
    cut,
    halved,
    hand_axes,
    hand_points,
    hand_turn,
    small,
)
from runtime import rotation
from runtime.human_motion import PLAIN, pose_in_world
from runtime.model import Model

F64 = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]
NAMES = ("finder", "pose", "hands")
_SMALLEST_PX = 12.0
"""Of a square: whatever the finder says, there has to be something in it."""
LOOKS = 4
"""How often a person is looked at, each time in the square that follows from the last."""
_AS_IT_IS: F64 = np.eye(2)


@dataclass(frozen=True)
class Seen:
    """One picture's person, as it is told before anything is smoothed.

    Attributes:
        pelvis: (3,) in camera, m. local: (24, 3, 3) rotations in the parent's axes, the pelvis's in camera.
        shape: (4,) of the body. down_rad: how far down the camera looks.
        hands: (2, 4) shares of each state and of HIDDEN.
    """

    pelvis: F64
    local: F64
    shape: F64
    down_rad: float
    hands: F64

    def row(self) -> F64:
        """All of it in a row, for golden vectors."""
        return np.concatenate([self.pelvis, self.local.ravel(), self.shape, [self.down_rad], self.hands.ravel()])


class Sight:
    """The three networks, by name, on ONNX Runtime."""

    def __init__(self, networks: Mapping[str, bytes]) -> None:
        self._models = {name: Model(data) for name, data in networks.items()}

    def _run(self, name: str, **inputs: npt.NDArray[np.float32]) -> F64:
        model = self._models[name]
        for key, value in inputs.items():
            model.inputs[key][0] = value
        model.run()
        (output,) = model.outputs.values()
        return np.asarray(output[0], np.float64)

    def look(self, image: Image, lens: Pinhole) -> Seen:
        """The person in a picture (h, w, 3), looked at again and again in the square that follows from where the joints
        were: a square that the finder has put beside the person comes nearer each time.
        """
        whole, whole_lens = image, lens
        image, lens = halved(image), lens.halved
        found = self._run("finder", picture=small(image))
        middle = found[:2] * [lens.width, lens.height]
        side = float(np.exp(found[2])) * lens.height
        for _ in range(LOOKS):
            side = float(np.clip(side, _SMALLEST_PX, 4 * lens.height))
            told = self._pose(image, middle, side)
            looked = middle, side
            joints = told["joints"].reshape(JOINTS, 3)[:, :2] * side / 2 + middle
            middle, side = (np.asarray(box_about(joints)[0]), float(box_about(joints)[1]))
        middle, side = looked
        other = self._mirrored(image, middle, side)
        told = {key: (value + other[key]) / 2 for key, value in told.items()}
        local = local_rotations(told["turns"].reshape(TURNED, 6))
        local[0] = lens.ray_axes(middle) @ local[0]
        depth = depth_m(np.asarray(side), USUAL_WINDOW_M * np.exp(told["window"][0]), lens.focal_px)
        pelvis = lens.lift(told["pelvis"] * side / 2 + middle, depth)
        joints = _as_seen(told["joints"].reshape(JOINTS, 3), middle, side, depth, lens)
        hands = self._hands(whole, whole_lens, joints, local)
        return Seen(pelvis, local, told["shape"], float(lens.down_of(found[3])), hands)

    def _pose(self, image: Image, middle: F64, side: float, across: F64 = _AS_IT_IS) -> dict[str, F64]:
        told = self._run("pose", square=cut(image, middle, across * side / 2, CROP_SIDE))
        ends = np.cumsum(list(POSE_OUTPUTS.values()))[:-1]
        return dict(zip(POSE_OUTPUTS, np.split(told, ends), strict=True))

    def _mirrored(self, image: Image, middle: F64, side: float) -> dict[str, F64]:
        """What is told of the square's mirror image, seen as it is: errs otherwise, so that the mean errs less."""
        told = self._pose(image, middle, side, MIRROR[:2, :2])
        turns = told["turns"].reshape(TURNED, 2, 3)[OPPOSITE[:TURNED]] * [[[1], [-1]]]  # the mirror turns x about
        told["turns"] = (turns @ -MIRROR).reshape(-1)
        told["pelvis"] = told["pelvis"] * [-1, 1]
        told["joints"] = (told["joints"].reshape(JOINTS, 3)[OPPOSITE] @ MIRROR).reshape(-1)
        return told

    def _hands(self, image: Image, lens: Pinhole, joints: F64, local: F64) -> F64:
        """Of joints (24, 3) in camera, m, where each was seen, and where rotations put them: either may be beside a
        hand, and the mean of what both squares show errs less.
        """
        placed, turns = pose_in_world(rotation.quat_from_matrix_many(local), joints[0], PLAIN.offsets_m)
        each = [[self._hand(image, lens, where, turned, hand) for where in (joints, placed)]
                for hand, turned in enumerate(rotation.matrix_many(turns[22:]))]
        return np.asarray(np.mean(each, axis=1))

    def _hand(self, image: Image, lens: Pinhole, joints: F64, turned: F64, hand: int) -> F64:
        """(4,) shares of one hand's states and of HIDDEN."""
        middle, wrist = hand_points(joints, hand)
        near = max(float(middle[2]), 0.1)
        square = hand_axes(lens.project(middle), lens.project(wrist), HAND_WINDOW_M / 2 * lens.focal_px / near, hand)
        said = self._run("hands", square=cut(image, lens.project(middle), square, HAND_SIDE),
                         turn=hand_turn(turned, square, hand).astype(np.float32))
        share = np.exp(said - said.max())
        return np.asarray(share / share.sum())


def _as_seen(joints: F64, middle: F64, side: float, depth: F64, lens: Pinhole) -> F64:
    """(24, 3) in camera, m: joints (24, 3) as seen in a square, x and y from -1 to 1 and m beyond the pelvis."""
    away = np.maximum(depth + joints[:, 2], 0.1)
    return lens.lift(joints[:, :2] * side / 2 + middle, away)
