"""A clip as the messages of SONIC's stream protocol, and what a bad network makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.hand_bus import SIDES
from runtime.clip import Clip
from runtime.errors import Refused
from runtime.hand import HandModel
from runtime.hand_track import HandTrack
from runtime.packed_message import ORDER, encode
from runtime.resample import at_rate
from runtime.robot import JointOrder
from runtime.stitch import RATE_HZ

WINDOW = 5
"""Rolling frames of a message, as SONIC's headset sender has it."""
_HANDS = tuple(f"{side}_hand_joints" for side in SIDES)
_CHANNELS = {1: (), 2: ("smpl_joints", "smpl_pose", "smpl_quat_wxyz"),
             3: ("smpl_joints", "smpl_pose", "smpl_quat_wxyz"), 4: ("token",)}


def messages(
    clip: Clip, version: int, topic: str = "pose", window: int = WINDOW, hands: HandModel | None = None,
    repeat: int = 1,
) -> Iterator[bytes]:
    """One message a frame at 50 Hz, each with the last `window` frames.

    Args:
        hands: whose joints to send where the clip says what its hands do; the protocol has room for seven a hand.
        repeat: how many times; numbers go on, for a listener takes small ones for overtaken frames at first.

    Raises:
        Refused: the clip lacks the channels or the joints that this version carries.
    """
    missing = [name for name in _CHANNELS[version] if name not in clip.channels]
    if missing or (version == 1 and clip.joints != "all"):
        found = f"no {', '.join(missing)}" if missing else "a human's motion, of which only the wrists are a robot's"
        raise Refused(f"clip {clip.name} as protocol {version}",
                      expected=f"channels {', '.join(_CHANNELS[version])}" if missing else "a robot's joints",
                      found=found, what_to_do="convert a human's motion (docs/motions.md), or another --protocol")
    clip = at_rate(clip, RATE_HZ)
    columns = clip.order.index_of(JointOrder(ORDER))
    arrays = {"joint_pos": clip.joint_pos[:, columns], "joint_vel": clip.joint_vel[:, columns]}
    track = HandTrack(clip)
    quats = clip.root_quat_wxyz if version in (1, 4) else clip.channels["smpl_quat_wxyz"]
    frames = len(clip.joint_pos)
    for number in range(frames * repeat):
        frame = number % frames
        rows = slice(max(0, frame - window + 1), frame + 1)
        if version == 4:
            rows = slice(frame, frame + 1)
        count = rows.stop - rows.start
        fields: dict[str, npt.NDArray[Any]] = {
            "body_quat": quats[rows].astype(np.float32),
            "frame_index": np.arange(rows.start, rows.stop, dtype=np.int64) + (number - frame),
        }
        if version in (1, 3):
            fields |= {name: values[rows].astype(np.float32) for name, values in arrays.items()}
        if version in (2, 3):
            fields["smpl_joints"] = clip.channels["smpl_joints"][rows].reshape(count, 24, 3).astype(np.float32)
            fields["smpl_pose"] = clip.channels["smpl_pose"][rows].reshape(count, 21, 3).astype(np.float32)
        if version == 4:
            fields["token_state"] = clip.channels["token"][frame].astype(np.float32)
        if hands is not None:
            told = enumerate(track.at(frame / RATE_HZ).tolist())
            fields |= {_HANDS[side]: hands.states_rad[state, side] for side, state in told if state >= 0}
        yield encode(topic, version, fields)


def command(*, start: bool = False, stop: bool = False) -> bytes:
    """A message of the topic `command`."""
    flags = {"start": start, "stop": stop, "planner": False}
    return encode("command", 1, {name: np.array([value], np.uint8) for name, value in flags.items()})


class BadNetwork:
    """When each message leaves: some lost, some late, so that they overtake each other, some twice.

    Args:
        loss, twice: shares of the messages.
        jitter_s: the longest delay; uniform.
    """

    def __init__(self, loss: float, jitter_s: float, twice: float, seed: int = 0) -> None:
        self._loss, self._jitter_s, self._twice = loss, jitter_s, twice
        self._random = np.random.default_rng(seed)

    def departures(self, due_s: float) -> list[float]:
        """Times at which a message that is due leaves; none where it is lost."""
        if self._random.random() < self._loss:
            return []
        times = [due_s + self._random.uniform(0, self._jitter_s)]
        if self._random.random() < self._twice:
            times.append(due_s + self._random.uniform(0, self._jitter_s))
        return times
