"""A human made of parameters: stands, steps and moves its arms, and becomes a motion in SMPL form.

What it does is kept frame by frame as a few channels (CHANNELS); legs follow from them by inverse kinematics, so that
a foot that stands does not move at all. Angles in rad, lengths in m, headings about +z from world x.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from export.motion.limbs import ANKLE_M, LEG_REACH, arm_rotations, leg_rotations, reach_height
from runtime import rotation
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, PLAIN, HumanMotion, Skeleton, make_human_motion

F64 = npt.NDArray[np.float64]
FPS = 50.0
SIDES = ("left", "right")
CHANNELS = (
    *(f"{side}_{part}" for side in SIDES for part in ("x", "y", "lift", "yaw")),
    "forward", "aside", "drop", "lean", "bend", "twist",
    *(f"{side}_{part}" for side in SIDES for part in ("swing", "out", "turn", "elbow")),
)
"""Feet: place of the ankle on the floor, its height above standing, heading. forward, aside, drop: the pelvis from the
middle of the feet, in its heading, and below standing. lean of the pelvis and bend of the spine forwards, twist of the
spine to the left. Arms: swing forwards from hanging, out to the side, turn to the left about the vertical, elbow."""
HALF_WIDTH_M = 0.1
"""Of the feet from the middle, standing."""
STRIDE_M = 0.34
STAND_DROP_M = 0.02
SMOOTH_S = 0.16
SWAY_M = 0.045
"""Of the pelvis to the foot that stands, before it is smoothed: 8 cm from side to side at 0.5 m/s. Measured humans have
7.0 cm at 0.7 m/s, and more the slower they go (Orendurff et al. 2004, J Rehabil Res Dev 41(6A))."""
_ARM_SWING_RAD_M = 0.7
_RELAXED = {"left_swing": 0.05, "left_out": 0.15, "left_elbow": 0.35, "right_swing": 0.05, "right_out": 0.15,
            "right_elbow": 0.35}


def eased(s: F64) -> F64:
    """From 0 to 1 by least jerk, at rest at both ends, of shares from 0 to 1."""
    return np.asarray(s**3 * (10 - 15 * s + 6 * s * s))


def min_jerk(frames: int) -> F64:
    """(frames,) from above 0 to 1, at rest at both ends."""
    return eased(np.arange(1, frames + 1) / frames)


def _raised(frames: int, swing: int) -> F64:
    """(frames,) how high a swinging foot is, 1 at its highest: up before it goes forwards, down after it."""
    return np.asarray(np.sin(np.pi * np.minimum(np.arange(1, frames + 1) / swing, 1.0)) ** 2)


class Actor:
    """One human that stands at a place and then does what it is told, action after action.

    Args:
        place: (x, y) of the middle of its feet. heading: where it looks.
    """

    def __init__(self, place: tuple[float, float] = (0.0, 0.0), heading: float = 0.0,
                 skeleton: Skeleton = PLAIN) -> None:
        self.skeleton = skeleton
        self._now = dict.fromkeys(CHANNELS, 0.0) | _RELAXED
        self._hands = [0, 0]
        self._rows: list[list[float]] = []
        self._hand_rows: list[list[int]] = []
        for side in SIDES:
            self._now |= dict(zip((f"{side}_x", f"{side}_y"), self.foot_place(side, place, heading), strict=True))
            self._now[f"{side}_yaw"] = heading
        self.hold(0.02)

    def foot_place(self, side: str, place: tuple[float, float], heading: float) -> tuple[float, float]:
        """Where a foot stands when the middle of both is at `place`."""
        out = HALF_WIDTH_M if side == "left" else -HALF_WIDTH_M
        return place[0] - out * math.sin(heading), place[1] + out * math.cos(heading)

    @property
    def place(self) -> tuple[float, float]:
        """The middle of the feet."""
        now = self._now
        return (now["left_x"] + now["right_x"]) / 2, (now["left_y"] + now["right_y"]) / 2

    @property
    def heading(self) -> float:
        """Mean of the feet's."""
        return (self._now["left_yaw"] + self._now["right_yaw"]) / 2

    @property
    def seconds(self) -> float:
        """How long it has been acting."""
        return len(self._rows) / FPS

    def move(self, seconds: float, **goals: float) -> None:
        """Channels to goals, by least jerk; what is not named stays.

        Raises:
            Refused: channels that do not exist.
        """
        unknown = set(goals) - set(CHANNELS)
        if unknown:
            raise Refused("motion channel", expected=f"one of {', '.join(CHANNELS)}", found=", ".join(sorted(unknown)),
                          what_to_do="correct the action")
        start = dict(self._now)
        for s in min_jerk(max(1, round(seconds * FPS))):
            for name, goal in goals.items():
                self._now[name] = start[name] + s * (goal - start[name])
            self._write()

    def hold(self, seconds: float) -> None:
        """Nothing moves."""
        self.move(seconds)

    def relax(self, seconds: float) -> None:
        """Upright over the feet, arms hanging."""
        self.move(seconds, **dict.fromkeys(CHANNELS[8:], 0.0) | _RELAXED)

    def hand(self, side: str, state: int) -> None:
        """Tells a hand an index of HAND_STATES, from the next frame on."""
        self._hands[SIDES.index(side)] = state

    def step(self, side: str, place: tuple[float, float], heading: float, seconds: float, lift: float = 0.07) -> None:
        """One foot to where it stands when the middle of both is at `place`; it is down for the last tenth."""
        x, y = self.foot_place(side, place, heading)
        now, start = self._now, dict(self._now)
        frames = max(5, round(seconds * FPS))
        swing = round(0.9 * frames)
        for s, raised in zip([*min_jerk(swing), *[1.0] * (frames - swing)], _raised(frames, swing), strict=True):
            for name, goal in ((f"{side}_x", x), (f"{side}_y", y), (f"{side}_yaw", heading)):
                now[name] = start[name] + s * (goal - start[name])
            now[f"{side}_lift"] = lift * raised
            self._write()

    def walk(self, way: F64, speed: float, lift: float = 0.07) -> None:
        """Along points (N, 2) that begin where it stands, looking along the way, then feet side by side."""
        legs = np.linalg.norm(np.diff(way, axis=0), axis=1)
        along = np.concatenate([[0.0], np.cumsum(legs)])
        steps = max(1, math.ceil(along[-1] / STRIDE_M))
        seconds = float(np.clip(along[-1] / steps / speed, 0.36, 1.2))
        heading, side = self.heading, "left"
        for k in range(1, steps + 1):
            near = [max(along[-1] * k / steps - 0.1, 0.0), min(along[-1] * k / steps + 0.1, along[-1])]
            (x0, x1), (y0, y1) = (np.interp(near, along, way[:, axis]) for axis in (0, 1))
            heading += rotation.wrapped(math.atan2(y1 - y0, x1 - x0) - heading)
            place = tuple(float(np.interp(along[-1] * k / steps, along, way[:, axis])) for axis in (0, 1))
            self.step(side, (place[0], place[1]), heading, seconds, lift)
            side = "right" if side == "left" else "left"
        self.step(side, (float(way[-1, 0]), float(way[-1, 1])), heading, seconds, lift)

    def turn_to(self, heading: float, most: float = 0.5, seconds: float = 0.5) -> None:
        """Turns on the spot in steps of at most `most` rad."""
        away, place = rotation.wrapped(heading - self.heading), self.place
        steps, begin = math.ceil(abs(away) / most - 1e-9), self.heading
        for k in range(1, steps + 1):
            for side in SIDES if away > 0 else SIDES[::-1]:
                self.step(side, place, begin + away * k / steps, seconds, 0.05)

    def _write(self) -> None:
        self._rows.append([self._now[name] for name in CHANNELS])
        self._hand_rows.append(list(self._hands))

    def motion(self, name: str) -> HumanMotion:
        """What it has done, in SMPL form.

        Raises:
            Refused: too short; feet that no leg reaches.
        """
        rows = np.array(self._rows)
        c = dict(zip(CHANNELS, rows.T, strict=True))
        heading = smoothed((c["left_yaw"] + c["right_yaw"]) / 2)
        cos, sin = np.cos(heading), np.sin(heading)
        lifted = {side: smoothed((c[f"{side}_lift"] > 1e-4).astype(np.float64)) for side in SIDES}
        aside = c["aside"] + SWAY_M * (lifted["right"] - lifted["left"])
        pelvis = np.zeros((len(rows), 3))
        pelvis[:, 0] = smoothed((c["left_x"] + c["right_x"]) / 2) + cos * c["forward"] - sin * aside
        pelvis[:, 1] = smoothed((c["left_y"] + c["right_y"]) / 2) + sin * c["forward"] + cos * aside
        local = np.zeros((len(rows), len(HUMAN_JOINTS), 4))
        local[..., 0] = 1.0
        upright = rotation.multiply_many(about(2, heading), np.broadcast_to(REST_TO_WORLD, (len(rows), 4)))
        local[:, 0] = rotation.multiply_many(upright, about(0, c["lean"]))
        for part in ("spine1", "spine2", "spine3"):
            turned = rotation.multiply_many(about(1, c["twist"] / 3), about(0, c["bend"] / 3))
            local[:, HUMAN_JOINTS.index(part)] = turned
        feet = {side: np.stack([c[f"{side}_x"], c[f"{side}_y"], ANKLE_M + c[f"{side}_lift"]], axis=1) for side in SIDES}
        highest = np.min([reach_height(self.skeleton, side, pelvis, local[:, 0], feet[side], LEG_REACH)
                          for side in SIDES], axis=0)
        pelvis[:, 2] = lowered(highest) - STAND_DROP_M - c["drop"]
        apart = cos * (c["right_x"] - c["left_x"]) + sin * (c["right_y"] - c["left_y"])
        for side, sign in (("left", 1.0), ("right", -1.0)):
            foot = rotation.multiply_many(about(2, c[f"{side}_yaw"]), np.broadcast_to(REST_TO_WORLD, (len(rows), 4)))
            leg_rotations(self.skeleton, side, pelvis, local, feet[side], foot)
            swing = c[f"{side}_swing"] + sign * _ARM_SWING_RAD_M * smoothed(apart)
            arm_rotations(side, local, swing, c[f"{side}_out"], c[f"{side}_turn"], c[f"{side}_elbow"])
        hands = np.array(self._hand_rows, np.int8)
        return make_human_motion(name, FPS, local, pelvis, self.skeleton, hand_states=hands,
                                 notes=("made from parameters, measured off nobody",))


REST_TO_WORLD = np.full(4, 0.5)
"""The rest axes (x left, y up, z forward) in a world of x forward, y left, z up."""


def about(axis: int, angle: F64) -> F64:
    """(T, 4) rotations by (T,) rad about one axis."""
    vector = np.zeros((len(angle), 3))
    vector[:, axis] = angle
    return rotation.quat_from_vector_many(vector)


def smoothed(values: F64, frames: float = SMOOTH_S * FPS) -> F64:
    """(T, ...) by a Gaussian of so many frames over time, the ends carried on."""
    reach = math.ceil(3 * frames)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(frames, 1e-6)) ** 2)
    columns = np.pad(values.reshape(len(values), -1), [(reach, reach), (0, 0)], mode="edge").T
    smooth = [np.convolve(column, kernel / kernel.sum(), mode="valid") for column in columns]
    return np.stack(smooth, axis=1).reshape(values.shape)


def lowered(highest: F64, frames: float = SMOOTH_S * FPS) -> F64:
    """A smooth curve (T,) that is nowhere above another."""
    reach = math.ceil(3 * frames)
    padded = np.pad(highest, reach, mode="edge")
    return smoothed(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).min(axis=1), frames)
