"""The stock Python path over DDS: typed cyclonedds dataclasses. For comparison only, in benchmark and tests.

DANGER. NEVER use this on a network that may hold Cyclone DDS 0.10 peers, a robot or unitree_mujoco among
them. An endpoint made here announces ``uint8`` in a way that crashes every 0.10 participant that matches it
(https://github.com/eclipse-cyclonedds/cyclonedds/issues/1554). It opens on the loopback only, in a domain
that nothing else uses. Nothing of the product imports it; the product's path is ``dds``.

The types are those of unitreerobotics/unitree_sdk2_python @37116c52, built from the same member tables as
ours. The CRC follows its ``utils/crc.py`` (collect the fields, ``struct.pack``) but ends in our CRC instead
of its word-by-word one, which favours the stock path.
"""

from __future__ import annotations

import struct
import types as python_types
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from cyclonedds.core import InstanceState, Policy, Qos, ReadCondition, SampleState, ViewState, WaitSet
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.idl import IdlStruct, types
from cyclonedds.idl import annotations as annotate
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic

from firmware_bridge.crc import crc32_words
from firmware_bridge.layout import PRIMITIVE_SIZE, Layout, Struct

LOOPBACK_XML = (
    '<CycloneDDS><Domain Id="any"><General><Interfaces><NetworkInterface name="lo"/></Interfaces></General>'
    "<Discovery><ParticipantIndex>auto</ParticipantIndex>"
    '<Peers><Peer address="127.0.0.1"/></Peers></Discovery></Domain></CycloneDDS>'
)

_IDL = {"u8": types.uint8, "i16": types.int16, "u16": types.uint16, "i32": types.int32, "u32": types.uint32,
        "f32": types.float32}
_PACK = {"u8": "B", "i16": "h", "u16": "H", "i32": "i", "u32": "I", "f32": "f"}


@cache
def stock_type(table: Struct) -> Any:
    """The IdlStruct dataclass of a member table."""
    array: Any = types.array
    fields: dict[str, Any] = {}
    for member in table.members:
        kind = stock_type(member.kind) if isinstance(member.kind, Struct) else _IDL[member.kind]
        fields[member.name] = kind if member.length is None else array[kind, member.length]
    name = table.type_name.split("::")[-1]
    body = {"__annotations__": fields, "__module__": __name__}
    made = python_types.new_class(
        name, (IdlStruct,), {"typename": table.type_name.replace("::", ".")}, lambda space: space.update(body)
    )
    return annotate.autoid("sequential")(annotate.final(dataclass(made)))


def blank(table: Struct) -> Any:
    """A message with every member zero."""
    values: dict[str, Any] = {}
    for name, kind, length in table.members:
        if isinstance(kind, Struct):
            values[name] = blank(kind) if length is None else [blank(kind) for _ in range(length)]
        else:
            zero = 0.0 if kind == "f32" else 0
            values[name] = zero if length is None else [zero] * length
    return stock_type(table)(**values)


def stock_crc(layout: Layout, message: Any) -> int:
    """The CRC of a stock message, over its C struct packed field by field."""
    values: list[Any] = []
    _collect(layout.struct, message, values)
    packed = struct.pack(_pack_format(layout), *values)
    return crc32_words(np.frombuffer(packed, dtype=np.uint32)[: layout.crc_words])


def _collect(table: Struct, message: Any, values: list[Any]) -> None:
    for name, kind, length in table.members:
        value = getattr(message, name)
        if isinstance(kind, Struct):
            for part in [value] if length is None else value:
                _collect(kind, part, values)
        elif length is None:
            values.append(value)
        else:
            values.extend(value)


@cache
def _pack_format(layout: Layout) -> str:
    """The ``struct`` format of the C struct, padding spelt out."""
    parts, end = ["<"], 0
    for leaf in layout.leaves.values():
        parts.append("x" * (leaf.c_struct - end) + f"{leaf.length or 1}{_PACK[leaf.kind]}")
        end = leaf.c_struct + PRIMITIVE_SIZE[leaf.kind] * (leaf.length or 1)
    return "".join(parts)


@cache
def _domain(domain: int) -> Domain:
    """The domain, created explicitly so that CYCLONEDDS_URI cannot take it off the loopback."""
    return Domain(domain, LOOPBACK_XML)


class StockBus:
    """A stock participant with one reader and one writer, on the loopback.

    Args:
        domain: a domain of its own, see the module's warning.
        reads: topic and layout of the reader.
        writes: topic and layout of the writer.
    """

    def __init__(self, domain: int, reads: tuple[str, Layout], writes: tuple[str, Layout]) -> None:
        _domain(domain)
        self._participant = DomainParticipant(domain)
        qos = Qos(Policy.History.KeepLast(1))
        read_topic = Topic(self._participant, reads[0], stock_type(reads[1].struct))
        write_topic = Topic(self._participant, writes[0], stock_type(writes[1].struct))
        self.reader = DataReader(self._participant, read_topic, qos=qos)
        self.writer = DataWriter(self._participant, write_topic, qos=qos)
        self._waitset = WaitSet(self._participant)
        anything = SampleState.Any | ViewState.Any | InstanceState.Any
        self._condition = ReadCondition(self.reader, anything)
        self._waitset.attach(self._condition)

    def take(self) -> Any:
        """The newest message as a stock object, or None."""
        for sample in self.reader.take(1):
            if sample.sample_info.valid_data:
                return sample
        return None

    def wait(self, timeout_s: float) -> bool:
        """Whether something can be taken within the time."""
        return bool(self._waitset.wait(int(timeout_s * 1e9)) > 0)

    def write(self, message: Any) -> None:
        """Serialises and sends a stock object."""
        self.writer.write(message)
