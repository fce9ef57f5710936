"""Which joints of a BVH file are which of a human's: names of the usual makers, and the chain between them.

Names of CMU's Daz-friendly release, of MotionBuilder (CMU, LAFAN1), Mixamo (with its prefix) and of exporters that name
joints by what they are. Case and what stands before a colon do not count.
"""

from __future__ import annotations

from dataclasses import dataclass

from export.motion.bvh_file import Bvh
from runtime.errors import Refused

PELVIS = ("hips", "hip", "pelvis")
NECK = ("neck",)
HEAD = ("head",)
SIDED = {
    "hip": ("{l}thigh", "{left}upleg", "{left}upperleg", "{left}hip", "{left}thigh"),
    "knee": ("{l}shin", "{left}leg", "{left}lowerleg", "{left}knee", "{left}shin"),
    "ankle": ("{l}foot", "{left}foot", "{left}ankle"),
    "foot": ("{l}toe", "{left}toebase", "{left}toe"),
    "collar": ("{l}collar", "{left}shoulder", "{left}collar", "{left}clavicle"),
    "shoulder": ("{l}shldr", "{left}arm", "{left}upperarm", "{left}uparm", "{left}shoulder"),
    "elbow": ("{l}forearm", "{left}forearm", "{left}lowerarm", "{left}lowarm", "{left}elbow"),
    "wrist": ("{l}hand", "{left}hand", "{left}wrist"),
    "hand": ("{l}mid1", "{left}handmiddle1", "{left}handindex1", "{left}handend"),
}
"""Of each joint on a side, the nearest to the root first where a name stands for two ("LeftShoulder")."""
OPTIONAL = frozenset({"foot", "collar", "hand"})

LAFAN1_REST_DEG = {
    "leftupleg": {2: 180.0, 0: 180.0}, "rightupleg": {2: 180.0, 0: 180.0},
    "leftfoot": {2: 68.5454}, "rightfoot": {2: 68.5454}, "lefttoe": {2: 21.4546}, "righttoe": {2: 21.4546},
    "leftshoulder": {2: -90.0, 1: -90.0, 0: -90.0}, "rightshoulder": {2: -90.0, 1: 90.0, 0: 90.0},
}
"""The T-pose of LAFAN1's skeleton, angles about its axes: with all angles zero its bones lie along x in one line.

Read off a first frame of its published files (all of one skeleton, the toes' angle is constant), rounded to where the
bones stand straight; agrees with the pelvis, leg and forearm offsets of YanjieZe/GMR
`ik_configs/bvh_lafan1_to_openloong.json` @ 0b22e42.
"""


@dataclass(frozen=True)
class Chosen:
    """Joints of a file by the names of `HUMAN_JOINTS`; those it has not are missing; spines may stand for two."""

    joints: dict[str, int]
    ends: dict[str, int]
    """Where an ankle, a wrist or the head has no further joint: its End Site."""


def plain_name(name: str) -> str:
    """A joint's name without what makers put around it."""
    return name.rpartition(":")[2].removeprefix("mixamorig").replace("_", "").replace(" ", "").lower()


def choose_joints(what: str, bvh: Bvh) -> Chosen:
    """The joints of a human among those of a file.

    Raises:
        Refused: one that is needed is not there, or hangs elsewhere than on a human.
    """
    at: dict[str, int] = {}
    for index, name in enumerate(bvh.names):
        at.setdefault(plain_name(name), index)
    found: dict[str, int] = {}
    missing = []
    for joint, names in {"pelvis": PELVIS, "neck": NECK, "head": HEAD}.items():
        fitting = [at[name] for name in names if name in at]
        if not fitting:
            missing.append(joint)
        else:
            found[joint] = fitting[0]
    for side, letter in (("left", "l"), ("right", "r")):
        for part, patterns in SIDED.items():
            spelled = [pattern.format(l=letter, left=side) for pattern in patterns]
            fitting = [at[name] for name in spelled if name in at and at[name] not in found.values()]
            if fitting:
                found[f"{side}_{part}"] = fitting[0]
            elif part not in OPTIONAL:
                missing.append(f"{side}_{part}")
    if missing:
        raise Refused(what, expected="a human's joints, named as CMU, LAFAN1, MotionBuilder, Mixamo or Daz name them",
                      found=f"none for {', '.join(missing)} among {', '.join(bvh.names[:40])}",
                      what_to_do="rename its joints in the file (docs/motions.md has the names)")
    spine = _between(what, bvh, found["neck"], found["pelvis"])
    for joint, index in _spines(spine).items():
        found[joint] = index
    for side in ("left", "right"):
        for upper, lower in (("pelvis", "hip"), ("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"),
                             ("elbow", "wrist"), ("pelvis", "shoulder")):
            _between(what, bvh, found[f"{side}_{lower}"], found["pelvis" if upper == "pelvis" else f"{side}_{upper}"])
    ends = {}
    for joint in ("left_ankle", "right_ankle", "left_wrist", "right_wrist", "head"):
        name = f"{bvh.names[found[joint]]}_end"
        if name in bvh.names:
            ends[joint] = bvh.names.index(name)
    return Chosen(found, ends)


def _between(what: str, bvh: Bvh, low: int, high: int) -> list[int]:
    """The joints between two, from above; refuses where one does not hang on the other."""
    path: list[int] = []
    index = bvh.parents[low]
    while index != high:
        if index < 0:
            raise Refused(what, expected=f"{bvh.names[low]} below {bvh.names[high]}", found="another hierarchy",
                          what_to_do="rename its joints in the file (docs/motions.md has the names)")
        path.append(index)
        index = bvh.parents[index]
    return path[::-1]


def _spines(path: list[int]) -> dict[str, int]:
    """Three joints of the back out of as many as the file has: the lowest, the middle one, the highest."""
    if not path:
        return {}
    return {"spine1": path[0], "spine2": path[len(path) // 2], "spine3": path[-1]}
