"""The T-pose of a BVH's figure: where it is found, whether it is one, and the bones in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.motion.bvh_file import Bvh
from export.motion.bvh_names import LAFAN1_REST_DEG, Chosen, plain_name
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, HUMAN_PARENTS, PLAIN

F64 = npt.NDArray[np.float64]
STRAIGHT_DEG = 25.0
"""How far arms and legs may be from a T's: Daz's figure bends its forearms 17 degrees forward."""
MOST_FRAMES_BEFORE = 3
"""A motion needs as many after the T-pose."""
NEARLY_DEG = 10.0
"""How far where the pose with all angles zero is an A, which says as much."""
ARMS = ("shoulder", "elbow", "wrist", "hand")


@dataclass(frozen=True)
class Rest:
    """A figure at rest.

    Attributes:
        axes: (3, 3) columns: its left, up and forward in the file's axes.
        rotations: (24, 3, 3) of each human joint's source in the file's world.
        positions: (24, 3) in the file's units; NaN where the file has no such joint.
        sources: which joint of the file turns each human joint.
        legs, height: thigh and shin; from the lowest to the highest point; in the file's units.
        first_frame: 1 where frame 0 is the pose at rest.
        note: what was assumed.
    """

    axes: F64
    rotations: F64
    positions: F64
    sources: tuple[int, ...]
    legs: float
    height: float
    first_frame: int
    note: str


def find_rest(what: str, bvh: Bvh, chosen: Chosen) -> Rest:
    """The figure's T-pose.

    Raises:
        Refused: there is none.
    """
    zero = np.where([kind == "r" for own in bvh.channels for kind, _ in own], 0.0, bvh.values[0])
    lafan1 = _lafan1(bvh, zero)
    if lafan1 is not None:
        return _rest_of(bvh, chosen, lafan1, 0, "LAFAN1's T-pose taken for rest")
    plain = _rest_of(bvh, chosen, zero, 0, "no T-pose among the frames: the pose with all angles zero taken for rest")
    off, raised = _off_t_deg(plain), None
    if max(off.values()) > STRAIGHT_DEG:
        raised = _arms_raised(plain)
    if len(bvh.values) > MOST_FRAMES_BEFORE:
        first = _rest_of(bvh, chosen, bvh.values[0], 1, "frame 0 is a T-pose: taken for rest and left out")
        off_first = _off_t_deg(first)
        # someone who begins with his arms out is no figure at rest: frame 0 has to be as good a T as the other
        if max(off_first.values()) <= min(STRAIGHT_DEG if raised is None else NEARLY_DEG, max(off.values()) + 1):
            return first
    if max(off.values()) <= STRAIGHT_DEG:
        return plain
    if raised is not None:
        return raised
    raise Refused(what, expected=f"a T-pose within {STRAIGHT_DEG:.0f} deg, in frame 0 or with all angles zero",
                  found="with all angles zero " + ", ".join(f"{part} {deg:.0f} deg off" for part, deg in off.items()
                                                            if deg > STRAIGHT_DEG),
                  what_to_do="put a T-pose before the motion as its first frame")


def _lafan1(bvh: Bvh, zero: F64) -> F64 | None:
    """Values of LAFAN1's T-pose, if it is that skeleton: its bones all lie along x."""
    names = [plain_name(name) for name in bvh.names]
    along_x = [abs(offset[0]) > 0.99 * np.linalg.norm(offset) for name, offset in zip(names, bvh.offsets, strict=True)
               if name in ("leftleg", "leftfoot", "leftforearm", "rightleg", "rightfoot", "rightforearm")]
    if len(along_x) < 6 or not all(along_x) or not set(LAFAN1_REST_DEG) <= set(names):
        return None
    flat = [(name, kind, axis) for name, own in zip(names, bvh.channels, strict=True) for kind, axis in own]
    return np.array([LAFAN1_REST_DEG.get(name, {}).get(axis, 0.0) if kind == "r" else value
                     for (name, kind, axis), value in zip(flat, zero, strict=True)])


def _rest_of(bvh: Bvh, chosen: Chosen, values: F64, first: int, note: str) -> Rest:
    R, p = (array[0] for array in bvh.world(values[None]))
    at = chosen.joints
    sources: list[int] = []
    positions = np.full((len(HUMAN_JOINTS), 3), np.nan)
    for joint, (name, parent) in enumerate(zip(HUMAN_JOINTS, HUMAN_PARENTS, strict=True)):
        sources.append(at.get(name, sources[parent] if parent >= 0 else 0))
        is_shared = name != "pelvis" and sources[joint] == sources[parent]
        if name in at and not is_shared:
            positions[joint] = p[at[name]]
    for side in ("left", "right"):
        for name, above in ((f"{side}_foot", f"{side}_ankle"), (f"{side}_hand", f"{side}_wrist")):
            if name not in at and above in chosen.ends:
                positions[HUMAN_JOINTS.index(name)] = p[chosen.ends[above]]
            if name.endswith("hand"):  # fingers are no part of it: the hand goes with the wrist
                sources[HUMAN_JOINTS.index(name)] = sources[HUMAN_JOINTS.index(above)]
    place = {name: positions[HUMAN_JOINTS.index(name)] for name in HUMAN_JOINTS}
    legs = sum(float(np.linalg.norm(place[f"left_{low}"] - place[f"left_{high}"]))
               for high, low in (("hip", "knee"), ("knee", "ankle")))
    axes = _axes(place)
    along = p @ axes[:, 1]
    return Rest(axes, R[sources], positions, tuple(sources), max(legs, 1e-9), max(float(np.ptp(along)), 1e-9), first,
                note)


def _axes(place: dict[str, F64]) -> F64:
    """Left, up, forward of a figure: up the file's axis nearest to where its head is, left from hip to hip."""
    trunk = place["head"] - place["pelvis"]
    up = np.zeros(3)
    up[int(np.argmax(np.abs(trunk)))] = np.sign(trunk[int(np.argmax(np.abs(trunk)))]) or 1.0
    left = place["left_hip"] - place["right_hip"]
    left = left - (left @ up) * up
    size = float(np.linalg.norm(left))
    if size < 1e-9:
        left, size = np.roll(up, 1), 1.0
    left = left / size
    nearest = np.zeros(3)
    nearest[int(np.argmax(np.abs(left)))] = np.sign(left[int(np.argmax(np.abs(left)))])
    left = nearest if left @ nearest > np.cos(np.radians(5)) else left  # hips that are not quite level with the axes
    return np.stack([left, up, np.cross(left, up)], axis=1)


def _directions(rest: Rest) -> dict[str, F64]:
    """Of limbs, in the figure's axes."""
    place = dict(zip(HUMAN_JOINTS, rest.positions @ rest.axes, strict=True))
    out = {}
    for side in ("left", "right"):
        for high, low in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")):
            bone = place[f"{side}_{low}"] - place[f"{side}_{high}"]
            out[f"{side}_{high}"] = bone / max(float(np.linalg.norm(bone)), 1e-9)
    return out


def _off_t_deg(rest: Rest) -> dict[str, float]:
    """How far each limb is from where it is in a T."""
    out = {}
    for name, way in _directions(rest).items():
        wanted = np.array([1.0 if name.startswith("left") else -1.0, 0, 0]) if name.endswith(("shoulder", "elbow")) \
            else np.array([0.0, -1.0, 0.0])
        out[name] = float(np.degrees(np.arccos(np.clip(way @ wanted, -1, 1))))
    return out


def _arms_raised(rest: Rest) -> Rest | None:
    """An A-pose with its arms raised to a T; None where it is none."""
    off, ways = _off_t_deg(rest), _directions(rest)
    if any(off[f"{side}_{part}"] > STRAIGHT_DEG for side in ("left", "right") for part in ("hip", "knee")):
        return None
    rotations, positions, deg = rest.rotations.copy(), rest.positions.copy(), 0.0
    for side, out in (("left", 1.0), ("right", -1.0)):
        arm, forearm = ways[f"{side}_shoulder"], ways[f"{side}_elbow"]
        is_hanging = arm[0] * out > 0.1 and arm[1] < 0 and abs(arm[2]) < 0.4
        if not is_hanging or arm @ forearm < np.cos(np.radians(STRAIGHT_DEG)):
            return None
        raising = rest.axes @ _shortest(arm, np.array([out, 0.0, 0.0])) @ rest.axes.T
        joints = [HUMAN_JOINTS.index(f"{side}_{part}") for part in ARMS]
        pivot = rest.positions[joints[0]]
        for joint in joints:
            rotations[joint] = raising @ rotations[joint]
            positions[joint] = pivot + raising @ (rest.positions[joint] - pivot)
        deg = max(deg, off[f"{side}_shoulder"])
    return Rest(rest.axes, rotations, positions, rest.sources, rest.legs, rest.height, rest.first_frame,
                f"the pose with all angles zero is an A: its arms were raised by {deg:.0f} deg to take it for rest")


def _shortest(a: F64, b: F64) -> F64:
    """The rotation that takes unit vector a to b the short way; they are less than half a turn apart."""
    v, c = np.cross(a, b), float(a @ b)
    K = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.asarray(np.eye(3) + K + K @ K / (1 + c))


def rest_offsets(bvh: Bvh, chosen: Chosen, rest: Rest) -> F64:
    """(24, 3) bones at rest in the figure's axes, in the file's units; joints that the file has not stand between."""
    place = rest.positions @ rest.axes
    at = {name: index for index, name in enumerate(HUMAN_JOINTS)}
    plain = PLAIN.offsets_m * (rest.legs / 0.78)
    neck = place[at["neck"]]
    lacking = [name for name in ("spine1", "spine2", "spine3") if np.isnan(place[at[name]]).any()]
    for number, name in enumerate(lacking):
        below = place[HUMAN_PARENTS[at[name]]]
        place[at[name]] = below + (neck - below) / (len(lacking) - number + 2)
    for side in ("left", "right"):
        collar = at[f"{side}_collar"]
        if np.isnan(place[collar]).any():
            place[collar] = (place[at["spine3"]] + place[at[f"{side}_shoulder"]]) / 2
        for name in (f"{side}_foot", f"{side}_hand"):
            above = HUMAN_PARENTS[at[name]]
            if np.isnan(place[at[name]]).any() or np.linalg.norm(place[at[name]] - place[above]) < 1e-3 * rest.legs:
                place[at[name]] = place[above] + plain[at[name]]
    offsets = np.zeros_like(place)
    offsets[1:] = place[1:] - place[list(HUMAN_PARENTS[1:])]
    return offsets
