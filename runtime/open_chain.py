"""The motion of a chain that may still grow: it begins and ends standing, and goes on from wherever it has come to.

Whatever is played is a whole motion at every moment: behind the last action lies a way back to standing. An action that
is appended early enough is joined to the last one instead, as in a chain that was whole from the beginning; one that
comes when the robot is on its way to standing, or stands, begins from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runtime import hand_track, rotation
from runtime.chain import LONGEST_S, Action, action_clip
from runtime.channels import CHANNELS, ChannelTable
from runtime.clip import Clip, make_clip
from runtime.controller import idle_frame
from runtime.manifest import Manifest
from runtime.needs import check_clip_feeds
from runtime.stitch import RATE_HZ, reordered
from runtime.tape import Tape

STAND, STAND_S = "standing", 1.5
STAND_BLENDS_S, START_BLENDS_S = (1.0, 0.7, 0.5, 0.4, 0.3), (0.5, 0.7, 1.0, 0.4, 0.3)
"""Ways to standing, and from it: as long as the pilot takes, other lengths where a joint would leave its range.

The way to standing begins at the last frame of an action. Cut where it is nearest to standing instead, within the last
0.6 s, our walk's fast clip made the tracker ask for up to 1.4 of the gate's rate limit (0.33 from the last frame).
"""


@dataclass(frozen=True)
class OpenChain:
    """What is to be played, as far as it is known.

    Attributes:
        tape: of the actions, from standing on.
        closed: the same with its way back to standing: what is played.
        ending: the frame from which on the two differ.
        changed: the frame from which on `closed` differs from what was to be played before.
    """

    tape: Tape
    closed: Tape
    ending: int
    changed: int


class ChainBuilder:
    """Makes open chains for one controller.

    Args:
        channels: what it reads besides joints and root; a clip's other channels but for states of hands are left out.
    """

    def __init__(self, manifest: Manifest, mode: str, channels: ChannelTable) -> None:
        self._manifest, self._mode, self._channels = manifest, mode, channels
        self._q = np.zeros(len(manifest.robot.joints))
        self._q[manifest.robot.order.index_of(manifest.order)] = manifest.default_pose
        self._idle = idle_frame(manifest)

    def clip_of(self, action: Action, what: str) -> Clip:
        """An action's clip with the joints in the robot's order and the controller's channels.

        Raises:
            Refused: as `action_clip`; it brings not what the controller reads.
        """
        clip = action_clip(action, what, self._manifest.robot)
        check_clip_feeds(self._manifest, self._mode, clip)
        frames = len(clip.joint_pos)
        channels = {name: clip.channels[name] for name in (hand_track.CHANNEL,) if name in clip.channels}
        channels |= {
            name: clip.channels.get(name, np.broadcast_to(CHANNELS[name].idle_values(), (frames, CHANNELS[name].width)))
            for name in self._channels.names}
        clip = make_clip(clip.name, clip.fps, clip.order, clip.joint_pos, clip.root_pos, clip.root_quat_wxyz, channels,
                         joints=clip.joints)
        return reordered(clip, self._manifest.robot.order)

    def standing(self, like: Clip, frame: int) -> Clip:
        """A while of standing, facing as a frame of a clip does; with its channels where the manifest has none."""
        frames = round(STAND_S * RATE_HZ) + 1
        quat = rotation.quat_about_z(rotation.heading_rad(like.root_quat_wxyz[frame]))
        own = self._manifest.idle_channels
        channels = {name: self._idle.channels[name] if name in own else values[frame]
                    for name, values in like.channels.items()}

        def rows(values: object) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
            return np.repeat(np.asarray(values, np.float64)[None], frames, axis=0)

        place = np.array([*like.root_pos[frame, :2], self._manifest.idle_height_m])
        return make_clip(STAND, RATE_HZ, like.order, rows(self._q), rows(place), rows(quat),
                         {name: rows(values) for name, values in channels.items()}, joints=like.joints)

    def begin(self, parts: Sequence[tuple[Action, Clip]]) -> OpenChain:
        """From standing.

        Raises:
            Refused: as `Tape.append`, also where there is no way back to standing.
        """
        tape = Tape(self._manifest.robot, LONGEST_S)
        tape.append(self.standing(parts[0][1], 0))
        return self._grown(tape, parts, 0, 0)

    def grow(self, chain: OpenChain, parts: Sequence[tuple[Action, Clip]], earliest: int) -> OpenChain:
        """On with more actions; `chain` stays as it is.

        Args:
            earliest: the first frame that may still be changed.

        Raises:
            Refused: as `begin`.
        """
        if not parts:
            return chain
        if earliest < chain.ending:
            return self._grown(chain.tape.copy(), parts, earliest, chain.ending)
        return self._grown(chain.closed.copy(), parts, earliest, chain.closed.frames - 1)

    def _grown(self, tape: Tape, parts: Sequence[tuple[Action, Clip]], earliest: int, changed: int) -> OpenChain:
        for action, clip in parts:
            for _ in range(action.repeats):
                assert tape.tail is not None
                stands = tape.tail.name == STAND and action.blend_s is None
                at = tape.append(clip, START_BLENDS_S if stands else action.blends_s, earliest)
                changed = min(changed, at)
        closed = tape.copy()
        assert closed.tail is not None
        ending = closed.append(self.standing(closed.tail, -1), STAND_BLENDS_S, closed.frames - 1)
        return OpenChain(tape, closed, ending, min(changed, ending))
