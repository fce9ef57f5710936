"""The operator's end of the link: takes the lease, beats twenty times a second, says what the robot answers. Pure.

`exoactor teleop` drives it from a keyboard or gamepad; a program that streams poses uses it in the same way: send what
`outgoing` and `pose` give, hand in what arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from runtime.lease import Status
from runtime.operator_message import (
    TO_OPERATOR,
    Answer,
    Beat,
    Body,
    Empty,
    Kind,
    Message,
    Pose,
    PoseForm,
    Reject,
    Take,
    decode,
    encode,
)

if TYPE_CHECKING:
    from runtime.operator_message import F32

BEAT_NS = 50_000_000
ASK_NS = 200_000_000
STOP_NS, STOP_TIMES = 20_000_000, 25
"""A STOP is said again for half a second: any one of them is enough."""
RELEASE_TIMES = 3
NAME_BYTES = 32


class TeleopClient:
    """One operator's session.

    Args:
        draw: gives a fresh unpredictable 64-bit number.
        name: of the operator, at most 32 plain characters; the robot logs it.
        take_over: take the lease also from somebody who is alive: a person's decision, never a program's.
        form: of the robot's POSE frames, for a program that streams.

    Attributes:
        status: the robot's newest word about the lease, None before the first.
        answer: its newest answer, None before the first.
        heard_ns: when that came.
    """

    def __init__(
        self, key: bytes | None, draw: Callable[[], int], *, name: str = "", take_over: bool = False,
        form: PoseForm | None = None,
    ) -> None:
        self._key, self._form = key, form
        self._name = name.encode("ascii", "replace")[:NAME_BYTES].ljust(NAME_BYTES, b"\0")
        self._take_over = take_over
        self._nonce = draw()
        self._cookie = self._lease = self._epoch = self._sequence = self._newest = 0
        self._asked_ns: int | None = None
        self._beat_ns: int | None = None
        self._said: tuple[bool, int, int] = (False, 0, 0)
        self._stops_left, self._stop_ns = 0, -STOP_NS
        self.status: Status | None = None
        self.answer: Answer | None = None
        self.heard_ns = 0

    @property
    def has_lease(self) -> bool:
        """The robot has granted the lease to this session."""
        return self._lease != 0

    def take_in(self, data: bytes, now_ns: int) -> bool:
        """A datagram of the robot; false for anything that is no new answer to this session."""
        message = decode(data, self._key, TO_OPERATOR)
        if isinstance(message, Reject) or not isinstance(message.body, Answer):
            return False
        answer = message.body
        if answer.nonce != self._nonce or message.sequence <= self._newest or answer.status not in set(Status):
            return False
        self._newest = message.sequence
        self.status, self.answer, self.heard_ns = Status(answer.status), answer, now_ns
        if self.status is Status.OFFER and answer.cookie != self._cookie:
            self._cookie, self._asked_ns = answer.cookie, None  # ask again at once
        elif self.status is Status.GRANTED and not self.has_lease:
            self._lease, self._epoch = answer.lease, answer.epoch
        return True

    def outgoing(
        self, now_ns: int, *, held: bool, engages: int, command: tuple[float, float, float], stop: bool,
        resumes: int = 0,
    ) -> list[bytes]:
        """What is due now: a request, a beat (at once when the hand changed), a stop.

        Args:
            engages, resumes: count the operator's gestures to take over, and to hand back to the run's own motion.
        """
        if not self.has_lease:
            if self._asked_ns is not None and now_ns - self._asked_ns < ASK_NS:
                return []
            self._asked_ns = now_ns
            return [self._encode(Kind.TAKE, Take(self._nonce, self._cookie, self._take_over, self._name), now_ns)]
        due = []
        if stop:
            self._stops_left = STOP_TIMES
        if self._stops_left and now_ns - self._stop_ns >= STOP_NS:
            self._stops_left, self._stop_ns = self._stops_left - 1, now_ns
            due.append(self._encode(Kind.STOP, Empty(), now_ns))
        said = (held, engages, resumes)
        if said != self._said or self._beat_ns is None or now_ns - self._beat_ns >= BEAT_NS:
            self._said, self._beat_ns = said, now_ns
            due.append(self._encode(Kind.BEAT, self._beat(now_ns, said, command), now_ns))
        return due

    def _beat(self, now_ns: int, said: tuple[bool, int, int], command: tuple[float, float, float]) -> Beat:
        held, engages, resumes = said
        echo_ns = self.answer.echo_ns if self.answer is not None else 0
        return Beat(echo_ns, now_ns - self.heard_ns, engages % 2**32, resumes % 2**32, *command, int(held))

    def pose(self, now_ns: int, joint_pos: F32, joint_vel: F32, root_pos: F32, root_quat_wxyz: F32) -> bytes | None:
        """One reference frame, joints in the order of the robot's table (rad, rad/s, m, w first); None without lease.

        Frames move nobody by themselves: the beats and the dead-man go on beside them.
        """
        if not self.has_lease or self._form is None:
            return None
        frame = Pose(self._form.names, joint_pos, joint_vel, root_pos, root_quat_wxyz)
        return self._encode(Kind.POSE, frame, now_ns)

    def release(self, now_ns: int) -> list[bytes]:
        """Give the lease back: all of these are to be sent."""
        if not self.has_lease:
            return []
        return [self._encode(Kind.RELEASE, Empty(), now_ns) for _ in range(RELEASE_TIMES)]

    def _encode(self, kind: Kind, body: Body, now_ns: int) -> bytes:
        self._sequence += 1
        return encode(Message(kind, self._epoch, self._lease, self._sequence, now_ns, body), self._key)
