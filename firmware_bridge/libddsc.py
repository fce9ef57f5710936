"""The C functions and structures of libddsc (0.10 or 11) that `dds` uses, and where the library is found."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from ctypes import c_char_p, c_int32, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from firmware_bridge.errors import DdsError
from firmware_bridge.layout import Layout

# Constants of the C interface: dds/ddsc/dds_opcodes.h of eclipse-cyclonedds/cyclonedds, the same at 0.10.2 and 11.0.1.
_OP_ARRAY_OF_BYTES, _OP_ARRAY_OF_WORDS, _OP_RETURN = 0x01080100, 0x01080300, 0
_FIXED_SIZE, _RESTRICT_REPRESENTATION, _XCDR1 = 1 << 4, 1 << 7, 1


class Library:
    """The functions of libddsc. All keep the GIL, except ``waitset_wait`` and those that open or close."""

    def __init__(self, path: str) -> None:
        self.path = path
        released, kept = ctypes.CDLL(path), ctypes.PyDLL(path)
        entity, count, pointer = c_int32, c_size_t, c_void_p

        def bind(dll: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
            function = getattr(dll, f"dds_{name}")
            function.restype, function.argtypes = result, list(arguments)
            return function

        self.create_domain = bind(released, "create_domain", entity, c_uint32, c_char_p)
        self.create_participant = bind(released, "create_participant", entity, c_uint32, pointer, pointer)
        self.create_topic = bind(
            released, "create_topic", entity, entity, pointer, c_char_p, pointer, pointer
        )
        self.create_reader = bind(released, "create_reader", entity, entity, entity, pointer, pointer)
        self.create_writer = bind(released, "create_writer", entity, entity, entity, pointer, pointer)
        self.create_readcondition = bind(released, "create_readcondition", entity, entity, c_uint32)
        self.create_waitset = bind(released, "create_waitset", entity, entity)
        self.waitset_attach = bind(released, "waitset_attach", c_int32, entity, entity, pointer)
        self.waitset_wait = bind(released, "waitset_wait", c_int32, entity, pointer, count, c_int64)
        self.delete = bind(released, "delete", c_int32, entity)
        self.write = bind(kept, "write", c_int32, entity, pointer)
        self.take = bind(kept, "take", c_int32, entity, pointer, ctypes.POINTER(SampleInfo), count, c_uint32)
        self.return_loan = bind(kept, "return_loan", c_int32, entity, pointer, c_int32)
        matched = (c_int32, entity, pointer, count)
        self.get_matched_publications = bind(kept, "get_matched_publications", *matched)
        self.get_matched_subscriptions = bind(kept, "get_matched_subscriptions", *matched)
        self._get_instance_handle = bind(kept, "get_instance_handle", c_int32, entity, pointer)
        self.create_qos = bind(kept, "create_qos", pointer)
        self.delete_qos = bind(kept, "delete_qos", None, pointer)
        self.qset_reliability = bind(kept, "qset_reliability", None, pointer, c_int32, c_int64)
        self.qset_history = bind(kept, "qset_history", None, pointer, c_int32, c_int32)
        self.qset_entity_name = bind(kept, "qset_entity_name", None, pointer, c_char_p)
        self.qget_entity_name = bind(kept, "qget_entity_name", ctypes.c_bool, pointer, pointer)
        self.qget_prop = bind(kept, "qget_prop", ctypes.c_bool, pointer, c_char_p, pointer)
        self.free = bind(kept, "free", None, pointer)
        self._strretcode = bind(kept, "strretcode", c_char_p, c_int32)
        bind(kept, "qset_data_representation", None, pointer)  # absent before 0.10: other descriptors there

    def get_instance_handle(self, entity: int) -> int:
        handle = c_uint64()
        self._get_instance_handle(entity, ctypes.byref(handle))
        return handle.value

    def check(self, result: int, what: str, expected: str, what_to_do: str) -> int:
        """The result, unless it is one of the library's (negative) errors.

        Raises:
            DdsError: it is.
        """
        if result < 0:
            reason = self._strretcode(-result).decode()
            raise DdsError(what, expected=expected, found=f"DDS error {reason!r}", what_to_do=what_to_do)
        return result


@cache
def library() -> Library:
    """The first usable libddsc: EXOACTOR_LIBDDSC, the one inside the cyclonedds wheel, the system's.

    Raises:
        DdsError: none.
    """
    chosen = os.environ.get("EXOACTOR_LIBDDSC")
    system = ("libddsc.so", "libddsc.so.0", "libddsc.so.0debian")
    failures = []
    for path in [chosen] if chosen else [*_wheel_library(), *system]:
        try:
            return Library(path)
        except (OSError, AttributeError) as error:
            failures.append(str(error))
    raise DdsError(
        "Cyclone DDS library", expected="libddsc 0.10 or newer", found="; ".join(failures),
        what_to_do="on x86-64: pip install cyclonedds; on a Jetson: build the branch releases/0.10.x of "
        "eclipse-cyclonedds/cyclonedds, or apt install the distribution's cyclonedds; EXOACTOR_LIBDDSC may "
        "name the file",
    )


def _wheel_library() -> list[str]:
    """The library path that an installed cyclonedds package notes, without importing that package."""
    package = importlib.util.find_spec("cyclonedds")
    for folder in (package.submodule_search_locations or []) if package else []:
        spec = importlib.util.spec_from_file_location("_cyclonedds_library", Path(folder, "__library__.py"))
        if spec and spec.loader:
            module = importlib.util.module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
                return [str(module.library_path)]
            except (OSError, AttributeError, IndexError):
                continue
    return []


class SampleInfo(ctypes.Structure):
    """``dds_sample_info_t`` and room for members to come."""

    _fields_ = (
        ("sample_state", c_uint32),
        ("view_state", c_uint32),
        ("instance_state", c_uint32),
        ("valid_data", ctypes.c_bool),
        ("source_timestamp", c_int64),
        ("instance", c_uint64),
        ("publication", c_uint64),
        ("rest", c_uint64 * 10),
    )
    instance_state: int
    valid_data: bool
    instance: int

    def is_alive(self) -> bool:
        return self.valid_data and self.instance_state == 16  # DDS_ALIVE_INSTANCE_STATE


class BuiltinParticipant(ctypes.Structure):
    """``dds_builtintopic_participant_t``."""

    _fields_ = (("key", c_uint8 * 16), ("qos", c_void_p))


class BuiltinEndpoint(ctypes.Structure):
    """``dds_builtintopic_endpoint_t``."""

    _fields_ = (
        ("key", c_uint8 * 16),
        ("participant_key", c_uint8 * 16),
        ("participant_instance", c_uint64),
        ("topic_name", c_char_p),
        ("type_name", c_char_p),
        ("qos", c_void_p),
    )


class TopicDescriptor(ctypes.Structure):
    """``dds_topic_descriptor_t`` and room for members to come. Must outlive its topic."""

    _fields_ = (
        ("size", c_uint32),
        ("align", c_uint32),
        ("flags", c_uint32),
        ("key_count", c_uint32),
        ("type_name", c_char_p),
        ("keys", c_void_p),
        ("op_count", c_uint32),
        ("ops", c_void_p),
        ("meta", c_char_p),
        ("type_information", c_void_p),
        ("type_information_size", c_uint64),  # 32 bits and the padding of a nested struct
        ("type_mapping", c_void_p),
        ("type_mapping_size", c_uint64),
        ("representation", c_uint32),
        ("rest", c_uint64 * 8),
    )

    @classmethod
    def without_type_information(cls, layout: Layout) -> TopicDescriptor:
        """One array at offset 0: of words if the payload is made of whole ones, else of bytes. Rounding
        such a payload up to words would make the library reject a peer's sample as too short."""
        in_words = layout.size % 4 == 0
        op, length = (_OP_ARRAY_OF_WORDS, layout.size // 4) if in_words else (_OP_ARRAY_OF_BYTES, layout.size)
        ops = (c_uint32 * 4)(op, 0, length, _OP_RETURN)
        descriptor = cls(
            size=layout.size, align=4 if in_words else 1, flags=_FIXED_SIZE | _RESTRICT_REPRESENTATION,
            type_name=layout.type_name.encode(), op_count=2, ops=ctypes.addressof(ops), meta=b"",
            representation=_XCDR1,
        )
        descriptor.kept_ops = ops
        return descriptor
