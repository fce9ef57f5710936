"""Motions of our own: what students are trained on beside given clips, and the demonstrations that ship."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from export.motions import Animator, Pose, random_gesture, smoothed, squat, sway
from export.recorder import record_walk
from firmware_bridge.sim_options import PLANT
from firmware_bridge.simulated_robot import SimulatedRobot
from runtime.clip import Clip
from runtime.manifest import Manifest
from runtime.settings import RunSettings

WALKS: tuple[tuple[float, float, float], ...] = (
    (0.3, 0.0, 0.0), (0.6, 0.0, 0.0), (0.9, 0.0, 0.0), (1.0, 0.0, 0.3), (0.6, 0.0, 0.5), (0.4, 0.0, 0.9),
    (0.0, 0.0, 0.7), (0.0, 0.4, 0.0), (0.4, 0.3, 0.0), (-0.4, 0.0, 0.0), (-0.3, 0.2, 0.3), (0.1, 0.0, 0.0),
)
"""vx, vy (m/s), yaw rate (rad/s): slow to fast, turning, sideways, backwards; mirror images come by themselves."""
WALK_S = 8.0


def recorded_walks(settings: RunSettings) -> Iterator[Clip]:
    """A velocity controller's simulated walks over speeds and turns, the jitter of contacts smoothed away."""
    for vx, vy, yaw in WALKS:
        walk = replace(settings, command=(vx, vy, yaw), duration_s=WALK_S)
        yield smoothed(record_walk(walk, f"walk {vx:g} {vy:g} {yaw:g}"), 5)


DEMO_WALKS: dict[str, tuple[float, float, float]] = {
    "walk": (0.6, 0.0, 0.0), "walk_fast": (0.95, 0.0, 0.0), "walk_turning": (0.5, 0.0, 0.45),
    "walk_sideways": (0.0, 0.4, 0.0), "walk_backwards": (-0.4, 0.0, 0.0), "turn_in_place": (0.0, 0.0, 0.7),
}
DEMO_GESTURES: dict[str, list[tuple[float, Pose]]] = {
    "squat": [(1.6, squat(1.0)), (0.5, squat(1.0)), (1.5, {}), (1.6, squat(0.7))],
    "sway": [(1.0, sway(0.1)), (1.6, sway(-0.1)), (1.6, sway(0.1)), (1.6, sway(-0.1))],
    "wave": [
        (1.2, {"right_shoulder_pitch": -1.2, "right_shoulder_roll": -0.5, "right_elbow": -0.6}),
        *((0.5, {"right_shoulder_pitch": -1.2, "right_shoulder_roll": -0.5, "right_elbow": -0.6,
                 "right_shoulder_yaw": yaw}) for yaw in (0.5, -0.3, 0.5, -0.3, 0.2)),
    ],
    "reach": [(1.5, {"*_shoulder_pitch": -1.3, "*_shoulder_roll": -0.3, "*_elbow": -0.4, **squat(0.3, 0.6)}),
              (0.8, {"*_shoulder_pitch": -1.3, "*_shoulder_roll": -0.3, "*_elbow": -0.4, **squat(0.3, 0.6)})],
    "twist": [(1.0, {"waist_yaw": 0.6, "*_elbow": 0.2}), (1.5, {"waist_yaw": -0.6, "*_elbow": 0.2}),
              (1.5, {"waist_yaw": 0.6, "*_elbow": 0.2})],
    "bow": [(1.5, {"root_pitch": 0.35, "*_hip_pitch": -0.4, "*_knee": 0.1, "*_ankle_pitch": -0.05}),
            (0.6, {"root_pitch": 0.35, "*_hip_pitch": -0.4, "*_knee": 0.1, "*_ankle_pitch": -0.05})],
    "arms_up": [(1.6, {"*_shoulder_pitch": -2.2, "*_elbow": -0.5}), (1.0, {"*_shoulder_pitch": -2.2, "*_elbow": -0.5})],
}


def demo_clips(manifest: Manifest, walks: RunSettings | None) -> Iterator[tuple[str, Clip]]:
    """The demonstrations by name; those that walk need a velocity controller to record."""
    if walks is not None:
        for name, command in DEMO_WALKS.items():
            walk = replace(walks, command=command, duration_s=WALK_S)
            yield name, smoothed(record_walk(walk, name), 5)
    animator = _animator(manifest)
    for name, keys in DEMO_GESTURES.items():
        yield name, animator.clip(name, keys, manifest.idle_height_m - 0.01)


def generated_clips(manifest: Manifest, count: int, seed: int) -> Iterator[Clip]:
    """Random standing motions around a controller's default pose."""
    animator = _animator(manifest)
    for i in range(count):
        keys = random_gesture(np.random.default_rng([seed, i]))
        yield animator.clip(f"gesture {i}", keys, manifest.idle_height_m - 0.01)


def _animator(manifest: Manifest) -> Animator:
    robot = manifest.robot
    standing = np.zeros(len(robot.joints))
    standing[robot.order.index_of(manifest.order)] = manifest.default_pose
    for name, (q, _, _) in manifest.held.items():
        standing[robot.order.names.index(name)] = q
    return Animator(robot, SimulatedRobot(PLANT, gantry=False), standing)
