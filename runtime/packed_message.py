"""SONIC's packed messages: a topic, 1280 bytes of JSON header, raw numbers. Decoder and encoder, no network.

Layout, fields and aliases: NVlabs/GR00T-WholeBodyControl @ 1983e88, `gear_sonic_deploy/src/g1/g1_deploy_onnx_ref/
include/input_interface/zmq_packed_message_subscriber.hpp` and `docs/source/tutorials/zmq.md`. Two traps of it: the
header's `count` is 1 in messages of many frames, and a docstring calls the header 1024 bytes long.

The decoder names what is wrong instead of raising, looks at no more than `LARGEST` bytes, and writes into arrays made
once: what it returns is valid until the next message.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
HEADER_BYTES = 1280
MOST_FRAMES, MOST_FIELDS, MOST_DIMENSIONS, MOST_LENGTH = 64, 32, 4, 4096
LARGEST = 1 << 18
"""Bytes of a message: 64 frames of every field as f64 with 20 bodies are fewer."""
JOINTS, TOKEN, HAND = 29, 64, 7
ORDER = tuple(f"{name}_joint" for name in (
    "left_hip_pitch", "right_hip_pitch", "waist_yaw", "left_hip_roll", "right_hip_roll", "waist_roll", "left_hip_yaw",
    "right_hip_yaw", "waist_pitch", "left_knee", "right_knee", "left_shoulder_pitch", "right_shoulder_pitch",
    "left_ankle_pitch", "right_ankle_pitch", "left_shoulder_roll", "right_shoulder_roll", "left_ankle_roll",
    "right_ankle_roll", "left_shoulder_yaw", "right_shoulder_yaw", "left_elbow", "right_elbow", "left_wrist_roll",
    "right_wrist_roll", "left_wrist_pitch", "right_wrist_pitch", "left_wrist_yaw", "right_wrist_yaw",
))
"""IsaacLab's order of the 29 joints (`policy_parameters.hpp` of the same)."""
VERSIONS = (1, 2, 3, 4)
COMMAND, PLANNER = b"command", b"planner"
MOST_NUMBER = 1e6
"""No field holds such a number in rad, m, m/s, quaternion parts or tokens."""

_KINDS = {"f64": "f8", "i64": "i8", "f32": "f4", "i32": "i4", "i16": "i2", "f16": "f2", "i8": "i1", "u8": "u1",
          "bool": "u1"}
_FLOATS, _INDEX, _FLAG = ("f64", "f32", "f16"), ("i64", "i32"), ("u8", "bool", "i32", "i64", "i16", "i8")
_ALIASES = {"body_quat_w": "body_quat", "last_smpl_global_frames": "frame_index"}

# Name: (shape of one frame, dtypes). Bodies may stand between the frames and what belongs to each.
_EACH_FRAME: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "joint_pos": ((JOINTS,), _FLOATS), "joint_vel": ((JOINTS,), _FLOATS), "smpl_joints": ((24, 3), _FLOATS),
    "smpl_pose": ((21, 3), _FLOATS), "body_quat": ((4,), _FLOATS), "frame_index": ((), _INDEX),
}
# Name: (numbers of the whole message, dtypes).
_ONCE: dict[str, tuple[int, tuple[str, ...]]] = {
    "token_state": (TOKEN, _FLOATS), "left_hand_joints": (HAND, _FLOATS), "right_hand_joints": (HAND, _FLOATS),
    "vr_position": (9, _FLOATS), "vr_orientation": (12, _FLOATS), "vr_compliance": (3, _FLOATS),
    "heading_increment": (1, _FLOATS), "catch_up": (1, _FLAG),
}
_REQUIRED = {
    1: ("joint_pos", "joint_vel", "body_quat", "frame_index"),
    2: ("smpl_joints", "smpl_pose", "body_quat", "frame_index"),
    3: ("joint_pos", "joint_vel", "smpl_joints", "smpl_pose", "body_quat", "frame_index"),
    4: ("token_state",),
}
_COMMAND = {"start": (1, _FLAG), "stop": (1, _FLAG), "planner": (1, _FLAG), "delta_heading": (1, _FLOATS)}
_PLANNER = {"mode": (1, _FLAG), "movement": (3, _FLOATS), "facing": (3, _FLOATS), "speed": (1, _FLOATS),
            "height": (1, _FLOATS)}


class Reject(Enum):
    """Why a message was not taken: (name, meaning)."""

    TOPIC = ("topic", "none of the topics of this run")
    SIZE = ("size", "shorter than its header, larger than any, or in several parts")
    HEADER = ("header", "no JSON object in 1280 bytes padded by zeros")
    VERSION = ("version", "`v` is not 1, 2, 3 or 4")
    ENDIAN = ("endian", '`endian` is neither "le" nor "be"')
    COUNT = ("count", "`count` is no small number")
    FIELDS = ("fields", "`fields` is no list of name, dtype and shape, or names one twice")
    DTYPE = ("dtype", "unknown, or not what this field may have")
    SHAPE = ("shape", "not the shape this field has, or more frames than a message may hold")
    LENGTH = ("length", "the payload is not as long as the header says")
    MISSING = ("missing", "a field that this version needs is not there")
    FRAMES = ("frames", "fields of different numbers of frames")
    VALUE = ("value", "a time, an index or a command that is not finite or not in order")

    @property
    def words(self) -> str:
        """Its name."""
        return str(self.value[0])


class Pose(NamedTuple):
    """A message of the streamed topic; arrays are views of what the decoder owns.

    Attributes:
        frames: N. `has` holds the names of the fields that came.
        frame_index: (N,) int64, not falling (senders fill a window with one frame); of version 4 zero where none came.
        joint_pos, joint_vel: (N, 29) rad, rad/s, IsaacLab's order; may not be finite, as all below.
        smpl_joints, smpl_pose: (N, 72) m, (N, 63) rad.
        body_quat_wxyz: (N, 4) of the first body.
        token: (64,). hands: (2, 7) rad, left first. vr_position, vr_orientation, vr_compliance: (9,), (12,), (3,).
        time_s: (N,) of the sender's own monotonic clock, where `timestamp_monotonic` came.
        heading_increment_rad: to turn by from this message on. catch_up: as sent.
    """

    version: int
    frames: int
    has: frozenset[str]
    frame_index: npt.NDArray[np.int64]
    joint_pos: F64
    joint_vel: F64
    smpl_joints: F64
    smpl_pose: F64
    body_quat_wxyz: F64
    token: F64
    hands: F64
    vr_position: F64
    vr_orientation: F64
    vr_compliance: F64
    time_s: F64
    heading_increment_rad: float
    catch_up: bool


class Command(NamedTuple):
    """A message of topic `command`; `planner` is None where it was not said."""

    start: bool
    stop: bool
    planner: bool | None


class Planner(NamedTuple):
    """A message of topic `planner`: a mode of SONIC's planner, directions (x, y, z), m/s and m; -1 for its default."""

    mode: int
    movement: tuple[float, ...]
    facing: tuple[float, ...]
    speed_m_s: float
    height_m: float


class _Field(NamedTuple):
    """Where a field lies in the payload."""

    name: str
    dtype: np.dtype[Any]
    kind: str
    shape: tuple[int, ...]
    start: int
    size: int


class _Header(NamedTuple):
    version: int
    fields: dict[str, _Field]
    payload: int


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value <= MOST_LENGTH


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _read_header(head: bytes) -> _Header | Reject:
    try:
        data = json.loads(head.rstrip(b"\0").decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return Reject.HEADER
    if not isinstance(data, dict):
        return Reject.HEADER
    version, order = data.get("v"), data.get("endian", "le")
    if type(version) is not int or version not in VERSIONS:
        return Reject.VERSION
    if order not in ("le", "be"):
        return Reject.ENDIAN
    if "count" in data and not _is_count(data["count"]):
        return Reject.COUNT
    rows = data.get("fields")
    if not isinstance(rows, list) or not 0 < len(rows) <= MOST_FIELDS:
        return Reject.FIELDS
    fields: dict[str, _Field] = {}
    place = 0
    for row in rows:
        field = _read_field(row, "<" if order == "le" else ">", place)
        if isinstance(field, Reject):
            return field
        if field.name in fields:
            return Reject.FIELDS
        fields[field.name] = field
        place += field.size * field.dtype.itemsize
        if place > LARGEST:
            return Reject.SIZE
    return _Header(version, fields, place)


def _read_field(row: Any, order: str, start: int) -> _Field | Reject:
    if not isinstance(row, dict) or not isinstance(row.get("name"), str):
        return Reject.FIELDS
    kind, shape = row.get("dtype"), row.get("shape")
    if not isinstance(kind, str) or kind not in _KINDS:
        return Reject.DTYPE
    if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS or not all(_is_count(length) for length in shape):
        return Reject.SHAPE
    name = str(_ALIASES.get(row["name"], row["name"]))
    return _Field(name, np.dtype(order + _KINDS[kind]), kind, tuple(shape), start, math.prod(shape))


class Decoder:
    """Decodes the messages of one run.

    Args:
        topic: of the streamed poses.
    """

    def __init__(self, topic: str = "pose") -> None:
        self._topic = topic.encode()
        self._head = b""
        self._header: _Header | Reject = Reject.HEADER
        self._rows: dict[str, F64] = {name: np.zeros((MOST_FRAMES, math.prod(shape)))
                                      for name, (shape, _) in _EACH_FRAME.items()}
        self._index = np.zeros(MOST_FRAMES, np.int64)
        self._once: dict[str, F64] = {name: np.zeros(size)
                                      for name, (size, _) in {**_ONCE, **_COMMAND, **_PLANNER}.items()}
        self._hands = np.zeros((2, HAND))
        self._times = np.zeros(MOST_FRAMES)

    def decode(self, data: bytes) -> Pose | Command | Planner | Reject:
        """One message, or why it is none."""
        topic = next((topic for topic in (self._topic, COMMAND, PLANNER) if data[: len(topic)] == topic), None)
        if topic is None:
            return Reject.TOPIC
        start = len(topic) + HEADER_BYTES
        if not start <= len(data) <= LARGEST:
            return Reject.SIZE
        head = data[len(topic) : start]
        if head != self._head:
            self._head, self._header = head, _read_header(head)
        header = self._header
        if isinstance(header, Reject):
            return header
        if len(data) - start != header.payload:
            return Reject.LENGTH
        if topic == COMMAND and topic != self._topic:
            return self._command(header, data, start)
        if topic == PLANNER and topic != self._topic:
            return self._planner(header, data, start)
        return self._pose(header, data, start)

    def _command(self, header: _Header, data: bytes, start: int) -> Command | Reject:
        wrong = self._take_once(header, data, start, _COMMAND)
        if wrong is not None:
            return wrong
        said = {name: bool(self._once[name][0]) for name in ("start", "stop", "planner") if name in header.fields}
        if not said:
            return Reject.MISSING
        return Command(said.get("start", False), said.get("stop", False), said.get("planner"))

    def _planner(self, header: _Header, data: bytes, start: int) -> Planner | Reject:
        wrong = self._take_once(header, data, start, _PLANNER)
        if wrong is not None:
            return wrong
        if not {"mode", "movement", "facing"} <= header.fields.keys():
            return Reject.MISSING
        once = self._once
        speed, height = (float(once[name][0]) if name in header.fields else -1.0 for name in ("speed", "height"))
        values = (*once["movement"].tolist(), *once["facing"].tolist(), speed, height)
        if not all(abs(value) < MOST_NUMBER for value in values):
            return Reject.VALUE
        return Planner(int(once["mode"][0]), values[:3], values[3:6], speed, height)

    def _pose(self, header: _Header, data: bytes, start: int) -> Pose | Reject:
        version, fields = header.version, header.fields
        if any(name not in fields for name in _REQUIRED[version]):
            return Reject.MISSING
        frames = self._take_rows(header, data, start)
        if isinstance(frames, Reject):
            return frames
        wrong = self._take_once(header, data, start, _ONCE) or self._take_times(fields, data, start, frames)
        if wrong is not None:
            return wrong
        rows, once, index = self._rows, self._once, self._index[:frames]
        if (index[1:] < index[:-1]).any() or index[0] < 0 or index[-1] >= 1 << 62:
            return Reject.VALUE
        increment = float(once["heading_increment"][0]) if "heading_increment" in fields else 0.0
        if not abs(increment) <= math.pi:
            return Reject.VALUE
        for row, name in zip(self._hands, ("left_hand_joints", "right_hand_joints"), strict=True):
            row[:] = once[name] if name in fields else np.nan
        return Pose(
            version, frames, frozenset(fields), index, rows["joint_pos"][:frames], rows["joint_vel"][:frames],
            rows["smpl_joints"][:frames], rows["smpl_pose"][:frames], rows["body_quat"][:frames],
            once["token_state"], self._hands, once["vr_position"], once["vr_orientation"], once["vr_compliance"],
            self._times[:frames], increment, "catch_up" not in fields or bool(once["catch_up"][0]),
        )

    def _take_rows(self, header: _Header, data: bytes, start: int) -> int | Reject:
        """The fields of each frame into their arrays; how many frames there are."""
        frames = 0
        self._index[:1] = 0
        for name, (shape, kinds) in _EACH_FRAME.items():
            field = header.fields.get(name)
            if field is None:
                continue
            if field.kind not in kinds:
                return Reject.DTYPE
            found = field.shape
            if header.version == 4 and found == shape:
                found = (1, *found)  # without a number of frames: there is one
            bodies = found[1] if name == "body_quat" and len(found) == len(shape) + 2 else 0
            if found[:1] == () or found[1 + (bodies > 0) :] != shape or found[0] > MOST_FRAMES:
                return Reject.SHAPE
            if frames and found[0] != frames:
                return Reject.FRAMES
            frames = found[0]
            values = np.frombuffer(data, field.dtype, field.size, start + field.start).reshape(frames, -1)
            if name == "frame_index":
                self._index[:frames] = values[:, 0]
            else:
                self._rows[name][:frames] = values[:, : self._rows[name].shape[1]]
        if header.version == 4 and frames > 1:
            return Reject.FRAMES
        return frames or 1

    def _take_once(
        self, header: _Header, data: bytes, start: int, table: Mapping[str, tuple[int, tuple[str, ...]]]
    ) -> Reject | None:
        """The fields of the whole message into their arrays."""
        for name, (size, kinds) in table.items():
            field = header.fields.get(name)
            if field is None:
                continue
            if field.kind not in kinds:
                return Reject.DTYPE
            if field.size != size:
                return Reject.SHAPE
            self._once[name][:] = np.frombuffer(data, field.dtype, size, start + field.start)
        return None

    def _take_times(self, fields: dict[str, _Field], data: bytes, start: int, frames: int) -> Reject | None:
        """`timestamp_monotonic`: seconds, nanoseconds where it is an i64; one of the newest frame, or one a frame."""
        field = fields.get("timestamp_monotonic")
        if field is None:
            return None
        if field.kind not in (*_FLOATS, "i64"):
            return Reject.DTYPE
        if field.size not in (1, frames):
            return Reject.SHAPE
        times = self._times[:frames]
        times[:] = np.frombuffer(data, field.dtype, field.size, start + field.start)
        if field.kind == "i64":
            times *= 1e-9
        if not (np.abs(times) < 4e9).all() or (field.size > 1 and (times[1:] <= times[:-1]).any()):
            return Reject.VALUE
        if field.size == 1 and frames > 1:
            times[:-1] = np.nan  # of the others nobody said
        return None


def encode(topic: str, version: int, fields: Mapping[str, npt.NDArray[Any]], *, count: int = 1) -> bytes:
    """A message, little-endian; arrays of float64, float32, int64, int32, uint8 or bool.

    Raises:
        ValueError: a header of more than 1280 bytes.
    """
    names = {"<f8": "f64", "<f4": "f32", "<i8": "i64", "<i4": "i32", "|u1": "u8", "|b1": "bool"}
    rows = [{"name": name, "dtype": names[array.dtype.str], "shape": list(array.shape)}
            for name, array in fields.items()]
    head = json.dumps({"v": version, "endian": "le", "count": count, "fields": rows}, separators=(",", ":")).encode()
    if len(head) > HEADER_BYTES:
        raise ValueError(f"header of {len(head)} bytes, at most {HEADER_BYTES}")
    return b"".join([topic.encode(), head.ljust(HEADER_BYTES, b"\0"), *(array.tobytes() for array in fields.values())])
