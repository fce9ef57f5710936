"""A human made of capsules over a motion's own bones, as MJCF to be rendered: clothes, hair, hands that open and close.

No body model is involved: shapes are ours, joints are those of SMPL (`runtime/human_motion.py`). The scene stands
around it as in the robot's plant, and what the hands hold goes with them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from firmware_bridge.scene import Scene, Thing
from runtime.human_motion import HUMAN_JOINTS, HUMAN_PARENTS, HumanMotion, Skeleton

F64 = npt.NDArray[np.float64]
RGB = tuple[float, float, float]
CAMERA = "third-person"
FINGERS_RAD = (0.0, 0.65, 1.6)
"""How far fingers are bent in the three states of a hand. Half-open is near the middle of
what `export/motion/hands.py` takes for it, and looks as different from closed as from open."""
_CURL_S = 0.15
_FINGER_M, _PALM_M = 0.045, 0.04
"""Half lengths of one of the two rows of a hand's fingers, and of its palm."""


@dataclass(frozen=True)
class Looks:
    """How a mannequin looks; radii are of capsules about the bones, m."""

    skin: RGB = (0.85, 0.68, 0.56)
    shirt: RGB = (0.75, 0.25, 0.2)
    trousers: RGB = (0.2, 0.25, 0.4)
    shoes: RGB = (0.15, 0.15, 0.15)
    hair: RGB = (0.2, 0.14, 0.1)
    torso_m: float = 0.13
    thigh_m: float = 0.075
    shin_m: float = 0.055
    arm_m: float = 0.045
    head_m: float = 0.105
    sleeves: float = 1.0
    """Share of the upper arm and forearm that is clothed: 1 both, 0.5 the upper arm only."""


@dataclass(frozen=True)
class View:
    """A fixed camera and what it sees besides the mannequin.

    Attributes:
        position_m, target_m: (3,) in world. fovy_rad: of the picture's height.
        floor, wall, light: colours, and where the light comes from.
        shadow_px, samples: of the shadow's map, 0 for none, and of each pixel: what a picture costs.
    """

    position_m: tuple[float, float, float]
    target_m: tuple[float, float, float]
    fovy_rad: float = math.radians(45)
    floor: tuple[RGB, RGB] = ((0.62, 0.62, 0.6), (0.55, 0.55, 0.54))
    sky: RGB = (0.8, 0.85, 0.9)
    light_m: tuple[float, float, float] = (1.0, 1.5, 3.5)
    ambient: float = 0.4
    shadow_px: int = 1024
    samples: int = 4

    @property
    def axes(self) -> F64:
        """(3, 3) columns: the picture's right, its up, and backwards, in world: MuJoCo's camera axes."""
        back = np.subtract(self.position_m, self.target_m)
        back = back / np.linalg.norm(back)
        right = np.cross([0.0, 0.0, 1.0], back)
        right = right / np.linalg.norm(right)
        return np.stack([right, np.cross(back, right), back], axis=1)


@dataclass(frozen=True)
class Held:
    """A thing that goes with the hands from one frame to another; `hand` left, right or both."""

    name: str
    hand: str
    from_frame: int
    to_frame: int


@dataclass(frozen=True)
class Set:
    """All that is in the picture."""

    view: View
    scene: Scene = field(default_factory=Scene)
    looks: Looks = Looks()
    occluders: tuple[Thing, ...] = ()
    held: tuple[Held, ...] = field(default_factory=tuple)


def mannequin_mjcf(skeleton: Skeleton, around: Set) -> str:
    """The mannequin and its set as MJCF text; poses are those of `poses`."""
    looks, view = around.looks, around.view
    right, up = view.axes[:, 0], view.axes[:, 1]
    lines = [
        '<mujoco><compiler angle="radian" boundmass="0.01" boundinertia="1e-4"/>',
        f'<visual><map znear="0.01"/><quality shadowsize="{view.shadow_px}" offsamples="{view.samples}"/>',
        f'<headlight ambient="{_row((view.ambient,) * 3)}" diffuse="0.35 0.35 0.35" specular="0 0 0"/></visual><asset>',
        f'<texture name="sky" type="skybox" builtin="gradient" rgb1="{_row(view.sky)}" rgb2="{_row(view.sky)}" '
        'width="32" height="192"/>',
        f'<texture name="floor" type="2d" builtin="checker" rgb1="{_row(view.floor[0])}" '
        f'rgb2="{_row(view.floor[1])}" width="64" height="64"/>',
        '<material name="floor" texture="floor" texrepeat="12 12" specular="0"/></asset><worldbody>',
        f'<light pos="{_row(view.light_m)}" dir="{_row(-np.array(view.light_m))}" diffuse="0.6 0.6 0.6" '
        'specular="0.1 0.1 0.1" directional="true"/>',
        '<geom type="plane" size="12 12 0.1" material="floor"/>',
        f'<camera name="{CAMERA}" pos="{_row(view.position_m)}" xyaxes="{_row(right)} {_row(up)}" '
        f'fovy="{math.degrees(view.fovy_rad):.6f}"/>',
    ]
    held = {held.name for held in around.held}
    for thing in (*around.scene.things, *around.occluders):
        lines.append(_thing(thing, thing.name in held))
    lines += _body(0, skeleton, looks)
    return "".join([*lines, "</worldbody></mujoco>"])


def _row(values: Sequence[float] | F64) -> str:
    return " ".join(f"{float(value):.5g}" for value in values)


def _thing(thing: Thing, moves: bool) -> str:
    half = [length / 2 for length in thing.size_m]
    tint = 0.3 + 0.5 * np.array([math.sin(7.0 * len(thing.name) + k) ** 2 for k in range(3)])
    joint = f'<freejoint name="{thing.name}"/>' if moves else ""
    turn = (math.cos(thing.yaw_rad / 2), 0.0, 0.0, math.sin(thing.yaw_rad / 2))
    return (f'<body pos="{_row(thing.position_m)}" quat="{_row(turn)}">{joint}<geom type="{thing.shape}" '
            f'size="{_row(half)}" rgba="{_row(tint)} 1"/></body>')


def _body(joint: int, skeleton: Skeleton, looks: Looks) -> list[str]:
    name, offset = HUMAN_JOINTS[joint], skeleton.offsets_m[joint]
    kind = "<freejoint/>" if joint == 0 else '<joint type="ball"/>'
    lines = [f'<body name="{name}" pos="{_row(offset)}">{kind}', *_shapes(name, skeleton, looks)]
    for child, parent in enumerate(HUMAN_PARENTS):
        if parent == joint:
            lines += _body(child, skeleton, looks)
    return [*lines, "</body>"]


def _capsule(start: F64, end: F64, radius: float, colour: RGB) -> str:
    return (f'<geom type="capsule" fromto="{_row(start)} {_row(end)}" size="{radius:.4g}" '
            f'rgba="{_row(colour)} 1" mass="0.1"/>')


def _ellipsoid(centre: Sequence[float], half: Sequence[float], colour: RGB) -> str:
    return f'<geom type="ellipsoid" pos="{_row(centre)}" size="{_row(half)}" rgba="{_row(colour)} 1" mass="0.1"/>'


def _shapes(name: str, skeleton: Skeleton, looks: Looks) -> list[str]:
    """What is drawn about one joint, in the rest axes (x left, y up, z forward)."""
    at = {other: skeleton.offsets_m[HUMAN_JOINTS.index(other)] for other in HUMAN_JOINTS}
    side = 1.0 if name.startswith("left") else -1.0
    origin, part = np.zeros(3), name.partition("_")[2] or name
    sleeve = looks.shirt if looks.sleeves > 0.75 else looks.skin
    match part:
        case "pelvis":
            wide = np.array([0.08, 0.0, 0.0])
            return [_capsule(-wide, wide, looks.torso_m * 0.95, looks.trousers)]
        case "hip":
            return [_capsule(origin, at[f"{name[:-4]}_knee"], looks.thigh_m, looks.trousers)]
        case "knee":
            return [_capsule(origin, at[f"{name[:-5]}_ankle"], looks.shin_m, looks.trousers)]
        case "ankle":
            toe = at[f"{name[:-6]}_foot"]
            return [_capsule(np.array([0, toe[1] + 0.02, -0.05]), np.array([toe[0], toe[1] + 0.02, toe[2] + 0.02]),
                             0.04, looks.shoes)]
        case "spine1" | "spine2":
            wide, up = np.array([0.06, 0.0, 0.0]), at["spine2"] / 2
            return [_capsule(up - wide, up + wide, looks.torso_m * 0.9, looks.shirt)]
        case "spine3":
            wide, up = np.array([0.09, 0.0, 0.0]), 0.55 * at["neck"]
            return [_capsule(up - wide, up + wide, looks.torso_m, looks.shirt),
                    _capsule(0.6 * at["neck"], at["neck"] + np.array([0, 0.05, 0.02]), 0.055, looks.skin)]
        case "head":
            r = looks.head_m
            return [_ellipsoid((0, 0.05, 0.0), (0.8 * r, 1.15 * r, r), looks.skin),
                    _ellipsoid((0, 0.085, -0.025), (0.86 * r, 0.95 * r, 0.95 * r), looks.hair),
                    _ellipsoid((0, 0.045, 0.95 * r), (0.018, 0.022, 0.025), looks.skin)]
        case "collar":
            return [_capsule(origin, at[f"{name[:-7]}_shoulder"], looks.arm_m * 1.4, looks.shirt)]
        case "shoulder":
            return [_capsule(origin, at[f"{name[:-9]}_elbow"], looks.arm_m * 1.1, looks.shirt)]
        case "elbow":
            return [_capsule(origin, at[f"{name[:-6]}_wrist"], looks.arm_m * 0.9, sleeve)]
        case "hand":
            return [_hand(side, looks)]
    return []


def _hand(side: float, looks: Looks) -> str:
    """Palm, two rows of fingers on hinges that bend towards the palm, and a thumb; along the arm's own axis."""
    colour, way = looks.skin, np.array([side, 0.0, 0.0])

    def box(centre: F64, half: tuple[float, float, float]) -> str:
        return f'<geom type="box" pos="{_row(centre)}" size="{_row(half)}" rgba="{_row(colour)} 1" mass="0.02"/>'

    hinge = f'<joint type="hinge" axis="0 0 {-side:g}"/>'
    row = box(way * _FINGER_M / 2, (_FINGER_M / 2, 0.011, 0.04))
    thumb = _capsule(np.array([side * -0.02, 0, 0.035]), np.array([side * 0.02, -0.01, 0.065]), 0.012, colour)
    return (box(way * -0.01, (_PALM_M, 0.014, 0.042)) + thumb
            + f'<body pos="{_row(way * (_PALM_M - 0.01))}">{hinge}{row}'
            + f'<body pos="{_row(way * _FINGER_M)}">{hinge}{row}</body></body>')


def _tree(joint: int = 0) -> list[int]:
    """The joints as MJCF has them: each followed by all that hangs on it."""
    order = [joint]
    for child, parent in enumerate(HUMAN_PARENTS):
        if parent == joint:
            order += _tree(child)
    return order


_ORDER = _tree()


def poses(motion: HumanMotion, around: Set) -> F64:
    """(T, nq) what `mannequin_mjcf` is posed by, one row a frame: held things, then the mannequin."""
    frames = motion.frames
    columns: list[F64] = []
    placed, turned = motion.in_world()
    held = {held.name: held for held in around.held}
    for thing in (*around.scene.things, *around.occluders):
        if thing.name in held:
            columns.append(_carried(thing, held[thing.name], placed, turned))
    bends = _bends(motion)
    columns.append(motion.pelvis_m)
    for joint in _ORDER:
        columns.append(motion.local_wxyz[:, joint])
        if HUMAN_JOINTS[joint].endswith("_hand"):
            column = bends[:, 0 if HUMAN_JOINTS[joint].startswith("left") else 1]
            columns.append(np.stack([column, column], axis=1))
    return np.concatenate([column.reshape(frames, -1) for column in columns], axis=1)


def _bends(motion: HumanMotion) -> F64:
    """(T, 2) rad, left and right: the states, with the time that fingers take."""
    if motion.hand_states is None:
        return np.full((motion.frames, 2), FINGERS_RAD[1] / 2)
    goal = np.array(FINGERS_RAD)[np.maximum(motion.hand_states, 0)]
    wide = max(1, round(_CURL_S * motion.fps))
    padded = np.concatenate([np.repeat(goal[:1], wide - 1, axis=0), goal])
    return np.stack([np.convolve(column, np.ones(wide) / wide, "valid") for column in padded.T], axis=1)


def _carried(thing: Thing, held: Held, placed: F64, turned: F64) -> F64:
    """(T, 7) of a thing that rests, goes with the hands, and stays where they leave it."""
    hands = {"left": (22,), "right": (23,), "both": (22, 23)}[held.hand]
    middle = placed[:, hands, :].mean(axis=1)
    start, end = held.from_frame, min(held.to_frame, len(placed) - 1)
    way = np.zeros((len(placed), 3))
    way[start:end + 1] = middle[start:end + 1] - middle[start]
    way[end + 1:] = way[end]
    turn = (math.cos(thing.yaw_rad / 2), 0.0, 0.0, math.sin(thing.yaw_rad / 2))
    return np.concatenate([np.array(thing.position_m) + way, np.broadcast_to(turn, (len(placed), 4))], axis=1)
