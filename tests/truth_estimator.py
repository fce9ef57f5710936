"""Stands for an estimator in tests: looks up the truth that our own film keeps, and adds errors of an estimate's kind.

    python tests/truth_estimator.py VIDEO OUT [SCALE]

Errors by a seed that is the video's number, times SCALE: white noise of the root (2 mm), a slow drift of its place
(2 % of its way) and heading (2 degrees), joints that swing by 2 degrees, hand states as they are; 30 frames a second
in a world of its own.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from runtime import rotation
from runtime.human_motion import HumanMotion, load_human_motion, save_human_motion
from runtime.resample import human_at


def estimated(motion: HumanMotion, seed: int, scale: float) -> HumanMotion:
    """The motion with errors."""
    random = np.random.default_rng(seed)
    motion = human_at(motion, 30.0)
    t = np.arange(motion.frames) / motion.fps
    swing = np.sin(2 * np.pi * random.uniform(0.2, 0.6, (24, 3)) * t[:, None, None] + random.uniform(0, 6, (24, 3)))
    local = rotation.multiply_many(motion.local_wxyz, rotation.quat_from_vector_many(np.radians(2) * scale * swing))
    own = random.uniform(-np.pi, np.pi)
    heading = own + np.radians(2) * scale * np.linspace(0, 1, motion.frames)
    turn = np.stack([np.cos(heading / 2), 0 * t, 0 * t, np.sin(heading / 2)], axis=1)
    local[:, 0] = rotation.multiply_many(turn, local[:, 0])
    way = motion.pelvis_m * [1 - 0.02 * scale, 1 - 0.02 * scale, 1.0]
    place = rotation.rotate_many(turn[:1].repeat(motion.frames, axis=0), way)
    place += np.array([2.0, 1.0, 0.0]) + random.normal(0, 0.002 * scale, place.shape)
    return replace(motion, local_wxyz=local, pelvis_m=place, notes=("looked up in the film's truth, with errors",))


def main(video: str, out: str, scale: str = "1") -> None:
    """Writes OUT/result.npz."""
    path = Path(video)
    truth = load_human_motion(path.parent / "truth" / f"{path.stem}.npz")
    save_human_motion(Path(out) / "result.npz", estimated(truth, int(path.stem), float(scale)))


if __name__ == "__main__":
    main(*sys.argv[1:])
