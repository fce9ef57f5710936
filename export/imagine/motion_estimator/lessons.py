"""What the networks learn from: takes in memory, and batches of squares cut from them, each a little differently."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from export.imagine.motion_estimator.layout import (
    CROP_SIDE,
    HAND_SIDE,
    HAND_WINDOW_M,
    HIDDEN,
    OPPOSITE,
    TURNED,
    USUAL_WINDOW_M,
)
from export.imagine.motion_estimator.pinhole import Pinhole, from_mujoco, window_m
from export.imagine.motion_estimator.renders import Truth, load_images, load_truth
from export.imagine.motion_estimator.squares import MIRROR, box_about, halved, hand_axes, hand_points, hand_turn, small
from runtime import rotation
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS

F64 = npt.NDArray[np.float64]
Tensors = dict[str, torch.Tensor]
Rows = npt.NDArray[np.int64]
MOVED = 0.15
"""Of its sides, by how much what stands in a whole picture is moved at most."""
SCALE, SHIFT = 0.15, 0.12
"""How wrong the finder may be about a square's side and, by the side, its middle."""
HAND_SHIFT_PX, HAND_TILT_RAD, HAND_TURN_RAD, HAND_SIZE = 4.0, 0.15, 0.16, 0.03
"""How wrong the pose may be about a hand: its place in the whole picture, its way there, its rotation, its distance."""
STRAYS, NEAR, ASTRAY = 0.4, 0.5, 3.0
"""The share of hands about which it is wrong by ASTRAY times as much, and how much of it the others are wrong: of films
that are acted 9 hands of 10 are told within 4 pixels and 14 degrees, of free motions half within 3 and 34."""
STRIDES, STRIDE_M = 5.0, 0.15
"""How many times more often than others frames are shown in which one foot is so far before or above the other: one of
seven is such a frame."""
PATCH = 144
"""Pixels of the square of a whole picture that is kept about a hand."""


@dataclass(frozen=True)
class Lessons:
    """Frames of many takes with what was true in each.

    Attributes:
        images: (N, h, w, 3) uint8, halved. focal_px: (N,) of these. down_rad: (N,).
        patches: (N, 2, PATCH, PATCH, 3) of the whole pictures, about the hands. corners: (N, 2, 2) where they lie.
        joints: (N, 24, 3) in camera, m. turned: (N, 24, 3, 3) out of the rest axes, in camera.
        local: (N, 24, 3, 3) in the parent's axes. shape: (N, 4). offsets: (N, 24, 3).
        hands: (N, 2) states, HIDDEN where a hand is not seen, -1 where it goes from one to another.
    """

    images: npt.NDArray[np.uint8]
    patches: npt.NDArray[np.uint8]
    corners: npt.NDArray[np.int64]
    focal_px: F64
    down_rad: F64
    joints: F64
    turned: F64
    local: F64
    shape: F64
    offsets: F64
    hands: npt.NDArray[np.int64]


def load_lessons(folder: Path, count: int) -> Lessons:
    """The first takes of a folder.

    Raises:
        Refused: fewer than `count`.
    """
    paths = sorted(path for path in folder.glob("*.npz") if ".partial" not in path.name)[:count]
    if len(paths) < count:
        raise Refused(f"takes in {folder}", expected=f"{count}", found=f"{len(paths)}",
                      what_to_do="render them first, or learn from fewer")
    parts = [_lesson(path) for path in paths]
    return Lessons(**{key: _joined([part.pop(key) for part in parts]) for key in tuple(parts[0])})


def _joined(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """One array of many, each of which is let go once it is copied: pictures are gigabytes."""
    out = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    end = len(out)
    while parts:
        part = parts.pop()
        out[end - len(part):end] = part
        end -= len(part)
    return out


def _lesson(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Of one take, by the names of `Lessons`."""
    truth, images = load_truth(path), load_images(path)
    lens = Pinhole(images.shape[2], images.shape[1], truth.fovy_rad)
    facts = _facts(truth, lens.halved)
    middles = np.stack([lens.project(hand_points(facts["joints"], hand)[0]) for hand in range(2)], axis=1)
    corners = np.clip(np.nan_to_num(middles).round() - PATCH // 2, 0, np.array([lens.width, lens.height]) - PATCH)
    corners = corners.astype(np.int64)
    patches = np.stack([[image[y:y + PATCH, x:x + PATCH] for x, y in places]
                        for image, places in zip(images, corners, strict=True)])
    return {"images": np.stack([halved(image) for image in images]), "patches": patches, "corners": corners, **facts,
            "hands": facts["hands"].astype(np.int64)}


def _feet_apart(lessons: Lessons) -> F64:
    """(N,) m from foot to foot, beside their distance to the side."""
    left, right = (HUMAN_JOINTS.index(f"{side}_ankle") for side in ("left", "right"))
    apart = lessons.joints[:, left] - lessons.joints[:, right]
    return np.asarray(np.linalg.norm(np.einsum("nij,ni->nj", lessons.turned[:, 0], apart)[:, 1:], axis=1))


def _facts(truth: Truth, lens: Pinhole) -> dict[str, F64]:
    motion, frames = truth.motion, truth.motion.frames
    camera = from_mujoco(truth.axes)
    placed, turned = motion.in_world()
    states = motion.hand_states if motion.hand_states is not None else np.zeros((frames, 2), np.int8)
    return {
        "focal_px": np.full(frames, lens.focal_px),
        "down_rad": np.full(frames, math.asin(-camera[2, 2])),
        "joints": (placed - truth.position_m) @ camera,
        "turned": camera.T @ rotation.matrix_many(turned), "local": rotation.matrix_many(motion.local_wxyz),
        "shape": np.broadcast_to(truth.shape, (frames, 4)),
        "offsets": np.broadcast_to(motion.skeleton.offsets_m, (frames, 24, 3)),
        "hands": np.where(truth.seen, np.where(truth.clear, states, -1), HIDDEN),
    }


class Batches:
    """Batches of lessons for each network, from a generator that a checkpoint keeps.

    Args:
        steady: cut where the truth says, without any wrongness: to measure.
    """

    def __init__(self, lessons: Lessons, *, steady: bool = False) -> None:
        self._lessons, self._steady = lessons, steady
        height, width = lessons.images.shape[1:3]
        self._lens = [Pinhole(width, height, 2 * math.atan(height / 2 / focal)) for focal in lessons.focal_px]
        pixels = np.stack([lens.project(joints) for lens, joints in zip(self._lens, lessons.joints, strict=True)])
        self._pixels, (self._middle, self._side) = pixels, box_about(pixels)
        self._shares = np.cumsum(1 + STRIDES * np.clip(_feet_apart(lessons) / STRIDE_M, 0, 1))
        self._shares /= self._shares[-1]
        self._small = torch.from_numpy(np.stack([small(image) for image in lessons.images]))
        horizon = np.array([lens.horizon_of(down) for lens, down in zip(self._lens, lessons.down_rad, strict=True)])
        self._found = torch.from_numpy(np.column_stack([
            self._middle / [width, height], np.log(self._side / height), horizon]).astype(np.float32))
        self._images = torch.from_numpy(lessons.images)
        self._patches = torch.from_numpy(lessons.patches.reshape(-1, *lessons.patches.shape[2:]))

    def __len__(self) -> int:
        return len(self._lessons.images)

    def rows(self, name: str, count: int, random: np.random.Generator) -> Rows:
        """Which frames a network of a name learns from next: of the pose, more of those whose feet are apart."""
        if name != "pose":
            return random.integers(len(self), size=count)
        return np.searchsorted(self._shares, random.random(count)).astype(np.int64)

    def finder(self, rows: Rows, random: np.random.Generator) -> Tensors:
        """Whole pictures, small, and FINDER_OUTPUTS; half of them mirrored, all moved by up to MOVED of their sides."""
        picture, found = self._small[rows].clone(), self._found[rows].clone()
        if not self._steady:
            flip = torch.from_numpy(random.random(len(rows)) < 0.5)
            picture[flip] = picture[flip].flip(3)
            found[flip, 0] = 1 - found[flip, 0]
            picture = _recoloured(_moved(picture, found, random), random)
        return {"picture": picture, "found": found}

    def pose(self, rows: Rows, random: np.random.Generator) -> Tensors:
        """Squares about people, and what is true in the axes of each square's ray."""
        k, count = self._lessons, len(rows)
        wrong = np.zeros((count, 3)) if self._steady else np.clip(random.normal(0, 0.5, (count, 3)), -1, 1)
        side = self._side[rows] * np.exp(SCALE * wrong[:, 0])
        middle = self._middle[rows] + SHIFT * side[:, None] * wrong[:, 1:]
        square = _cut(self._images, rows, middle, np.eye(2) * (side / 2)[:, None, None], CROP_SIDE)
        ray = np.stack([self._lens[row].ray_axes(place) for row, place in zip(rows, middle, strict=True)])
        seen = (self._pixels[rows] - middle[:, None]) / (side / 2)[:, None, None]
        joints = k.joints[rows] - k.joints[rows][:, :1]
        turned = ray.transpose(0, 2, 1) @ k.turned[rows][:, 0]
        local = k.local[rows][:, :TURNED].copy()
        local[:, 0] = turned
        window = window_m(side, k.joints[rows][:, 0, 2], 1.0) / k.focal_px[rows]
        truth = {"seen": np.concatenate([seen, (joints @ ray)[..., 2:]], axis=2), "local": local,
                 "joints": joints @ ray, "window": np.log(window / USUAL_WINDOW_M)[:, None], "shape": k.shape[rows]}
        out = {key: torch.from_numpy(np.ascontiguousarray(value, np.float32)) for key, value in truth.items()}
        if self._steady:
            return {"square": square, **out}
        _mirror(square, out, torch.from_numpy(random.random(count) < 0.5))
        return {"square": _recoloured(square, random), **out}

    def hands(self, rows: Rows, random: np.random.Generator) -> Tensors:
        """Squares about both hands of each row, left ones first, with their rotations and states."""
        k, steady, count = self._lessons, self._steady, len(rows)
        middles, axes, turns = [], [], []
        focal, picture = 2 * k.focal_px[rows], 2 * self._lens[0].middle  # hands are cut from the whole picture
        for hand in range(2):
            points = np.stack(hand_points(k.joints[rows], hand), axis=1)
            pixels = picture + focal[:, None, None] * points[..., :2] / points[..., 2:]
            middle, wrist = pixels[:, 0], pixels[:, 1]
            half = HAND_WINDOW_M / 2 * focal / points[:, 0, 2]
            turned = k.turned[rows, 22 + hand]
            wrong = np.zeros((count, 7))
            if not steady:
                wrong = random.normal(size=(count, 7)) * np.where(random.random((count, 1)) < STRAYS, ASTRAY, NEAR)
            middle, wrist = middle + HAND_SHIFT_PX * wrong[:, :2], wrist + HAND_SHIFT_PX * wrong[:, :2]
            half = half * np.exp(HAND_SIZE * wrong[:, 2])
            turned = rotation.matrix_many(rotation.quat_from_vector_many(HAND_TURN_RAD * wrong[:, 3:6])) @ turned
            square = _turns(HAND_TILT_RAD * wrong[:, 6]) @ hand_axes(middle, wrist, half, hand)
            middles.append(middle - k.corners[rows, hand])
            axes.append(square)
            turns.append(hand_turn(turned, square, hand))
        cuts = _cut(self._patches, np.concatenate([2 * rows, 2 * rows + 1]), np.concatenate(middles),
                    np.concatenate(axes), HAND_SIDE)
        return {"square": cuts if steady else _recoloured(cuts, random),
                "turn": torch.from_numpy(np.concatenate(turns).astype(np.float32)),
                "states": torch.from_numpy(k.hands[rows].T.reshape(-1).copy())}


def _moved(picture: torch.Tensor, found: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """What stands in the pictures (n, 3, h, w) elsewhere in them, edges going on as they are; `found` goes along."""
    count, _, height, width = picture.shape
    down, across = (random.integers(-most, most + 1, count) for most in (round(MOVED * height), round(MOVED * width)))
    y = torch.from_numpy((np.arange(height) - down[:, None]).clip(0, height - 1))
    x = torch.from_numpy((np.arange(width) - across[:, None]).clip(0, width - 1))
    found += torch.from_numpy(np.stack([across / width, down / height, 0 * down, -down / height], 1).astype(np.float32))
    return picture[torch.arange(count)[:, None, None], :, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)


def _mirror(square: torch.Tensor, truth: Tensors, flip: torch.Tensor) -> None:
    """Left for right in some rows, in place: what is seen, and whose joint it is."""
    square[flip] = square[flip].flip(3)
    swapped = torch.tensor(OPPOSITE)
    across = torch.from_numpy(MIRROR.astype(np.float32))
    for key in ("seen", "joints"):
        truth[key][flip] = truth[key][flip][:, swapped] @ across
    truth["local"][flip] = across @ truth["local"][flip][:, swapped[:TURNED]] @ across


def _cut(images: torch.Tensor, rows: Rows, middle: F64, axes: F64, side: int) -> torch.Tensor:
    """As `squares.cut`, of many rows of pictures (N, h, w, 3) at once."""
    height, width = images.shape[1:3]
    steps = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = ((middle[:, i, None, None] + axes[:, i, :1, None] * steps[None, None] + axes[:, i, 1:, None]
             * steps[None, :, None] - 0.5).clip(0, most - 1) for i, most in ((0, width), (1, height)))
    left, top = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    a, b = (torch.from_numpy((value - whole).astype(np.float32))[..., None] for value, whole in ((x, left), (y, top)))
    first = torch.from_numpy((rows[:, None, None] * height + top) * width + left)
    flat = images.reshape(-1, 3)
    upper = torch.lerp(flat[first].float(), flat[first + 1].float(), a)
    lower = torch.lerp(flat[first + width].float(), flat[first + width + 1].float(), a)
    return torch.lerp(upper, lower, b).div_(255).permute(0, 3, 1, 2).contiguous()


def _recoloured(x: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """Another light, a little noise, and for some a little blur."""
    count = len(x)
    gain, lift = random.uniform(0.8, 1.2, (count, 3, 1, 1)), random.uniform(-0.08, 0.08, (count, 3, 1, 1))
    seed = int(random.integers(1 << 30))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)) * 0.02
    x = x * torch.from_numpy(gain.astype(np.float32)) + torch.from_numpy(lift.astype(np.float32)) + noise
    share = torch.from_numpy((random.random((count, 1, 1, 1)) * (random.random((count, 1, 1, 1)) < 0.5)
                              ).astype(np.float32))
    return x + share * (torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False) - x)


def _turns(angles: F64) -> F64:
    """(n, 2, 2) by angles (n,)."""
    c, s = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([c, -s], axis=-1), np.stack([s, c], axis=-1)], axis=-2)
