"""A human's motion as SMPL frames over a bad link into a tracker of joints, on simulated time."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from export.motion.stream_sender import messages
from export.recorder import settings_for
from runtime.channels import ChannelTable
from runtime.clip import Clip, make_clip
from runtime.faults import Mode
from runtime.mux import Source
from runtime.settings import GATE_HZ
from runtime.stream_human import StreamHuman
from runtime.stream_intake import StreamIntake
from runtime.stream_process import default_q
from tests.handover_trial import OperatedRun
from tests.scripted_operator import ScriptedOperator

MS = 1_000_000
FRAME_NS = 20 * MS


def there_and_back(clip: Clip, seconds: float = 0.0) -> Clip:
    """A clip, backwards behind it, and so on for at least so long: a stream without a seam."""
    frames = len(clip.joint_pos)
    order = np.concatenate([np.arange(frames), np.arange(frames - 2, 0, -1)])
    order = np.tile(order, max(1, -(-round(seconds * clip.fps) // len(order))))
    return make_clip(clip.name, clip.fps, clip.order, clip.joint_pos[order], clip.root_pos[order],
                     clip.root_quat_wxyz[order], {name: values[order] for name, values in clip.channels.items()},
                     joints=clip.joints)


@dataclass
class Followed:
    """What became of one run.

    Attributes:
        engaged_s: since it began to track; None: never.
        followed_s: for how long. demanded: the largest step asked for meanwhile, of the gate's rate limit.
        faults: flags that had a reaction.
    """

    engaged_s: float | None = None
    followed_s: float = 0.0
    demanded: float = 0.0
    fell: bool = False
    faults: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Engaged, to the motion's end, upright and without a flag."""
        return self.engaged_s is not None and not self.fell and not self.faults


class HumanRun(OperatedRun):
    """A robot that follows a human as `motion stream` sends one.

    Args:
        clip: with the human's channels.
        begins_s: into the run; before, nobody sends.
    """

    def __init__(self, clip: Clip, seed: int = 0, *, loss: float = 0.05, twice: float = 0.05, jitter_ms: int = 20,
                 begins_s: float = 0.0) -> None:
        super().__init__(replace(settings_for("g1-tracker"), stream="tcp://127.0.0.1:1"), operator=ScriptedOperator())
        manifest = self.policy.manifest
        self._frames: list[bytes] = []
        self.intake = StreamIntake(manifest.robot, ChannelTable(), default_q(manifest), manifest.idle_height_m,
                                   lambda record: self._frames.append(record.tobytes()),
                                   human=lambda: StreamHuman(manifest.robot))
        draw, due, sent_ns = random.Random(seed), list[tuple[int, bytes]](), 10**9 + round(begins_s * 1e9)
        for data in messages(clip, 2):
            for _ in range((draw.random() >= loss) + (draw.random() < twice)):
                due.append((sent_ns + draw.randint(1, jitter_ms * MS), data))
            sent_ns += FRAME_NS
        self._due, self.ends_ns = sorted(due)[::-1], sent_ns
        self.operator.frames = self.hear

    def hear(self, now_ns: int) -> Iterable[bytes]:
        """What has arrived by now."""
        self._frames.clear()
        while self._due and self._due[-1][0] <= now_ns:
            at_ns, data = self._due.pop()
            self.intake.take(data, at_ns)
        self.stream["newest_ns"] = self.intake.newest_ns
        return list(self._frames)

    def follow(self) -> Followed:
        """Until the human's last frame."""
        out, tracked_ticks, followed_ticks = Followed(), 0, 0
        with np.errstate(all="ignore"):
            while self.now_ns < self.ends_ns and not self.is_over:
                self.operate()
                self.tick()
                tracked_ticks += self.gate.machine.mode is Mode.TRACK
                if self.policy.helm.source is Source.STREAM:
                    followed_ticks += 1
                    if out.engaged_s is None:
                        out.engaged_s = tracked_ticks / GATE_HZ
                        self.steps["tracker"].demanded = 0.0
        out.followed_s, out.demanded = followed_ticks / GATE_HZ, self.steps["tracker"].demanded
        out.fell, out.faults, out.notices = self.fell, self.faults, list(self.policy.helm.notices)
        return out
