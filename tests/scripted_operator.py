"""An operator on simulated time: engages, steers, streams, lets go and falls silent when a test says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from runtime.mux import Source
from runtime.operator_message import pose_form, stream_form
from runtime.records import stream_dtype
from runtime.robot import Robot


class ScriptedOperator:
    """Stands for the operator's process in `Lockstep`.

    Attributes:
        is_heard: its commander's messages arrive; is_alive: its process runs.
        frames: called at every look for the streamed frames of that instant.
    """

    def __init__(self) -> None:
        self.engages, self.source, self.held = 0, Source.NONE, False
        self.command = (0.0, 0.0, 0.0)
        self.stop = 0
        self.is_heard = self.is_alive = True
        self.frames: Callable[[int], Iterable[bytes]] = lambda now_ns: ()

    def engage(self, source: Source, command: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
        """A fresh gesture, the dead-man held; handing back leaves nobody who has to hold it."""
        self.engages, self.source, self.command = self.engages + 1, source, command
        self.held = source is not Source.CLIP

    def release(self) -> None:
        """Let go of the dead-man."""
        self.held, self.command = False, (0.0, 0.0, 0.0)

    def look(self, now_ns: int, record: Any) -> Iterable[bytes]:
        """As the operator's process publishes it."""
        if self.is_alive:
            record["beat_ns"] = now_ns
            record["heard_ns"] = now_ns if self.is_heard else record["heard_ns"]
            record["engages"], record["source"], record["held"] = self.engages, self.source, self.held
            record["command"], record["stop"] = self.command, self.stop
        return self.frames(now_ns)


class Streamer:
    """A sender of frames with its own clock, and a way that is not perfect.

    Args:
        robot: whose table the joints follow.
        pose: seconds since the first frame -> (joint_pos, root_pos, root_quat_wxyz); velocities are its differences.
        hz: frames a second.
        clock_ns: the sender's clock minus ours.
        delay_ns: how long frame i is under way.
    """

    def __init__(
        self, robot: Robot, pose: Callable[[float], tuple[Any, Any, Any]], *, hz: float = 50.0,
        clock_ns: int = -123_456_789_000, delay_ns: Callable[[int], int] = lambda i: 5_000_000,
    ) -> None:
        self._pose, self._period_ns, self._clock_ns, self._delay_ns = pose, round(1e9 / hz), clock_ns, delay_ns
        self.record = np.zeros(1, stream_dtype(len(robot.joints)))
        self._form = stream_form(pose_form(robot.order.names).names)
        self._began_ns = -1
        self.sent = 0
        self.change: Callable[[int, Any], bool] = lambda i, record: True

    def __call__(self, now_ns: int) -> Iterable[bytes]:
        """The frames that arrive by now and have not before."""
        if self._began_ns < 0:
            self._began_ns = now_ns
        while self._began_ns + self.sent * self._period_ns + self._delay_ns(self.sent) <= now_ns:
            made_ns = self._began_ns + self.sent * self._period_ns
            self.fill((made_ns - self._began_ns) * 1e-9)
            self.record["source_ns"] = made_ns + self._clock_ns
            self.record["received_ns"] = made_ns + self._delay_ns(self.sent)
            self.record["sequence"], self.record["form"] = self.sent, self._form
            self.sent += 1
            if self.change(self.sent - 1, self.record[0]):
                yield self.record.tobytes()

    def fill(self, time_s: float) -> None:
        """The frame of a time."""
        joints, root, quat = self._pose(time_s)
        before, _, _ = self._pose(time_s - 0.01)
        self.record["joint_pos"][0], self.record["joint_vel"][0] = joints, (np.asarray(joints) - before) / 0.01
        self.record["root_pos"][0], self.record["root_quat_wxyz"][0] = root, quat
