"""A BVH file: its joints, and where each is in each frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.errors import Refused

F64 = npt.NDArray[np.float64]
MOST_JOINTS = 512


@dataclass(frozen=True)
class Bvh:
    """A file as it stands: own units, own axes.

    Attributes:
        names: of the joints; `End Site`s are named after their parent, with `_end`.
        parents: index of each joint's parent, -1 for the root.
        offsets: (J, 3).
        channels: (letter, axis) of each joint: "p" or "r", 0 to 2; in the order of the file.
        frame_s: time between frames.
        values: (T, C).
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: F64
    channels: tuple[tuple[tuple[str, int], ...], ...]
    frame_s: float
    values: F64

    def world(self, values: F64) -> tuple[F64, F64]:
        """Rows of `values` as rotations (T, J, 3, 3), turned in the order of the channels, and positions (T, J, 3)."""
        frames, count = len(values), len(self.names)
        R, p = np.empty((frames, count, 3, 3)), np.empty((frames, count, 3))
        column = 0
        for joint, (parent, channels) in enumerate(zip(self.parents, self.channels, strict=True)):
            local, place = np.broadcast_to(np.eye(3), (frames, 3, 3)), np.tile(self.offsets[joint], (frames, 1))
            for kind, axis in channels:
                if kind == "p":
                    place[:, axis] = values[:, column]  # a position channel stands for the offset (as cgspeed writes)
                else:
                    local = local @ _turn(axis, np.radians(values[:, column]))
                column += 1
            if parent < 0:
                R[:, joint], p[:, joint] = local, place
            else:
                R[:, joint] = R[:, parent] @ local
                p[:, joint] = p[:, parent] + (R[:, parent] @ place[..., None])[..., 0]
        return R, p


def _turn(axis: int, angle: F64) -> F64:
    out = np.zeros((len(angle), 3, 3))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    out[:, axis, axis] = 1
    out[:, a, a] = out[:, b, b] = np.cos(angle)
    out[:, b, a] = np.sin(angle)
    out[:, a, b] = -out[:, b, a]
    return out


def parse_bvh(what: str, text: str) -> Bvh:
    """A file's text.

    Raises:
        Refused: it is no BVH, is cut short, or holds something else than numbers.
    """
    head, found, motion = text.partition("MOTION")
    if not found or "HIERARCHY" not in head:
        raise _damaged(what, "HIERARCHY and MOTION", "another text")
    names, parents, offsets, channels = _hierarchy(what, head)
    words = motion.replace("Frames:", " ").replace("Frame Time:", " ").split()
    width = sum(len(own) for own in channels)
    try:
        frames, frame_s = int(words[0]), float(words[1])
        values = np.array(words[2 : 2 + frames * width], np.float64)
    except (IndexError, ValueError, OverflowError) as error:
        raise _damaged(what, "numbers after MOTION", str(error)[:120]) from None
    if frames < 1 or values.size != frames * width:
        raise _damaged(what, f"{frames} frames of {width} numbers", f"{values.size} numbers in all")
    if not np.isfinite(values).all():
        frame = int(np.argmin(np.isfinite(values.reshape(frames, width)).all(axis=1)))
        raise _damaged(what, "finite numbers", f"another in frame {frame}")
    if not (math.isfinite(frame_s) and 1e-3 <= frame_s <= 1):
        raise _damaged(what, "a frame time between 0.001 and 1 s", f"{frame_s}")
    return Bvh(tuple(names), tuple(parents), np.array(offsets).reshape(-1, 3), tuple(channels), frame_s,
               values.reshape(frames, width))


def _damaged(what: str, expected: str, found: str) -> Refused:
    return Refused(what, expected=expected, found=found, what_to_do="the file is damaged or no BVH: export it again")


Channels = tuple[tuple[str, int], ...]


def _hierarchy(what: str, text: str) -> tuple[list[str], list[int], list[list[float]], list[Channels]]:
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[Channels] = []
    path: list[int] = []
    words = text.split()
    at = words.index("HIERARCHY") + 1
    try:
        while at < len(words):
            word = words[at]
            if word in ("ROOT", "JOINT", "End"):
                parent = path[-1] if path else -1
                if (word == "ROOT") != (not names) or len(names) >= MOST_JOINTS:
                    raise _damaged(what, f"one ROOT, at most {MOST_JOINTS} joints", "another hierarchy")
                names.append(f"{names[parent]}_end" if word == "End" else words[at + 1])
                parents.append(parent)
                offsets.append([0.0, 0.0, 0.0])
                channels.append(())
                at += 2
            elif word == "{":
                path.append(len(names) - 1)
                at += 1
            elif word == "}":
                path.pop()
                at += 1
            elif word == "OFFSET":
                offsets[path[-1]] = [float(number) for number in words[at + 1 : at + 4]]
                at += 4
            elif word == "CHANNELS":
                count = int(words[at + 1])
                channels[path[-1]] = tuple(_channel(what, name) for name in words[at + 2 : at + 2 + count])
                at += 2 + count
            else:
                raise _damaged(what, "ROOT, JOINT, End Site, OFFSET, CHANNELS and braces", word[:40])
    except (IndexError, ValueError):
        raise _damaged(what, "a whole hierarchy", "one cut short or with something else than numbers") from None
    if path or not names or len({*names}) != len(names) or not np.isfinite(offsets).all():
        raise _damaged(what, "a closed hierarchy of joints, each named once, finite offsets", "another")
    return names, parents, offsets, channels


def _channel(what: str, name: str) -> tuple[str, int]:
    axis = "XYZ".find(name[:1])
    kind = {"position": "p", "rotation": "r"}.get(name[1:])
    if axis < 0 or kind is None:
        raise _damaged(what, "channels such as Xposition, Zrotation", name[:40])
    return kind, axis
