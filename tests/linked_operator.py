"""An operator on simulated time whose every word goes the whole way: client, datagram, lease, process, slot, ring."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from runtime.mux import Source
from runtime.operator_message import LARGEST, pose_form
from runtime.operator_process import OperatorProcess, Sources
from runtime.operator_view import OperatorView
from runtime.records import CONTROL_DTYPE, OPERATOR_DTYPE, STREAM_RING, status_dtype, stream_dtype
from runtime.robot import Robot
from runtime.settings import RunSettings
from runtime.slots import Ring, Slot
from runtime.teleop_client import TeleopClient
from tests.scripted_operator import ScriptedOperator

FRAME_NS = 20_000_000
FAR_CLOCK_NS = 7_000_000_000
"""The operator's clock minus the robot's."""
RUN = 77


def free_port() -> int:
    """A UDP port of loopback that nobody uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LinkedOperator(ScriptedOperator):
    """A person at `TeleopClient`, and the operator's process at the other end of a loopback socket.

    Attributes:
        record: (1,) what the process published last.
        pose: gives the streamed frame of a time, s since the first; None for nobody who streams.
    """

    def __init__(self, folder: Path, robot: Robot) -> None:
        super().__init__()
        settings = RunSettings(
            controller="", robot=robot.name, model=None, clip=None, command=(0.0, 0.0, 0.0), duration_s=None,
            target="sim", domain=1, interface=None, peers=(), out=str(folder), run=RUN, shared=str(folder),
            teleop="network", operator_bind=f"127.0.0.1:{free_port()}",
        )
        Slot(folder / "status", status_dtype(robot.motors), RUN, create=True).publish()
        Slot(folder / "control", CONTROL_DTYPE, RUN, create=True)
        OperatorView(folder, RUN, settings.operator, len(robot.joints))
        self._sources = Sources(settings, robot)
        self._process = OperatorProcess(settings, robot, self._sources)
        self._slot = Slot(folder / "operator", OPERATOR_DTYPE, RUN)
        self._ring = Ring(folder / "stream_ring", stream_dtype(len(robot.joints)), RUN, STREAM_RING)
        draw = random.Random(5)
        self.client = TeleopClient(None, lambda: draw.getrandbits(64), form=pose_form(robot.order.names))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(self._sources.links[0].address)
        self.resumes = 0
        self.pose: Callable[[float], tuple[Any, Any, Any]] | None = None
        self._began_ns = self._framed_ns = 0

    @property
    def record(self) -> Any:
        self._slot.read()
        return self._slot.record

    def engage(self, source: Source, command: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
        """A fresh gesture: the one that hands back for CLIP, else the other; the dead-man held."""
        self.resumes += source is Source.CLIP
        self.engages += source is not Source.CLIP
        self.command, self.held = command, True

    def look(self, now_ns: int, record: Any) -> Iterable[bytes]:
        """What is due is sent, taken in and published, all within this instant."""
        if self.is_heard:
            self._say(now_ns + FAR_CLOCK_NS)
        self._process.look(now_ns)
        with suppress(BlockingIOError):
            while True:
                self.client.take_in(self._socket.recv(LARGEST), now_ns + FAR_CLOCK_NS)
        published = self.record
        for name in OPERATOR_DTYPE.names or ():
            record[name] = published[name][0]
        frames: list[bytes] = []
        self._ring.drain(frames.append)
        return frames

    def _say(self, now_ns: int) -> None:
        due = self.client.outgoing(now_ns, held=self.held, engages=self.engages, resumes=self.resumes,
                                   command=self.command, stop=bool(self.stop))
        self.stop = 0
        if self.pose is not None and now_ns - self._framed_ns >= FRAME_NS:
            self._began_ns = self._began_ns or now_ns
            self._framed_ns = now_ns
            joints, root, quat = (np.asarray(part, np.float32) for part in self.pose((now_ns - self._began_ns) * 1e-9))
            frame = self.client.pose(now_ns, joints, np.zeros_like(joints), root, quat)
            due += [frame] if frame is not None else []
        for data in due:
            self._socket.send(data)

    def close(self) -> None:
        """Let go of the sockets."""
        self._sources.close()
        self._socket.close()


@contextmanager
def linked(folder: Path, robot: Robot) -> Iterator[LinkedOperator]:
    """A `LinkedOperator`, closed at the end."""
    operator = LinkedOperator(folder, robot)
    try:
        yield operator
    finally:
        operator.close()
