"""Both ends of the operator link over loopback UDP; the clock is the test's, the sockets are real."""

from __future__ import annotations

import random
import select
import socket

import numpy as np
import pytest

from runtime.errors import Refused
from runtime.lease import Lease, Status
from runtime.mux import Source
from runtime.network_stop import PERIOD_NS, TIMEOUT_NS, StopClient, StopEndpoint
from runtime.operator_link import DRAIN, KEEP, TELL_NS, Link
from runtime.operator_message import (
    LARGEST,
    Beat,
    Count,
    Empty,
    Kind,
    Message,
    OtherJoints,
    encode,
    pose_form,
)
from runtime.operator_state import Refusal
from runtime.teleop_client import BEAT_NS, RELEASE_TIMES, STOP_NS, STOP_TIMES, TeleopClient
from runtime.teleop_command import describe
from runtime.teleop_sources import NetworkTeleop

MS, S = 1_000_000, 1_000_000_000
KEY = bytes(range(32))
FORM = pose_form(("hip", "knee"))
HERE = ("127.0.0.1", 0)
FAR_CLOCK = 7 * S
"""The operator's clock minus the robot's."""


def draws(seed):
    draw = random.Random(seed)
    return lambda: draw.getrandbits(64)


class Wire:
    """A robot's link with a commander and a stop endpoint, and sockets that talk to it."""

    def __init__(self):
        self.lease = Lease(draws(1))
        self.teleop = NetworkTeleop(self.lease)
        self.stop = StopEndpoint(draws(2))
        self.link = Link(HERE, KEY, FORM, lease=self.lease, teleop=self.teleop, stop=self.stop)
        self.now = 100 * S
        self.source = Source.NETWORK
        self.sockets = []

    def socket(self):
        far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        far.setblocking(False)
        far.connect(self.link.address)
        self.sockets.append(far)
        return far

    def arrived(self):
        """Loopback delivers within the send; this only makes sure of it."""
        select.select(self.link.files, [], [], 1.0)

    def close(self):
        for far in (*self.sockets, self.link):
            far.close()


@pytest.fixture
def wire():
    wire = Wire()
    yield wire
    wire.close()


class Operator:
    def __init__(self, wire, seed=3, **options):
        self.wire, self.socket = wire, wire.socket()
        self.client = TeleopClient(KEY, draws(seed), form=FORM, **options)
        self.said = {"held": False, "engages": 0, "command": (0.0, 0.0, 0.0), "stop": False}

    def step(self, after_ns=5 * MS, **said):
        """Time goes on, both ends say and hear what is due."""
        wire = self.wire
        wire.now += after_ns
        self.said |= said
        due = self.client.outgoing(wire.now + FAR_CLOCK, **self.said)
        for data in due:
            self.socket.send(data)
        if due:
            wire.arrived()
        wire.link.pump(wire.now)
        wire.link.tell(wire.now, 2, Refusal.LATENCY, wire.source)
        while select.select([self.socket], [], [], 0)[0]:
            self.client.take_in(self.socket.recv(2000), wire.now + FAR_CLOCK)
        self.said["stop"] = False
        return due

    def take(self):
        for _ in range(3):
            self.step()
        return self


def test_an_operator_takes_the_lease_and_is_heard(wire):
    ann = Operator(wire, name="ann").take()
    assert ann.client.has_lease
    assert wire.lease.holder == "ann"
    ann.step(held=True, engages=1, command=(0.5, 0.0, -0.25))
    look = wire.teleop.look(wire.now)
    assert (look.heard_ns, look.held, look.gestures, look.command) == (wire.now, True, 1, (0.5, 0.0, -0.25))
    assert look.resumes == 0
    assert len(ann.step(MS, resumes=1)) == 1  # said at once
    assert (wire.teleop.look(wire.now).gestures, wire.teleop.look(wire.now).resumes) == (1, 1)
    for which in Count:
        assert wire.link.count(which) == 0


def test_beats_go_twenty_times_a_second_and_at_once_when_the_hand_changes(wire):
    ann = Operator(wire).take()
    ann.step(BEAT_NS)
    assert ann.step(BEAT_NS - 1) == []
    assert len(ann.step(1)) == 1
    assert len(ann.step(MS, held=True)) == 1
    assert len(ann.step(MS, held=False)) == 1
    assert ann.step(MS) == []


def test_the_robot_tells_mode_latency_and_refusal(wire):
    ann = Operator(wire).take()
    for _ in range(2 * TELL_NS // BEAT_NS + 2):
        ann.step(BEAT_NS)
    assert ann.client.status is Status.YOURS
    assert (ann.client.answer.mode, ann.client.answer.refusal) == (2, Refusal.LATENCY)
    assert wire.lease.age.is_known  # the stamp came back
    line = describe(ann.client, ann.client.heard_ns, held=True)
    assert line.startswith("TRACK  HELD  latency p50")
    assert "300 ms" in line
    assert "HANDED BACK" not in line
    wire.source = Source.CLIP
    ann.step(TELL_NS)
    assert "HANDED BACK: letting go stops nothing" in describe(ann.client, ann.client.heard_ns, held=True)
    assert "NO ANSWER for 0.6 s" in describe(ann.client, ann.client.heard_ns + 600 * MS, held=False)


def test_a_taken_lease_is_told_and_a_person_may_take_it_over(wire):
    ann = Operator(wire, seed=3).take()
    ann.step()
    bob = Operator(wire, seed=4).take()
    assert bob.client.status is Status.TAKEN
    assert not bob.client.has_lease
    cat = Operator(wire, seed=5, take_over=True, name="cat").take()
    assert cat.client.has_lease
    assert wire.lease.holder == "cat"
    before = wire.link.count(Count.UNAUTHORISED)
    ann.step(BEAT_NS)
    assert wire.link.count(Count.UNAUTHORISED) == before + 1


def test_a_released_lease_is_free(wire):
    ann = Operator(wire, seed=3).take()
    ann.step()
    copies = ann.client.release(wire.now + FAR_CLOCK)
    assert len(copies) == RELEASE_TIMES
    for data in copies:
        ann.socket.send(data)
    wire.arrived()
    wire.link.pump(wire.now)
    assert wire.lease.lease == 0
    assert Operator(wire, seed=4).take().client.has_lease


def test_a_stop_is_said_again_and_heard(wire):
    ann = Operator(wire).take()
    ann.step(stop=True)
    assert wire.teleop.stop_pressed()
    said = sum(any(data[5] == Kind.STOP for data in ann.step(STOP_NS)) for _ in range(STOP_TIMES + 5))
    assert said == STOP_TIMES - 1


def test_frames_arrive_in_the_robot_s_order(wire):
    ann = Operator(wire).take()
    heard, wire.now = wire.now, wire.now + 30 * MS
    frame = (np.array([0.1, 0.2]), np.array([1, 2]), np.array([0, 0, 0.8]), np.array([1, 0, 0, 0]))
    ann.socket.send(ann.client.pose(wire.now + FAR_CLOCK, *frame))
    wire.arrived()
    wire.link.pump(wire.now)
    (message,) = wire.link.frames
    assert message.sent_ns == wire.now + FAR_CLOCK
    for got, sent in zip(message.body[1:], frame, strict=True):
        assert got == pytest.approx(sent)
    assert wire.teleop.look(wire.now).heard_ns == heard  # a stream is no hand on the dead-man


def test_frames_for_other_joints_are_counted_and_let_through_to_be_known(wire):
    ann = Operator(wire).take()
    ann.client._form = pose_form(("knee", "hip"))
    frame = [np.zeros(2), np.zeros(2), np.zeros(3), np.array([1, 0, 0, 0])]
    for _ in range(2):
        wire.now += 20 * MS
        ann.socket.send(ann.client.pose(wire.now + FAR_CLOCK, *frame))
    wire.arrived()
    wire.link.pump(wire.now)
    assert [message.body for message in wire.link.frames] == 2 * [OtherJoints(ann.client._form.names)]
    assert wire.link.count(Count.MALFORMED) == 2
    ann.step(BEAT_NS, held=True)
    assert wire.teleop.look(wire.now).source is Source.NETWORK, "they are no stream to steer by"


def test_frames_for_other_joints_from_anybody_else_are_not_let_through(wire):
    ann = Operator(wire, seed=3).take()
    before = wire.link.count(Count.UNAUTHORISED)
    ann.socket.send(encode(Message(Kind.POSE, 9, 9, 9**9, wire.now, OtherJoints(1)), KEY))
    wire.arrived()
    wire.link.pump(wire.now)
    assert wire.link.frames == []
    assert wire.link.count(Count.UNAUTHORISED) == before + 1


def test_without_lease_a_client_sends_no_frame():
    client = TeleopClient(KEY, draws(1), form=FORM)
    assert client.pose(0, *[np.zeros(2)] * 4) is None
    assert client.release(0) == []


def test_a_client_believes_only_new_answers_to_itself(wire):
    ann = Operator(wire).take()
    ann.socket.setblocking(True)
    wire.link.tell(wire.now + TELL_NS, 5, 0, 0)
    data = ann.socket.recv(2000)
    assert ann.client.take_in(data, 1)
    assert not ann.client.take_in(data, 2)  # once more
    assert not ann.client.take_in(data[:-1] + bytes([data[-1] ^ 1]), 3)
    assert not ann.client.take_in(b"nonsense", 4)
    assert ann.client.heard_ns == 1


def test_a_stop_button_over_the_wire(wire):
    far, button = wire.socket(), StopClient(9, KEY)

    def exchange():
        far.send(button.outgoing(wire.now))
        wire.arrived()
        wire.link.pump(wire.now)
        select.select([far], [], [], 1.0)
        assert button.take_in(far.recv(2000), wire.now)
        wire.now += PERIOD_NS

    assert wire.stop.poll(wire.now) == (False, True)
    exchange()
    exchange()
    assert wire.stop.poll(wire.now) == (False, False)
    button.pressed = True
    exchange()
    assert wire.stop.poll(wire.now) == (True, False)
    assert wire.stop.poll(wire.now + TIMEOUT_NS) == (True, True)
    assert wire.link.count(Count.REPLAYED) == 0


@pytest.mark.parametrize("roles", [{"stop": True}, {"teleop": True}])
def test_a_link_takes_only_what_it_is_for(roles):
    lease = Lease(draws(1))
    teleop = NetworkTeleop(lease) if "teleop" in roles else None
    link = Link(HERE, None, FORM, lease=lease if teleop else None, teleop=teleop,
                stop=StopEndpoint(draws(2)) if "stop" in roles else None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        wrong = StopClient(9, None).outgoing(0) if teleop else encode(Message(Kind.STOP, 0, 0, 1, 0, Empty()), None)
        far.sendto(wrong, link.address)
        select.select(link.files, [], [], 1.0)
        link.pump(0)
        assert link.count(Count.MALFORMED) == 1
    link.close()


def test_a_commander_has_a_socket_of_its_own_also_after_it_moved(wire):
    ann = Operator(wire).take()
    assert len(wire.link.files) == 2
    junk = wire.socket()
    for _ in range(2):
        own = wire.link.files[1]
        assert own.getpeername() == ann.socket.getsockname()
        junk.send(b"for the open socket")
        ann.socket.send(b"for its own")
        wire.arrived()
        assert own.recv(100) == b"for its own"
        ann.socket = wire.socket()  # another network, another address
        ann.step(BEAT_NS)
    assert len(wire.link.files) == 2


@pytest.mark.parametrize("commanded", [False, True])
def test_a_bound_address_is_not_bound_twice(wire, commanded):
    if commanded:
        Operator(wire).take()
    with pytest.raises(Refused, match="free address"):
        Link(wire.link.address, KEY, FORM, stop=StopEndpoint(draws(1)))


def test_nothing_unauthenticated_is_answered(wire):
    far = wire.socket()
    far.send(StopClient(9, bytes(32)).outgoing(0))
    far.send(TeleopClient(None, draws(1)).outgoing(0, held=False, engages=0, command=(0, 0, 0), stop=False)[0])
    wire.arrived()
    wire.link.pump(wire.now)
    assert wire.link.count(Count.UNAUTHORISED) == 2
    assert not select.select([far], [], [], 0.05)[0]


def test_a_flood_is_taken_in_bounded_steps_and_the_commander_is_still_heard(wire):
    """Every step reads DRAIN datagrams at most, decodes KEEP of each kind at most, and the beat is among them."""
    ann = Operator(wire).take()
    ann.step()
    flood = wire.socket()
    junk = random.Random(9).randbytes(LARGEST + 400)
    for _ in range(60):
        for _ in range(40):
            flood.send(junk)
        wire.now += BEAT_NS
        (beat,) = ann.client.outgoing(wire.now + FAR_CLOCK, held=True, engages=0, command=(0.1, 0.0, 0.0), stop=False)
        ann.socket.send(beat)
        wire.arrived()
        wire.link.pump(wire.now)
        assert wire.teleop.look(wire.now).heard_ns == wire.now
    assert wire.link.count(Count.MALFORMED) > 0


def test_what_is_too_much_for_a_step_is_dropped_oldest_first(wire):
    flood = wire.socket()
    for number in range(KEEP + 10):
        flood.send(encode(Message(Kind.BEAT, 9, 9, number, 0, Beat(0, 0, 0, 0, 0, 0, 0, 0)), KEY))
    wire.arrived()
    while wire.link.pump(wire.now):
        pass
    assert wire.link.dropped == 10
    assert wire.link.count(Count.UNAUTHORISED) == KEEP
    assert KEEP < DRAIN
