"""Messages with strings over DDS: Unitree's remote procedure calls. Slow, for set-up; the tick uses `dds` alone.

A topic of these carries no type information either (`firmware_bridge.dds` says why), so a 0.10 peer survives it. The
sample in memory is the C struct of the type; on a take the library lends one of its own, which is copied and returned.

Types: unitreerobotics/unitree_ros2 `cyclonedds_ws/src/unitree/unitree_api/msg/{Request,Response}.msg`. Their `binary`
is always sent empty and is not read.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int32, c_int64, c_uint8, c_uint32, c_void_p
from dataclasses import dataclass

from firmware_bridge.libddsc import Library, SampleInfo, TopicDescriptor

# Constants of the C interface: dds/ddsc/dds_opcodes.h of eclipse-cyclonedds/cyclonedds, the same at 0.10.2 and 11.0.1.
_ADR_1BY, _ADR_4BY, _ADR_8BY, _ADR_STRING, _ADR_BYTES = 0x01010000, 0x01030000, 0x01040000, 0x01050000, 0x01070100
_RETURN, _RESTRICT_REPRESENTATION, _XCDR1 = 0, 1 << 7, 1
_OPS = {c_uint8: _ADR_1BY, c_int32: _ADR_4BY, c_int64: _ADR_8BY, c_char_p: _ADR_STRING}


class _Bytes(ctypes.Structure):
    """``dds_sequence_octet``."""

    _fields_ = (("maximum", c_uint32), ("length", c_uint32), ("buffer", c_void_p), ("release", ctypes.c_bool))


class _Request(ctypes.Structure):
    """Nested structs of final types add nothing to the wire, so their members stand here in a row."""

    type_name = "unitree_api::msg::dds_::Request_"
    _fields_ = (
        ("id", c_int64), ("api_id", c_int64), ("lease", c_int64), ("priority", c_int32), ("noreply", c_uint8),
        ("text", c_char_p), ("binary", _Bytes),
    )


class _Response(ctypes.Structure):
    type_name = "unitree_api::msg::dds_::Response_"
    _fields_ = (("id", c_int64), ("api_id", c_int64), ("code", c_int32), ("text", c_char_p), ("binary", _Bytes))


@dataclass(frozen=True)
class ApiMessage:
    """A request or its response.

    Attributes:
        id: chosen by who asks; the response repeats it.
        api_id: which procedure.
        text: parameter or data, JSON.
        code: of a response, 0 is success.
    """

    id: int
    api_id: int
    text: str = ""
    code: int = 0


class ApiKind:
    """One of the two types: `REQUEST` or `RESPONSE`."""

    def __init__(self, struct: type[_Request] | type[_Response]) -> None:
        self.struct, self.type_name = struct, struct.type_name

    def descriptor(self) -> TopicDescriptor:
        """Of the topic; must outlive it."""
        words: list[int] = []
        for name, kind, *_ in self.struct._fields_:
            words += [_ADR_BYTES if kind is _Bytes else _OPS[kind], getattr(self.struct, name).offset]
        words.append(_RETURN)
        ops = (c_uint32 * len(words))(*words)
        descriptor = TopicDescriptor(
            size=ctypes.sizeof(self.struct), align=8, flags=_RESTRICT_REPRESENTATION,
            type_name=self.type_name.encode(), op_count=len(self.struct._fields_) + 1, ops=ctypes.addressof(ops),
            meta=b"", representation=_XCDR1,
        )
        descriptor.kept_ops = ops
        return descriptor


REQUEST, RESPONSE = ApiKind(_Request), ApiKind(_Response)


class ApiReader:
    """Takes messages of one kind, one at a time, oldest first."""

    def __init__(self, lib: Library, handle: int, kind: ApiKind) -> None:
        self._lib, self._handle, self._kind = lib, handle, kind
        self._samples, self._info = (c_void_p * 1)(), SampleInfo()

    def take(self) -> ApiMessage | None:
        """The next message; never waits."""
        self._samples[0] = None  # the library lends its own sample
        while self._lib.take(self._handle, self._samples, self._info, 1, 1) > 0:
            try:
                if self._info.valid_data:
                    return self._copy(self._kind.struct.from_address(self._samples[0] or 0))
            finally:
                self._lib.return_loan(self._handle, self._samples, 1)
                self._samples[0] = None
        return None

    def _copy(self, sample: _Request | _Response) -> ApiMessage:
        text = (sample.text or b"").decode(errors="replace")
        return ApiMessage(sample.id, sample.api_id, text, getattr(sample, "code", 0))

    def matched(self) -> int:
        """Number of writers that this reader listens to."""
        count: int = self._lib.get_matched_publications(self._handle, None, 0)
        return max(0, count)


class ApiWriter:
    """Sends messages of one kind."""

    def __init__(self, lib: Library, handle: int, kind: ApiKind) -> None:
        self._lib, self._handle, self._kind = lib, handle, kind

    def write(self, message: ApiMessage) -> bool:
        """False when the library refuses."""
        sample = self._kind.struct(id=message.id, api_id=message.api_id, text=message.text.encode())
        if isinstance(sample, _Response):
            sample.code = message.code
        return bool(self._lib.write(self._handle, ctypes.addressof(sample)) == 0)

    def matched(self) -> int:
        """Number of readers this writer sends to."""
        count: int = self._lib.get_matched_subscriptions(self._handle, None, 0)
        return max(0, count)
