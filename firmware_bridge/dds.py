"""DDS topics of fixed-size messages, through the public C functions of Cyclone DDS (libddsc 0.10 or 11).

The topics carry no type information; peers then match by topic and type name. This is on purpose. A
cyclonedds-python 11 endpoint on a type with ``uint8`` members announces a type that libddsc 0.10 cannot
represent, and every 0.10 participant that matches it dies in its discovery thread
(https://github.com/eclipse-cyclonedds/cyclonedds/issues/1554); the Unitree SDKs are pinned to 0.10
(unitreerobotics/unitree_sdk2_python @37116c52, ``setup.py``). A topic without type information matches the
stock endpoints of both versions, in both directions, and harms none.

To the library a message is an array of 32-bit words (or bytes, where the payload is no multiple of 4): the
sample in memory is the XCDR1 payload itself, which ``layout`` views in place. Taking and writing use fixed
buffers, allocate nothing that stays, and keep the GIL; only ``DdsReader.wait`` releases it.

Use from one thread, and do not fork with a participant open.
"""

from __future__ import annotations

import ctypes
import socket
from ctypes import c_void_p
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any
from xml.sax.saxutils import quoteattr

from firmware_bridge.dds_message import ApiKind, ApiReader, ApiWriter
from firmware_bridge.errors import DdsError
from firmware_bridge.layout import Layout
from firmware_bridge.libddsc import BuiltinEndpoint, BuiltinParticipant, Library, SampleInfo, TopicDescriptor, library
from firmware_bridge.network_link import NetworkLink

PARTICIPANT_LEASE_S = 3
"""How long a peer waits before it takes this process for dead; Cyclone's own default is 10 s. A lease travels
with the participant that announces it, so a stock peer that is killed still takes its own 10 s to vanish."""

HIGHEST_PARTICIPANT_INDEX = 30
"""Participants per host that unicast peers can find; each takes a well-known port pair."""

# Constants of the C interface: dds/dds.h, dds/ddsc/dds_basic_types.h, dds/ddsc/dds_opcodes.h of
# eclipse-cyclonedds/cyclonedds, the same at 0.10.2 and 11.0.1.
_ANY_STATE = 0x7F
_BEST_EFFORT, _RELIABLE = 0, 1
_KEEP_LAST = 0
_CALLS_KEPT = 16
_BUILTIN_PARTICIPANT, _BUILTIN_PUBLICATION = 0x7FFF0001, 0x7FFF0003


@dataclass(frozen=True)
class DdsSettings:
    """Where to meet the peers.

    Attributes:
        domain: DDS domain id; 0 is the robot's, unitree_mujoco uses 1.
        interface: network interface by name; None is the loopback.
        peers: further addresses or host names to announce to by unicast, for networks without multicast.
    """

    domain: int = 0
    interface: str | None = None
    peers: tuple[str, ...] = ()

    @property
    def xml(self) -> str:
        """The Cyclone configuration; the interface part is that of the Unitree SDKs
        (unitreerobotics/unitree_sdk2_python @37116c52, ``unitree_sdk2py/core/channel_config.py``)."""
        # libddsc 11 multicasts on a loopback where 0.10 does not listen to multicast, and would meet such a
        # peer only at the peer's next announcement, 8 s later; a unicast announcement is heard at once.
        local = ("127.0.0.1",) if self.interface in (None, "lo") else ()
        peers = "".join(f"<Peer address={quoteattr(peer)}/>" for peer in dict.fromkeys((*self.peers, *local)))
        return (
            '<CycloneDDS><Domain Id="any">'
            f"<General><Interfaces><NetworkInterface name={quoteattr(self.interface or 'lo')}"
            ' priority="default" multicast="default"/></Interfaces></General>'
            "<Discovery><ParticipantIndex>auto</ParticipantIndex>"
            f"<MaxAutoParticipantIndex>{HIGHEST_PARTICIPANT_INDEX}</MaxAutoParticipantIndex>"
            f"<LeaseDuration>{PARTICIPANT_LEASE_S} s</LeaseDuration>"
            f"<Peers>{peers}</Peers></Discovery></Domain></CycloneDDS>"
        )


class Participant:
    """One participant in a DDS domain, and the owner of its readers and writers.

    Args:
        settings: domain, interface, peers. All participants of a process on one domain share one setting.
        name: the name that peers see.

    Raises:
        DdsError: no libddsc, no such interface, or the domain is taken or cannot start.
    """

    def __init__(self, settings: DdsSettings, name: str) -> None:
        self._lib = library()
        _enter_domain(self._lib, settings)
        self._settings = settings
        self._link = NetworkLink(settings.interface or "lo")
        self._handle = 0
        self._keep: list[object] = []
        self._topics: dict[tuple[str, str], int] = {}
        try:
            qos = self._lib.create_qos()
            self._lib.qset_entity_name(qos, name.encode())
            self._handle = self._lib.check(
                self._lib.create_participant(settings.domain, qos, None),
                f"DDS participant {name!r} on {_where(settings)}",
                "a started participant",
                f"stop some of the other programs (at most {HIGHEST_PARTICIPANT_INDEX + 1} per host)",
            )
            self._lib.delete_qos(qos)
        except DdsError:
            _leave_domain(self._lib, settings.domain)
            raise

    def reader(self, topic: str, layout: Layout) -> DdsReader:
        """A best-effort reader of the newest sample. ``topic`` in full, e.g. ``rt/lowstate``."""
        return DdsReader(self._lib, self._handle, self._open_reader(topic, layout), layout)

    def writer(self, topic: str, layout: Layout) -> DdsWriter:
        """A writer that serves best-effort and reliable readers and never blocks."""
        return DdsWriter(self._lib, self._open_writer(topic, layout), layout)

    def api_reader(self, topic: str, kind: ApiKind) -> ApiReader:
        """A best-effort reader of remote procedure calls or answers that keeps some, for others use the topic too."""
        return ApiReader(self._lib, self._open_reader(topic, kind, _CALLS_KEPT), kind)

    def api_writer(self, topic: str, kind: ApiKind) -> ApiWriter:
        """A writer of remote procedure calls or answers."""
        return ApiWriter(self._lib, self._open_writer(topic, kind, _CALLS_KEPT), kind)

    def _open_reader(self, topic: str, form: Layout | ApiKind, depth: int = 1) -> int:
        qos = self._qos(_BEST_EFFORT, depth)
        handle = self._lib.check(
            self._lib.create_reader(self._handle, self._topic(topic, form), qos, None),
            f"DDS reader of {topic}", "a reader", "check the topic and its type",
        )
        self._lib.delete_qos(qos)
        return handle

    def _open_writer(self, topic: str, form: Layout | ApiKind, depth: int = 1) -> int:
        qos = self._qos(_RELIABLE, depth)
        handle = self._lib.check(
            self._lib.create_writer(self._handle, self._topic(topic, form), qos, None),
            f"DDS writer of {topic}", "a writer", "check the topic and its type",
        )
        self._lib.delete_qos(qos)
        return handle

    def poll(self) -> bool:
        """Takes in what discovery has learnt since the last call; True when something changed. Cheap."""
        return self._discovery.poll()

    def foreign_writers(self, topic: str) -> list[str]:
        """The writers of a topic that do not belong to this participant, whatever their type or QoS, each as
        ``guid of participant 'name' (process, pid, host)`` as far as the peer tells."""
        self.poll()
        return self._discovery.writers_of(topic)

    def foreign_participants(self) -> list[str]:
        """The other participants on the domain, described likewise."""
        self.poll()
        return self._discovery.participants()

    def link_is_up(self) -> bool:
        """Whether the kernel calls the interface usable; loopback, which has no carrier, always is."""
        return self._link.is_up()

    def close(self) -> None:
        """Withdraws the participant with all its readers and writers; they must not be used afterwards."""
        self._link.close()
        if self._handle:
            self._lib.delete(self._handle)
            self._handle = 0
            _leave_domain(self._lib, self._settings.domain)

    def __enter__(self) -> Participant:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def _discovery(self) -> _Discovery:
        return _Discovery(self._lib, self._handle)

    def _qos(self, reliability: int, depth: int) -> int:
        qos: int = self._lib.create_qos()
        self._lib.qset_reliability(qos, reliability, 0)  # 0: a write never waits for a slow reader
        self._lib.qset_history(qos, _KEEP_LAST, depth)
        return qos

    def _topic(self, name: str, form: Layout | ApiKind) -> int:
        key = (name, form.type_name)
        if key not in self._topics:
            descriptor = (
                form.descriptor() if isinstance(form, ApiKind) else TopicDescriptor.without_type_information(form)
            )
            self._keep.append(descriptor)
            self._topics[key] = self._lib.check(
                self._lib.create_topic(self._handle, ctypes.byref(descriptor), name.encode(), None, None),
                f"DDS topic {name} of {form.type_name}", "a topic",
                "one participant can give a topic one type only",
            )
        return self._topics[key]


class DdsReader:
    """Holds the newest sample of a topic.

    Attributes:
        buffer: the payload, ``layout.empty()`` in shape; always the last sample taken, zero before the first.
    """

    def __init__(self, lib: Library, participant: int, handle: int, layout: Layout) -> None:
        self._lib = lib
        self._handle = handle
        self.buffer = layout.empty()
        # The library zeroes the sample it was given when all it has to tell is that a writer went away.
        self._arrival = layout.empty()
        self._samples = (c_void_p * 1)(self._arrival.ctypes.data)
        self._info = SampleInfo()
        self._take = lib.take
        condition = lib.create_readcondition(handle, _ANY_STATE)
        self._waitset = lib.create_waitset(participant)
        attached = lib.waitset_attach(self._waitset, condition, 0)
        lib.check(attached, "DDS waitset", "an attached reader", "keep the participant open")

    def take(self) -> bool:
        """Moves the newest sample into ``buffer``; False, with ``buffer`` untouched, when none has come."""
        while self._take(self._handle, self._samples, self._info, 1, 1) > 0:
            if self._info.valid_data:
                self.buffer[:] = self._arrival
                return True
        return False

    def wait(self, timeout_s: float) -> bool:
        """Waits, without the GIL, until there is something to take; False on time-out."""
        ready: int = self._lib.waitset_wait(self._waitset, None, 0, max(0, int(timeout_s * 1e9)))
        return ready > 0

    def matched(self) -> int:
        """Number of writers that this reader now listens to. A writer that has not yet discovered this reader
        in turn sends it nothing, so the first samples after a match may be missing."""
        count: int = self._lib.get_matched_publications(self._handle, None, 0)
        return max(0, count)


class DdsWriter:
    """Sends the message in its buffer.

    Attributes:
        buffer: the payload, ``layout.empty()`` in shape, zero at first.
    """

    def __init__(self, lib: Library, handle: int, layout: Layout) -> None:
        self._lib = lib
        self._handle = handle
        self.buffer = layout.empty()
        self._pointer = c_void_p(self.buffer.ctypes.data)
        self._write = lib.write

    def write(self) -> bool:
        """Sends ``buffer`` as it is. False when the library refuses; nothing raises, nothing blocks."""
        return bool(self._write(self._handle, self._pointer) == 0)

    def matched(self) -> int:
        """Number of readers this writer now sends to. One that has not yet discovered this writer in turn drops
        what it is sent, so the first samples after a match may be lost."""
        count: int = self._lib.get_matched_subscriptions(self._handle, None, 0)
        return max(0, count)


class _Discovery:
    """What the domain's built-in topics tell of participants and writers."""

    def __init__(self, lib: Library, participant: int) -> None:
        self._lib = lib
        self._own = lib.get_instance_handle(participant)
        readers = [
            lib.check(
                lib.create_reader(participant, topic, None, None),
                "DDS discovery reader", "a reader", "keep the participant open",
            )
            for topic in (_BUILTIN_PARTICIPANT, _BUILTIN_PUBLICATION)
        ]
        self._participant_reader, self._writer_reader = readers
        self._participants: dict[int, str] = {}
        self._writers: dict[int, tuple[str, str, int]] = {}
        self._samples = (c_void_p * 1)()
        self._info = SampleInfo()

    def poll(self) -> bool:
        changed = False
        while self._next(self._participant_reader):
            changed = True
            if self._info.is_alive():
                self._participants[self._info.instance] = self._describe()
            else:
                self._participants.pop(self._info.instance, None)
            self._return(self._participant_reader)
        while self._next(self._writer_reader):
            changed = True
            if self._info.is_alive():
                endpoint = BuiltinEndpoint.from_address(self._samples[0] or 0)
                guid, topic = bytes(endpoint.key).hex(), (endpoint.topic_name or b"").decode(errors="replace")
                self._writers[self._info.instance] = (topic, guid, endpoint.participant_instance)
            else:
                self._writers.pop(self._info.instance, None)
            self._return(self._writer_reader)
        return changed

    def writers_of(self, topic: str) -> list[str]:
        return [
            f"{guid} of {self._participants.get(owner, 'an unknown participant')}"
            for name, guid, owner in self._writers.values()
            if name == topic and owner != self._own
        ]

    def participants(self) -> list[str]:
        return [text for instance, text in self._participants.items() if instance != self._own]

    def _next(self, reader: int) -> bool:
        self._samples[0] = None  # the library lends its own sample
        return bool(self._lib.take(reader, self._samples, self._info, 1, 1) > 0)

    def _return(self, reader: int) -> None:
        self._lib.return_loan(reader, self._samples, 1)

    def _describe(self) -> str:
        sample = BuiltinParticipant.from_address(self._samples[0] or 0)
        name = self._text(self._lib.qget_entity_name, sample.qos)
        known = [
            (label, self._text(self._lib.qget_prop, sample.qos, key))
            for label, key in (("process", b"__ProcessName"), ("pid", b"__Pid"), ("host", b"__Hostname"))
        ]
        details = ", ".join(f"{label} {text}" for label, text in known if text)
        return f"participant {name or bytes(sample.key).hex()!r}" + (f" ({details})" if details else "")

    def _text(self, get: Any, *arguments: Any) -> str:
        """What a getter hands out as a C string of the caller's; empty when it has none."""
        out = c_void_p()
        if not get(*arguments, ctypes.byref(out)) or not out.value:
            return ""
        text = ctypes.string_at(out.value).decode(errors="replace")
        self._lib.free(out)
        return text


_domains: dict[int, tuple[DdsSettings, int, int]] = {}
"""The process's domains by id: settings, handle, number of participants."""


def _where(settings: DdsSettings) -> str:
    return f"domain {settings.domain} on network interface {settings.interface or 'lo'}"


def _enter_domain(lib: Library, settings: DdsSettings) -> None:
    """Creates the domain explicitly, so that CYCLONEDDS_URI has no say, or joins the one that is there."""
    what = f"DDS {_where(settings)}"
    if settings.domain in _domains:
        present, handle, users = _domains[settings.domain]
        if present != settings:
            raise DdsError(
                what, expected="one setting per domain in a process", found=f"{present} in use",
                what_to_do="use the same interface and peers, or another domain id",
            )
        _domains[settings.domain] = (present, handle, users + 1)
        return
    interfaces = [name for _, name in socket.if_nameindex()]
    if (settings.interface or "lo") not in interfaces:
        raise DdsError(
            what, expected=f"one of the interfaces {', '.join(interfaces)}", found="no such interface",
            what_to_do="name the interface that leads to the robot",
        )
    handle = lib.check(
        lib.create_domain(settings.domain, settings.xml.encode()), what,
        f"an interface that is up and has an address (present: {', '.join(interfaces)})",
        "bring the interface up, check the peers, and let nothing else in this process open the domain",
    )
    _domains[settings.domain] = (settings, handle, 1)


def _leave_domain(lib: Library, domain: int) -> None:
    settings, handle, users = _domains.pop(domain)
    if users > 1:
        _domains[domain] = (settings, handle, users - 1)
    else:
        lib.delete(handle)
