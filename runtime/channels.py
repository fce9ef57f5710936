"""Reference data beyond joints and root: named channels of fixed width, in clips, in frames, later in streams.

A channel is what a motion carries for a controller that does not follow joints: human (SMPL) joints, tracked hands and
head, latent tokens. Shapes and frames are those of NVlabs/GR00T-WholeBodyControl @ 1983e88 (SONIC).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import Refused

F64 = npt.NDArray[np.float64]
PREFIX = "channel_"
HUGE = 1e6
"""No motion holds such a number in rad, m or quaternion parts; squares of larger ones overflow further on."""


@dataclass(frozen=True)
class Channel:
    """One kind of reference data.

    Attributes:
        width: numbers a frame.
        meaning: for refusals and docs.
        rotations: its numbers are unit quaternions, w first, four by four.
        vectors: its numbers are rotation vectors, three by three.
        stepped: one thing or another, with nothing in between: of two frames the earlier one's stands.
        rate: a velocity: zero in a frozen reference.
        idle: what stands there until something fills it; zeros when empty.
        needed: a motion must bring it to a controller that reads it; otherwise `idle` stands for absence.
        choices: the only numbers there are; any when empty.
    """

    width: int
    meaning: str
    rotations: bool = False
    vectors: bool = False
    stepped: bool = False
    rate: bool = False
    idle: tuple[float, ...] = ()
    needed: bool = True
    choices: tuple[float, ...] = ()

    def idle_values(self) -> F64:
        """(width,) what a frame holds before anything fills it."""
        return np.array(self.idle) if self.idle else np.zeros(self.width)


_VR_POSITION = (0.0903, 0.1615, -0.2411, 0.1280, -0.1522, -0.2461, 0.0241, -0.0081, 0.4028)
_VR_ORIENTATION = (0.7295, 0.3145, 0.5533, -0.2506, 0.7320, -0.2639, 0.5395, 0.3217, 0.9991, 0.011, 0.0402, -0.0002)
_UPRIGHT = (1.0, 0.0, 0.0, 0.0)

CHANNELS: dict[str, Channel] = {
    "smpl_joints": Channel(72, "24 human joints x, y, z in the human root's frame, z up, m"),
    "smpl_quat_wxyz": Channel(4, "human root in world", rotations=True, idle=_UPRIGHT),
    "smpl_pose": Channel(63, "21 human body rotations as axis-angle vectors, rad", vectors=True),
    "vr_position": Channel(9, "left wrist, right wrist, head in the root's frame, m", idle=_VR_POSITION),
    "vr_orientation": Channel(12, "the same three as quaternions", rotations=True, idle=_VR_ORIENTATION),
    "vr_compliance": Channel(3, "compliance of the same three", needed=False),
    "vr5_position": Channel(15, "both wrists, head, both ankles in the root's frame, m"),
    "vr5_orientation": Channel(20, "the same five as quaternions", rotations=True, idle=_UPRIGHT * 5),
    "upper_body": Channel(18, "1 where it counts, then 17 upper-body joint positions, rad", needed=False),
    "upper_body_vel": Channel(17, "the 17 velocities, rad/s", rate=True, needed=False),
    "token": Channel(64, "latent motion token, given instead of an encoder's", stepped=True),
    "hand_states": Channel(2, "left and right hand: 0 open, 1 half-open, 2 closed, -1 as before", idle=(-1.0, -1.0),
                           needed=False, stepped=True, choices=(-1.0, 0.0, 1.0, 2.0)),
    "hand_joints": Channel(16, "of the left, then the right hand: 1 where it counts, then 7 joint positions, rad",
                           needed=False, stepped=True),
}
HAND_JOINTS = "hand_joints"
"""The channel that no controller reads: a stream's hands are told beside it."""


class ChannelTable:
    """Where channels stand in a row of numbers.

    Attributes:
        names: sorted.
        places: name -> slice, counted from the table's start.
        size: numbers in all.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = tuple(sorted(set(names)))
        self.places: dict[str, slice] = {}
        start = 0
        for name in self.names:
            self.places[name] = slice(start, start + CHANNELS[name].width)
            start += CHANNELS[name].width
        self.size = start
        self.turning = tuple(self.places[name] for name in self.names if CHANNELS[name].rotations)
        self.stepped = tuple(self.places[name] for name in self.names if CHANNELS[name].stepped)
        self.rates = tuple(self.places[name] for name in self.names if CHANNELS[name].rate)

    def idle(self) -> F64:
        """(size,) the channels before anything fills them."""
        return np.concatenate([np.zeros(0), *(CHANNELS[name].idle_values() for name in self.names)])

    def mix(self, a: F64, b: F64, s: float) -> F64:
        """(1 - s) a + s b; quaternions go the short way and stay unit; what is stepped is a's up to the middle."""
        out = (1 - s) * a + s * b
        for place in self.stepped:
            out[place] = (a if s < 0.5 else b)[place]
        for place in self.turning:
            out[place] = mix_rotations(a[place], b[place], s)
        return np.asarray(out)


def mix_rotations(a: F64, b: F64, s: float) -> F64:
    """Between rows of unit quaternions (4k,), the short way, normalised; close to slerp for the small steps in use."""
    p, q = a.reshape(-1, 4), b.reshape(-1, 4)
    turned = np.where((p * q).sum(axis=1, keepdims=True) < 0, -q, q)
    mixed = (1 - s) * p + s * turned
    return np.asarray((mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).reshape(-1))


def known_channel(name: str, what: str) -> Channel:
    """The channel of a name.

    Raises:
        Refused: there is none.
    """
    if name not in CHANNELS:
        near = difflib.get_close_matches(name, CHANNELS, 1)
        raise Refused(what, expected=f"a channel among {', '.join(CHANNELS)}", found=name,
                      what_to_do=f"did you mean {near[0]}?" if near else "see docs/clips.md for the channels")
    return CHANNELS[name]


def read_channels(what: str, arrays: Mapping[str, npt.NDArray[Any]], frames: int, fps: float) -> dict[str, F64]:
    """The checked `channel_<name>` arrays of a clip, (frames, width) each; quaternions are normalised.

    Raises:
        Refused: unknown name, wrong shape or type, non-finite values, quaternions that are not unit.
    """
    out = {}
    for key in sorted(key for key in arrays if key.startswith(PREFIX)):
        channel, array = known_channel(key.removeprefix(PREFIX), f"{what}, {key}"), arrays[key]
        if array.dtype.kind not in "fiu" or array.shape != (frames, channel.width):
            raise Refused(f"{what}, {key}", expected=f"real numbers of shape ({frames}, {channel.width})",
                          found=f"{array.dtype} of shape {array.shape}",
                          what_to_do="see docs/clips.md for the channels")
        with np.errstate(over="ignore"):
            values = array.astype(np.float64)
        finite = np.asarray((np.abs(values) < HUGE).all(axis=1))
        if not finite.all():
            raise Refused(f"{what}, {key}", expected="finite numbers", found=_where("not finite", finite, fps),
                          what_to_do="repair or cut the motion")
        if channel.choices:
            known = np.asarray(np.isin(values, channel.choices).all(axis=1))
            if not known.all():
                raise Refused(f"{what}, {key}", expected=f"numbers among {channel.choices}",
                              found=_where("another", known, fps), what_to_do="convert the motion again")
        if channel.rotations:
            quats = values.reshape(frames, -1, 4)
            norms = np.linalg.norm(quats, axis=2, keepdims=True)
            unit = (np.abs(norms[..., 0] - 1) <= 1e-2).all(axis=1)
            if not unit.all():
                raise Refused(f"{what}, {key}", expected="unit quaternions within 0.01",
                              found=_where("another norm", unit, fps), what_to_do="normalise the rotations, w first")
            values = (quats / norms).reshape(frames, -1)
        out[key.removeprefix(PREFIX)] = values
    return out


def _where(found: str, good: npt.NDArray[np.bool_], fps: float) -> str:
    frame = int(np.argmin(good))
    return f"{found} in frame {frame} ({frame / fps:.2f} s)"
