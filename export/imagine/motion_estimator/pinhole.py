"""Between a picture and the world: a camera without distortion, the square that is cut out about a person, and back.

Camera axes: x to the picture's right, y down, z away from the camera. MuJoCo's (right, up, backwards) differ by the
signs of two. A pixel's coordinates are of its upper left corner, so that a picture's middle is at half its size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pinhole:
    """A lens and what it draws on.

    Attributes:
        width, height: of the picture, pixels. fovy_rad: of its height.
    """

    width: int
    height: int
    fovy_rad: float

    @property
    def halved(self) -> Pinhole:
        """The same before a picture of half as many rows and columns."""
        return Pinhole(self.width // 2, self.height // 2, self.fovy_rad)

    @property
    def focal_px(self) -> float:
        """Pixels a unit of x/z."""
        return self.height / 2 / math.tan(self.fovy_rad / 2)

    @property
    def middle(self) -> F64:
        """(2,) pixels."""
        return np.array([self.width / 2, self.height / 2])

    def project(self, points: F64) -> F64:
        """(..., 3) in camera to (..., 2) pixels."""
        return np.asarray(self.middle + self.focal_px * points[..., :2] / points[..., 2:])

    def lift(self, pixels: F64, depth_m: F64) -> F64:
        """(..., 2) pixels and (...) depths along the camera's z to (..., 3) in camera."""
        flat = (pixels - self.middle) / self.focal_px
        return np.concatenate([flat, np.ones_like(flat[..., :1])], axis=-1) * np.asarray(depth_m)[..., None]

    def ray_axes(self, pixels: F64) -> F64:
        """(..., 3, 3) columns: the camera's axes, turned the short way so that z goes through (..., 2) pixels."""
        ray = self.lift(pixels, np.ones(pixels.shape[:-1]))
        x, y, z = np.moveaxis(ray / np.linalg.norm(ray, axis=-1, keepdims=True), -1, 0)
        a, b, c = 1 - x * x / (1 + z), -x * y / (1 + z), 1 - y * y / (1 + z)
        return np.stack([np.stack([a, b, x], -1), np.stack([b, c, y], -1), np.stack([-x, -y, z], -1)], axis=-2)

    def horizon_of(self, down_rad: F64) -> F64:
        """Where the horizon lies for a camera that looks down by so much: of the height, from the middle, up positive.
        """
        return np.asarray(np.tan(down_rad) * self.focal_px / self.height)

    def down_of(self, horizon: F64) -> F64:
        """The inverse of `horizon_of`, rad."""
        return np.asarray(np.arctan(horizon * self.height / self.focal_px))


def from_mujoco(axes: F64) -> F64:
    """(3, 3) columns right, down, forward of (3, 3) columns right, up, backwards."""
    return np.asarray(axes * np.array([1.0, -1.0, -1.0]))


def level(down_rad: float) -> F64:
    """(3, 3) camera to a z-up world in which a camera without roll looks down by so much: x forward, y left."""
    c, s = math.cos(down_rad), math.sin(down_rad)
    return np.array([[0.0, -s, c], [-1.0, 0.0, 0.0], [0.0, -c, -s]])


def window_m(side_px: F64, depth_m: F64, focal_px: float) -> F64:
    """How much of the world a square of so many pixels shows at a depth."""
    return np.asarray(side_px * depth_m / focal_px)


def depth_m(side_px: F64, window: F64, focal_px: float) -> F64:
    """The inverse of `window_m`."""
    return np.asarray(window * focal_px / side_px)
