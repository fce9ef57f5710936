"""A human's motion as pictures of a stick figure, drawn without any library."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime.human_motion import HUMAN_JOINTS, HUMAN_PARENTS, HumanMotion

F64 = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]
VIEW_M = 2.3
"""Height of what is seen; the figure keeps to the middle."""
LEFT, RIGHT, MIDDLE, FLOOR = (42, 111, 219), (224, 123, 31), (40, 50, 60), (200, 208, 216)


def figures(motion: HumanMotion, rows: npt.NDArray[np.intp], size: tuple[int, int]) -> list[Image]:
    """Pictures (h, w, 3) of frames, seen from the front left, a little from above.

    Args:
        size: (width, height) in pixels.
    """
    placed, _ = motion.in_world()
    return [_figure(placed[row], size) for row in rows]


def _figure(joints: F64, size: tuple[int, int]) -> Image:
    width, height = size
    image = np.full((height, width, 3), 255, np.uint8)
    scale = height / VIEW_M
    middle = joints[0, :2]
    floor = -0.1 if joints[:, 2].min() > -0.5 else float(joints[:, 2].min()) - 0.1

    def pixel(point: F64) -> F64:
        x, y = point[:2] - middle
        across, away = -0.6 * x + 0.8 * y, 0.8 * x + 0.6 * y
        return np.array([width / 2 + across * scale, height - (point[2] - floor - 0.2 * away) * scale])

    for step in np.linspace(-1.5, 1.5, 7):
        for ends in (((step, -1.5), (step, 1.5)), ((-1.5, step), (1.5, step))):
            a, b = (pixel(np.array([*(middle + end), 0.0])) for end in ends)
            _line(image, a, b, FLOOR, 1)
    for joint, parent in enumerate(HUMAN_PARENTS[1:], start=1):
        name = HUMAN_JOINTS[joint]
        colour = LEFT if name.startswith("left") else RIGHT if name.startswith("right") else MIDDLE
        _line(image, pixel(joints[parent]), pixel(joints[joint]), colour, max(2, height // 90))
    head = joints[HUMAN_JOINTS.index("head")]
    _line(image, pixel(head), pixel(head + np.array([0, 0, 0.1])), MIDDLE, max(3, height // 24))
    return image


def _line(image: Image, a: F64, b: F64, colour: tuple[int, int, int], thick: int) -> None:
    """Square dots along a line; what is outside the picture is left out."""
    count = int(min(np.abs(b - a).max(), 4 * max(image.shape[:2]))) + 2
    at = np.rint(a + (b - a) * np.linspace(0, 1, count)[:, None]).astype(np.int64)
    reach = np.arange(thick) - thick // 2
    x = (at[:, 0, None, None] + reach[None, :, None] + 0 * reach).reshape(-1)
    y = (at[:, 1, None, None] + 0 * reach[None, :, None] + reach).reshape(-1)
    inside = (x >= 0) & (x < image.shape[1]) & (y >= 0) & (y < image.shape[0])
    image[y[inside], x[inside]] = colour
