"""The operator link's datagrams: a header, a body and a keyed MAC over both, in one UDP packet.

Own and small on purpose: the newest message wins, so an ordered stream would only add head-of-line blocking, and the
standard library (socket, struct, hashlib) is all it needs on the robot and on the operator's computer. The MAC is
blake2b with a 32-byte key, 16 bytes long (hashlib, RFC 7693). Without a key, which only a loopback bind allows, the
same field is the unkeyed digest: a checksum, no protection.

The decoder names what is wrong instead of raising, and never looks at more than `LARGEST` bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import struct
from collections.abc import Sequence
from enum import Enum, IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
MAGIC, VERSION = b"EXOT", 2
HEADER = struct.Struct("<4sBBHIQQq")
MAC_BYTES = 16
LARGEST = 1024
"""Bytes of a datagram: below every MTU, so that none is fragmented."""
MOST_SPEED = 10.0
"""m/s and rad/s: a number beyond it is an error of the sender. Controllers have their own, smaller ranges."""
NORM_TOLERANCE = 1e-3


class Kind(IntEnum):
    """What a datagram is."""

    TAKE = 1
    LEASE = 2
    BEAT = 3
    POSE = 4
    RELEASE = 5
    STOP = 6
    CHALLENGE = 7
    RESPONSE = 8


TO_ROBOT = frozenset({Kind.TAKE, Kind.BEAT, Kind.POSE, Kind.RELEASE, Kind.STOP, Kind.RESPONSE})
TO_OPERATOR = frozenset({Kind.LEASE, Kind.CHALLENGE})


class Count(Enum):
    """Which counter of the operator record a rejected message belongs to."""

    MALFORMED = "malformed"
    UNAUTHORISED = "unauthorised"
    REPLAYED = "replayed"


class Reject(Enum):
    """Why a message was not taken: (name, counter, meaning)."""

    SIZE = ("size", Count.MALFORMED, "shorter than an empty message, or longer than the largest")
    MAGIC = ("magic", Count.MALFORMED, "not of this protocol")
    VERSION = ("version", Count.MALFORMED, "another version of the protocol")
    KIND = ("kind", Count.MALFORMED, "unknown kind, or one that travels the other way")
    LENGTH = ("length", Count.MALFORMED, "the length in the header is not what arrived")
    BODY = ("body", Count.MALFORMED, "a body of the wrong size")
    VALUE = ("value", Count.MALFORMED, "a number that is not finite or out of range, or a rotation without unit norm")
    JOINTS = ("joints", Count.MALFORMED, "the sender's list of joint names is not this robot's")
    MAC = ("mac", Count.UNAUTHORISED, "the MAC is not of this key and these bytes")
    LEASE = ("lease", Count.UNAUTHORISED, "not the lease that commands now")
    EPOCH = ("epoch", Count.UNAUTHORISED, "of a lease that was taken over or released")
    ENDPOINT = ("endpoint", Count.UNAUTHORISED, "a second stop endpoint while the first one is alive")
    SEQUENCE = ("sequence", Count.REPLAYED, "a number seen already: sent twice, or overtaken")
    LATE = ("late", Count.REPLAYED, "older than the limit when it arrived")
    COOKIE = ("cookie", Count.REPLAYED, "a request to take the lease that repeats an earlier one")
    ANSWER = ("answer", Count.REPLAYED, "not the answer to the newest challenge")

    @property
    def count(self) -> Count:
        """The counter it belongs to."""
        return self.value[1]


class Take(NamedTuple):
    """Asks for the lease; the first time with cookie 0, then with the one that the answer brought."""

    nonce: int
    cookie: int
    take_over: int
    name: bytes


class Answer(NamedTuple):
    """What the robot says about the lease, to each TAKE and then ten times a second to whoever holds it."""

    nonce: int
    cookie: int
    lease: int
    echo_ns: int
    p50_s: float
    p99_s: float
    epoch: int
    status: int
    mode: int
    refusal: int
    source: int


class Beat(NamedTuple):
    """The dead-man's beat, 20 Hz, with the velocity command and both gestures, counted."""

    echo_ns: int
    echo_held_ns: int
    engages: int
    resumes: int
    vx: float
    vy: float
    yaw_rate: float
    held: int


class Pose(NamedTuple):
    """One streamed reference frame."""

    names: int
    joint_pos: F32
    joint_vel: F32
    root_pos: F32
    root_quat_wxyz: F32


class OtherJoints(NamedTuple):
    """A reference frame for another list of joints: nothing of it is read but which."""

    names: int


class Empty(NamedTuple):
    """RELEASE and STOP say all by their kind."""


class Challenge(NamedTuple):
    """Asks a stop endpoint for the complement of a number."""

    challenge: int


class Response(NamedTuple):
    """A stop endpoint's keepalive."""

    answer: int
    pressed: int


Body = Take | Answer | Beat | Pose | OtherJoints | Empty | Challenge | Response

FORMS: dict[Kind, tuple[struct.Struct, type[Take | Answer | Beat | Empty | Challenge | Response]]] = {
    Kind.TAKE: (struct.Struct("<QQB7x32s"), Take),
    Kind.LEASE: (struct.Struct("<QQQqffIBBBB"), Answer),
    Kind.BEAT: (struct.Struct("<qqIIfffB3x"), Beat),
    Kind.RELEASE: (struct.Struct("<"), Empty),
    Kind.STOP: (struct.Struct("<"), Empty),
    Kind.CHALLENGE: (struct.Struct("<Q"), Challenge),
    Kind.RESPONSE: (struct.Struct("<QB7x"), Response),
}
"""Body of each kind but POSE, whose size follows the robot: u64 hash of names, then float32 joint_pos, joint_vel,
root_pos (3), root_quat w, x, y, z."""
_POSE_HEAD = struct.Struct("<Q")


class Message(NamedTuple):
    """A decoded datagram.

    Attributes:
        epoch, lease: of the lease it belongs to; a stop endpoint's own id stands in `lease`.
        sequence: rises with every message of a lease.
        sent_ns: the sender's own monotonic clock.
    """

    kind: Kind
    epoch: int
    lease: int
    sequence: int
    sent_ns: int
    body: Body


class PoseForm(NamedTuple):
    """What POSE frames of a robot look like: its joints in the order of its table."""

    names: int
    joints: int

    @property
    def size(self) -> int:
        """Bytes of a body."""
        return _POSE_HEAD.size + 4 * (2 * self.joints + 7)


def pose_form(joint_names: Sequence[str]) -> PoseForm:
    """The form for these joints: both ends must have the same names in the same order."""
    digest = hashlib.blake2b("\n".join(joint_names).encode(), digest_size=8).digest()
    return PoseForm(int.from_bytes(digest, "little"), len(joint_names))


def stream_form(names: int) -> int:
    """The `form` of a stream's records: another number for another version of the protocol or list of joints."""
    digest = hashlib.blake2b(struct.pack("<BQ", VERSION, names), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def mac(data: bytes | memoryview, key: bytes | None) -> bytes:
    """The last 16 bytes of a datagram over all the others."""
    return hashlib.blake2b(data, digest_size=MAC_BYTES, key=key or b"").digest()


def encode(message: Message, key: bytes | None) -> bytes:
    """One datagram."""
    body = message.body
    if isinstance(body, Pose | OtherJoints):
        parts = [np.asarray(part, "<f4").tobytes() for part in body[1:]]
        packed = _POSE_HEAD.pack(body.names) + b"".join(parts)
    else:
        packed = FORMS[message.kind][0].pack(*body)
    header = HEADER.pack(MAGIC, VERSION, message.kind, len(packed), message.epoch, message.lease, message.sequence,
                         message.sent_ns)
    data = header + packed
    return data + mac(data, key)


def decode(data: bytes, key: bytes | None, accept: frozenset[Kind], form: PoseForm | None = None) -> Message | Reject:
    """What a datagram says, or why it is not taken; never raises.

    Args:
        accept: the kinds that travel this way.
        form: of this robot's POSE frames; None rejects them all. Frames for other joints come as `OtherJoints`.
    """
    if not HEADER.size + MAC_BYTES <= len(data) <= LARGEST:
        return Reject.SIZE
    magic, version, kind, length, epoch, lease, sequence, sent_ns = HEADER.unpack_from(data)
    if magic != MAGIC:
        return Reject.MAGIC
    if version != VERSION:
        return Reject.VERSION
    if kind not in accept:
        return Reject.KIND
    if HEADER.size + length + MAC_BYTES != len(data):
        return Reject.LENGTH
    if not hmac.compare_digest(mac(data[:-MAC_BYTES], key), data[-MAC_BYTES:]):
        return Reject.MAC
    body = _body(Kind(kind), data[HEADER.size : -MAC_BYTES], form)
    if isinstance(body, Reject):
        return body
    return Message(Kind(kind), epoch, lease, sequence, sent_ns, body)


def _body(kind: Kind, data: bytes, form: PoseForm | None) -> Body | Reject:
    if kind is Kind.POSE:
        return _pose(data, form)
    layout, make = FORMS[kind]
    if len(data) != layout.size:
        return Reject.BODY
    body = make(*layout.unpack(data))
    return body if _is_sound(body) else Reject.VALUE


def _is_sound(body: Body) -> bool:
    if isinstance(body, Beat):
        speeds = (body.vx, body.vy, body.yaw_rate)
        return body.held in (0, 1) and all(math.isfinite(v) and abs(v) <= MOST_SPEED for v in speeds)
    if isinstance(body, Take):
        return body.take_over in (0, 1) and all(32 <= c < 127 for c in body.name.rstrip(b"\0"))
    if isinstance(body, Response):
        return body.pressed in (0, 1)
    if isinstance(body, Answer):
        return math.isfinite(body.p50_s) and math.isfinite(body.p99_s)
    return True


def _pose(data: bytes, form: PoseForm | None) -> Pose | OtherJoints | Reject:
    if form is None or len(data) < _POSE_HEAD.size:
        return Reject.JOINTS if form is None else Reject.BODY
    (names,) = _POSE_HEAD.unpack_from(data)
    if names != form.names:
        return OtherJoints(names)
    if len(data) != form.size:
        return Reject.BODY
    values = np.frombuffer(data, "<f4", offset=_POSE_HEAD.size)
    if not np.isfinite(values).all():
        return Reject.VALUE
    joints = form.joints
    quat = values[-4:]
    if abs(math.sqrt(sum(float(q) * float(q) for q in quat)) - 1.0) > NORM_TOLERANCE:
        return Reject.VALUE
    return Pose(names, values[:joints], values[joints : 2 * joints], values[2 * joints : 2 * joints + 3], quat)
