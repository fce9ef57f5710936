"""Wire layouts of the Unitree topics: member tables, and the offsets, views and CRC that follow from them.

A message on the wire is XCDR1 (little endian): every primitive is aligned to its own size relative to the
start of the payload, a struct has no padding of its own and no trailing padding. The CRC inside a message,
however, is taken over the C struct, which does pad. For these types the C struct happens to be 4 bytes
longer than the payload, exactly the length of payload plus encapsulation header, while most members sit
elsewhere: a struct dtype with ``align=True`` passes a length check on the wire buffer and then reads
nonsense. Both layouts are therefore computed here, separately, from one table. No offset is typed by hand.

Tables: unitreerobotics/unitree_sdk2_python @37116c52, ``unitree_sdk2py/idl/unitree_{hg,go}/msg/dds_/``;
all types are final and without keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from firmware_bridge.crc import crc32_most_significant_first
from firmware_bridge.errors import BridgeError

Buffer = npt.NDArray[np.uint8]

PRIMITIVE_SIZE = {"u8": 1, "i16": 2, "u16": 2, "i32": 4, "u32": 4, "f32": 4}
_DTYPE = {"u8": "u1", "i16": "<i2", "u16": "<u2", "i32": "<i4", "u32": "<u4", "f32": "<f4"}


class Member(NamedTuple):
    """One member: ``length`` None is a single value, a number an array of that length."""

    name: str
    kind: str | Struct
    length: int | None = None


class Struct(NamedTuple):
    """A struct by its DDS type name and its members in order."""

    type_name: str
    members: tuple[Member, ...]


@dataclass(frozen=True)
class _Leaf:
    """A primitive or array of primitives: where it starts on the wire and in the C struct, in bytes."""

    kind: str
    length: int | None
    wire: int
    c_struct: int

    @property
    def size(self) -> int:
        return PRIMITIVE_SIZE[self.kind] * (self.length or 1)


class Layout:
    """Layout of one message type.

    Attributes:
        struct: the member table.
        type_name: DDS type name, e.g. ``unitree_hg::msg::dds_::LowCmd_``.
        size: payload bytes, without the 4-byte encapsulation header.
        crc_words: number of 32-bit words of the C struct that the CRC covers; 0 for a type without CRC.
    """

    def __init__(self, struct: Struct) -> None:
        self.struct = struct
        self.type_name = struct.type_name

    @cached_property
    def leaves(self) -> dict[str, _Leaf]:
        """Every primitive member by its full path, in order, e.g. ``motor_state[3].q``."""
        return dict(_place(self.struct))

    @cached_property
    def size(self) -> int:
        last = list(self.leaves.values())[-1]
        return last.wire + last.size

    @cached_property
    def c_struct_size(self) -> int:
        """``sizeof`` of the C struct, trailing padding included, bytes."""
        last = list(self.leaves.values())[-1]
        return _align(last.c_struct + last.size, _alignment(self.struct))

    @cached_property
    def crc_words(self) -> int:
        return self.leaves["crc"].c_struct // 4 if "crc" in self.leaves else 0

    def offset(self, path: str) -> int:
        """Payload offset in bytes of a fully indexed member, e.g. ``motor_state[3].q``.

        Raises:
            BridgeError: no such member.
        """
        return self._leaf(path).wire

    def offsets(self, path: str) -> npt.NDArray[np.intp]:
        """Payload offsets of one member in all elements of an array of structs, e.g. ``motor_cmd.mode``.

        For members whose distance is not constant on the wire, which no strided view can show: with a buffer,
        ``buffer[layout.offsets("motor_cmd.mode")] = 1`` writes one byte in each of them.
        """
        return np.array([leaf.wire for leaf in self._run(path)], dtype=np.intp)

    def empty(self) -> Buffer:
        """A zeroed payload buffer, (size rounded up to 4,) uint8, aligned to at least 4 bytes."""
        return np.zeros(_align(self.size, 4) // 4, dtype=np.uint32).view(np.uint8)

    def view(self, buffer: Buffer, path: str) -> npt.NDArray[Any]:
        """A writable view of one member in a payload buffer; nothing is copied.

        Shapes: single value (1,); array (k,); member of every element of an array of n structs, path without
        an index (``motor_state.q``), (n,) or (n, k), strided.

        Raises:
            BridgeError: no such member, a buffer that does not fit, or a member at uneven distances (the mode
                byte of motor 0 slides into the gap before it); see ``offsets``.
        """
        self._check(buffer)
        run = self._run(path)
        first = run[0]
        dtype = np.dtype(_DTYPE[first.kind])
        shape: tuple[int, ...] = (first.length or 1,)
        strides: tuple[int, ...] = (dtype.itemsize,)
        if "[" not in path and len(run) > 1:
            distances = np.diff([leaf.wire for leaf in run])
            if np.any(distances != distances[0]):
                raise BridgeError(
                    f"view of {path} in {self.type_name}",
                    expected="elements at one constant distance",
                    found=f"distances {sorted(set(distances.tolist()))} bytes",
                    what_to_do=f'index the byte buffer with offsets("{path}")',
                )
            inner = () if first.length is None else shape
            shape = (len(run), *inner)
            strides = (int(distances[0]), *strides[: len(inner)])
        view: npt.NDArray[Any] = np.ndarray(
            shape, dtype, buffer=buffer.data, offset=first.wire, strides=strides
        )
        return view

    def block(self, buffer: Buffer, array: str, first: str, last: str) -> npt.NDArray[np.float32]:
        """A writable (n, k) float32 view of the k consecutive float members ``first`` to ``last`` of an array
        of n structs; nothing is copied.

        Raises:
            BridgeError: no such member, or something else than float members in between.
        """
        start = self.view(buffer, f"{array}.{first}")
        from_, to = self.offset(f"{array}[0].{first}"), self.offset(f"{array}[0].{last}")
        between = [leaf for name, leaf in self.leaves.items()
                   if name.startswith(f"{array}[0].") and from_ <= leaf.wire <= to]
        if not between or any(leaf.kind != "f32" or leaf.length is not None for leaf in between):
            raise BridgeError(
                f"block {array}.{first}..{last} in {self.type_name}",
                expected="consecutive single float members",
                found=", ".join(f"{leaf.kind} at {leaf.wire}" for leaf in between) or "none",
                what_to_do="name the first and the last float of an unbroken row",
            )
        shape, strides = (len(start), len(between)), (start.strides[0], 4)
        view: npt.NDArray[np.float32] = np.ndarray(
            shape, np.float32, buffer=buffer.data, offset=from_, strides=strides
        )
        return view

    def seal(self, buffer: Buffer) -> Seal:
        """A CRC writer and checker bound to one payload buffer."""
        return Seal(self, buffer)

    def crc(self, buffer: Buffer) -> int:
        """The CRC that the message in the buffer should carry. For repeated use, bind a ``Seal``."""
        return Seal(self, buffer).compute()

    def _run(self, path: str) -> list[_Leaf]:
        """The leaves a path names: one, or one per element for a path through an array of structs."""
        if path in self.leaves:
            return [self.leaves[path]]
        head, _, tail = path.partition(".")
        length = next((m.length for m in self.struct.members if m.name == head), None)
        return [self._leaf(f"{head}[{i}].{tail}", path) for i in range(length or 1)]

    def _leaf(self, path: str, asked: str | None = None) -> _Leaf:
        try:
            return self.leaves[path]
        except KeyError:
            names = sorted({_without_index(name) for name in self.leaves})
            raise BridgeError(
                f"member {asked or path} of {self.type_name}",
                expected=f"one of {', '.join(names)}",
                found="no such member",
                what_to_do="correct the path",
            ) from None

    def _check(self, buffer: Buffer) -> None:
        fits = buffer.dtype == np.uint8 and buffer.ndim == 1 and buffer.flags.c_contiguous
        if not fits or buffer.nbytes < self.size or buffer.ctypes.data % 4:
            raise BridgeError(
                f"buffer for {self.type_name}",
                expected=f"at least {self.size} contiguous uint8 at a multiple of 4",
                found=f"shape {buffer.shape} {buffer.dtype} at {buffer.ctypes.data:#x}",
                what_to_do="take the buffer from empty()",
            )


class Seal:
    """Writes and checks the CRC of the message in one payload buffer.

    The C image that the CRC covers is built from the wire words by a few masked block copies and single byte
    moves, worked out once from the table. Padding is masked out, whatever the wire carries there.

    Raises:
        BridgeError: the type has no ``crc`` member, or the buffer does not fit.
    """

    def __init__(self, layout: Layout, buffer: Buffer) -> None:
        if not layout.crc_words:
            raise BridgeError(
                f"CRC of {layout.type_name}",
                expected="a type with a crc member",
                found="none",
                what_to_do="do not seal this type",
            )
        layout._check(buffer)
        copies, moves = _c_image_plan(layout)
        wire = buffer[: layout.size // 4 * 4].view(np.uint32)
        self._image = bytearray(4 * layout.crc_words)
        words = np.frombuffer(self._image, dtype=np.uint32)
        parts = [(wire[w : w + len(mask)], mask, words[c : c + len(mask)]) for c, w, mask in copies]
        # Only what is copied afresh may be swapped in place: a word of byte moves would turn over each time.
        self._copies = tuple((w, np.array(mask, dtype=np.uint32), c, c.byteswap) for w, mask, c in parts)
        self._moves = moves
        self._bytes = buffer.data
        self._crc = wire.data
        self._crc_index = layout.offset("crc") // 4

    def compute(self) -> int:
        """The CRC of the message as it now is in the buffer."""
        for wire, mask, words, swap in self._copies:
            np.bitwise_and(wire, mask, words)
            swap(True)
        for to, from_ in self._moves:
            self._image[to] = self._bytes[from_]
        return crc32_most_significant_first(self._image)

    def write(self) -> None:
        """Puts the CRC into the message."""
        self._crc[self._crc_index] = self.compute()

    def matches(self) -> bool:
        """Whether the message carries the CRC of its content."""
        carried: int = self._crc[self._crc_index]
        return carried == self.compute()


def _align(offset: int, size: int) -> int:
    return (offset + size - 1) // size * size


def _alignment(struct: Struct) -> int:
    return max(
        _alignment(m.kind) if isinstance(m.kind, Struct) else PRIMITIVE_SIZE[m.kind] for m in struct.members
    )


def _without_index(path: str) -> str:
    return path.split("[")[0] + path.split("]")[-1] if "[" in path else path


def _place(struct: Struct) -> Iterator[tuple[str, _Leaf]]:
    """Walks a struct and gives each primitive its offset on the wire and in the C struct."""
    wire = 0

    def walk(part: Struct, prefix: str, c_start: int) -> Iterator[tuple[str, _Leaf]]:
        nonlocal wire
        c_struct = c_start
        for name, kind, length in part.members:
            if isinstance(kind, Struct):
                c_struct = _align(c_struct, _alignment(kind))
                for i in range(length or 1):
                    index = "" if length is None else f"[{i}]"
                    inner = list(walk(kind, f"{prefix}{name}{index}.", c_struct))
                    yield from inner
                    end = inner[-1][1]
                    c_struct = _align(end.c_struct + end.size, _alignment(kind))
            else:
                wire = _align(wire, PRIMITIVE_SIZE[kind])
                c_struct = _align(c_struct, PRIMITIVE_SIZE[kind])
                leaf = _Leaf(kind, length, wire, c_struct)
                yield prefix + name, leaf
                wire += leaf.size
                c_struct += leaf.size

    return walk(struct, "", 0)


def _c_image_plan(layout: Layout) -> tuple[list[tuple[int, int, list[int]]], tuple[tuple[int, int], ...]]:
    """How to build the CRC's C image, most significant byte first, from the wire words.

    Returns:
        Block copies (first C word, first wire word, mask of each word) and single byte moves (position in the
        byteswapped image, payload offset) for the bytes that change their place within a word.
    """
    source = {
        leaf.c_struct + k: leaf.wire + k for leaf in layout.leaves.values() for k in range(leaf.size)
    }
    copies: list[tuple[int, int, list[int]]] = []
    moves: list[tuple[int, int]] = []
    for word in range(layout.crc_words):
        lanes = {lane: source[4 * word + lane] for lane in range(4) if 4 * word + lane in source}
        in_place = {lane: wire for lane, wire in lanes.items() if wire % 4 == lane}
        wire_words = {wire // 4 for wire in in_place.values()}
        if len(wire_words) == 1:
            wire_word = wire_words.pop()
            mask = sum(0xFF << 8 * lane for lane in in_place)
            if copies and copies[-1][0] + len(copies[-1][2]) == word and (
                copies[-1][1] + len(copies[-1][2]) == wire_word
            ):
                copies[-1][2].append(mask)
            else:
                copies.append((word, wire_word, [mask]))
            lanes = {lane: wire for lane, wire in lanes.items() if lane not in in_place}
        moves += [(4 * word + 3 - lane, wire) for lane, wire in lanes.items()]
    for copy in [c for c in copies if len(c[2]) == 1]:  # a block copy costs more than four byte moves
        copies.remove(copy)
        lanes = {lane: 4 * copy[1] + lane for lane in range(4) if copy[2][0] >> 8 * lane & 0xFF}
        moves += [(4 * copy[0] + 3 - lane, wire) for lane, wire in lanes.items()]
    return copies, tuple(moves)


def _members(*rows: str | tuple[str, Struct] | tuple[str, Struct, int]) -> tuple[Member, ...]:
    """Members from rows: ``"f32 q dq"``, ``"u32 reserve:4"``, or (name, struct[, length])."""
    members: list[Member] = []
    for row in rows:
        if isinstance(row, str):
            kind, *names = row.split()
            pairs = [name.partition(":") for name in names]
            members += [Member(name, kind, int(length) if length else None) for name, _, length in pairs]
        else:
            members.append(Member(*row))
    return tuple(members)


def _hg(name: str, *rows: str | tuple[str, Struct] | tuple[str, Struct, int]) -> Struct:
    return Struct(f"unitree_hg::msg::dds_::{name}", _members(*rows))


def _go(name: str, *rows: str | tuple[str, Struct] | tuple[str, Struct, int]) -> Struct:
    return Struct(f"unitree_go::msg::dds_::{name}", _members(*rows))


_IMU_FLOATS = "f32 quaternion:4 gyroscope:3 accelerometer:3 rpy:3"  # quaternion is (w, x, y, z)

_HG_IMU = _hg("IMUState_", _IMU_FLOATS, "i16 temperature")
_HG_MOTOR_STATE = _hg(
    "MotorState_", "u8 mode", "f32 q dq ddq tau_est", "i16 temperature:2", "f32 vol",
    "u32 sensor:2 motorstate reserve:4",
)
_HG_MOTOR_CMD = _hg("MotorCmd_", "u8 mode", "f32 q dq tau kp kd", "u32 reserve")

_GO_HEAD = ("u8 head:2 level_flag frame_reserve", "u32 sn:2 version:2", "u16 bandwidth")
_GO_IMU = _go("IMUState_", _IMU_FLOATS, "u8 temperature")
_GO_MOTOR_STATE = _go(
    "MotorState_", "u8 mode", "f32 q dq ddq tau_est q_raw dq_raw ddq_raw", "u8 temperature",
    "u32 lost reserve:2",
)
_GO_BMS_STATE = _go(
    "BmsState_", "u8 version_high version_low status soc", "i32 current", "u16 cycle",
    "u8 bq_ntc:2 mcu_ntc:2", "u16 cell_vol:15",
)
_GO_MOTOR_CMD = _go("MotorCmd_", "u8 mode", "f32 q dq tau kp kd", "u32 reserve:3")
_GO_BMS_CMD = _go("BmsCmd_", "u8 off reserve:3")
_GO_TIME = _go("TimeSpec_", "i32 sec", "u32 nanosec")

HG_IMU_STATE = Layout(_HG_IMU)
"""``rt/secondary_imu``; 54 bytes, no CRC."""

HG_BMS_STATE = Layout(_hg(
    "BmsState_", "u8 version_high version_low fn", "u16 cell_vol:40", "u32 bmsvoltage:3", "i32 current",
    "u8 soc soh", "i16 temperature:12", "u16 cycle manufacturer_date", "u32 bmsstate:5 reserve:3",
))
"""``rt/lf/bmsstate``: the battery of G1 and H1-2; ``soc`` in percent, no CRC."""

HG_LOW_STATE = Layout(_hg(
    "LowState_", "u32 version:2", "u8 mode_pr mode_machine", "u32 tick", ("imu_state", _HG_IMU),
    ("motor_state", _HG_MOTOR_STATE, 35), "u8 wireless_remote:40", "u32 reserve:4 crc",
))
"""``rt/lowstate`` of G1 and H1-2."""

HG_LOW_CMD = Layout(_hg(
    "LowCmd_", "u8 mode_pr mode_machine", ("motor_cmd", _HG_MOTOR_CMD, 35), "u32 reserve:4 crc",
))
"""``rt/lowcmd`` of G1 and H1-2."""

GO_LOW_STATE = Layout(_go(
    "LowState_", *_GO_HEAD, ("imu_state", _GO_IMU), ("motor_state", _GO_MOTOR_STATE, 20),
    ("bms_state", _GO_BMS_STATE), "i16 foot_force:4 foot_force_est:4", "u32 tick",
    "u8 wireless_remote:40 bit_flag", "f32 adc_reel", "u8 temperature_ntc1 temperature_ntc2",
    "f32 power_v power_a", "u16 fan_frequency:4", "u32 reserve crc",
))
"""``rt/lowstate`` of Go2 and H1."""

GO_LOW_CMD = Layout(_go(
    "LowCmd_", *_GO_HEAD, ("motor_cmd", _GO_MOTOR_CMD, 20), ("bms_cmd", _GO_BMS_CMD),
    "u8 wireless_remote:40 led:12 fan:2 gpio", "u32 reserve crc",
))
"""``rt/lowcmd`` of Go2 and H1."""

GO_SPORT_MODE_STATE = Layout(_go(
    "SportModeState_", ("stamp", _GO_TIME), "u32 error_code", ("imu_state", _GO_IMU), "u8 mode",
    "f32 progress", "u8 gait_type",
    "f32 foot_raise_height position:3 body_height velocity:3 yaw_speed range_obstacle:4",
    "i16 foot_force:4", "f32 foot_position_body:12 foot_speed_body:12",
))
"""``rt/sportmodestate``, the members that both published forms share: the form of unitree_ros2
(``unitree_go/msg/SportModeState.msg``). The form of unitree_sdk2_python @37116c52 goes on with
``path_point[10]`` of seven floats."""
