"""The lease and the network stop under a fake clock: who commands, what is not obeyed, and how old a message is."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.lease import ALIVE_NS, COOKIE_NS, LATE_NS, Lease, Status
from runtime.link_age import KEPT, WINDOW_NS, Least, LinkAge
from runtime.network_stop import PERIOD_NS, TIMEOUT_NS, StopClient, StopEndpoint, complement
from runtime.operator_message import (
    TO_ROBOT,
    Beat,
    Challenge,
    Count,
    Empty,
    Kind,
    Message,
    Reject,
    Response,
    Take,
    decode,
    encode,
)

MS, S = 1_000_000, 1_000_000_000
KEY = bytes(range(32))
OFFSET = 987_654_321_000
"""The operator's clock minus the robot's."""


class Operator:
    """A commander's end, on its own clock."""

    def __init__(self, lease: Lease, name: bytes = b"ann", nonce: int = 1) -> None:
        self.machine, self.name, self.nonce = lease, name, nonce
        self.sequence = self.epoch = self.lease = 0

    def message(self, kind, body, sent_ns, **header):
        self.sequence += 1
        fields = {"epoch": self.epoch, "lease": self.lease, "sequence": self.sequence, **header}
        return Message(kind, sent_ns=sent_ns + OFFSET, body=body, **fields)

    def ask(self, now_ns, cookie=0, take_over=0):
        status = self.machine.take(self.message(Kind.TAKE, Take(self.nonce, cookie, take_over, self.name), now_ns),
                                   now_ns)
        return self.machine.answer(status, self.nonce, 0, 0, 0, 0)

    def take(self, now_ns, take_over=0):
        answer = self.ask(now_ns, self.ask(now_ns).cookie, take_over)
        if answer.status == Status.GRANTED:
            self.epoch, self.lease = answer.epoch, answer.lease
        return Status(answer.status)

    def beat(self, now_ns, way_ns=0, *, echo=(0, 0), kind=Kind.BEAT, **header):
        body = Beat(*echo, 0, 0, 0.0, 0.0, 0.0, 1) if kind is Kind.BEAT else Empty()
        return self.machine.judge(self.message(kind, body, now_ns - way_ns, **header), now_ns)


def lease_of(seed=0):
    draw = random.Random(seed)
    return Lease(lambda: draw.getrandbits(64))


@pytest.fixture
def machine():
    return lease_of()


@pytest.fixture
def ann(machine):
    ann = Operator(machine)
    assert ann.take(0) is Status.GRANTED
    return ann


def test_a_lease_takes_two_steps_and_raises_the_epoch(machine):
    ann = Operator(machine)
    assert machine.epoch == 0
    offer = ann.ask(0)
    assert (offer.status, offer.lease, machine.epoch) == (Status.OFFER, 0, 0)
    grant = ann.ask(MS, offer.cookie)
    assert (grant.status, grant.epoch, machine.holder) == (Status.GRANTED, 1, "ann")
    assert grant.lease == machine.lease != 0


def test_a_cookie_is_good_once(machine, ann):
    bob = Operator(machine, b"bob", 2)
    cookie = bob.ask(3 * S).cookie
    assert bob.ask(3 * S, cookie).status == Status.GRANTED
    bob.epoch, bob.lease = machine.epoch, machine.lease
    assert bob.beat(3 * S) is None
    assert bob.ask(3 * S, cookie, take_over=1).status == Status.OFFER
    assert machine.rejected[Reject.COOKIE] == 1
    assert machine.epoch == 2


@pytest.mark.parametrize(("age", "status"), [(COOKIE_NS, Status.GRANTED), (COOKIE_NS + 1, Status.OFFER)])
def test_a_cookie_is_good_for_two_seconds(machine, age, status):
    ann = Operator(machine)
    cookie = ann.ask(0).cookie
    assert ann.ask(age, cookie).status == status


def test_a_lost_grant_is_said_again_and_changes_nothing(machine):
    ann = Operator(machine)
    cookie = ann.ask(0).cookie
    first, second = ann.ask(MS, cookie), ann.ask(2 * MS, cookie)
    assert second == first
    assert machine.epoch == 1


def test_a_living_lease_needs_an_explicit_take_over(machine, ann):
    assert ann.beat(100 * MS) is None
    bob = Operator(machine, b"bob", 2)
    assert bob.take(200 * MS) is Status.TAKEN
    assert machine.holder == "ann"
    assert bob.take(200 * MS, take_over=1) is Status.GRANTED
    assert machine.holder == "bob"
    assert ann.beat(210 * MS) is Reject.EPOCH
    assert bob.beat(220 * MS) is None


@pytest.mark.parametrize(("after", "status"), [(ALIVE_NS, Status.TAKEN), (ALIVE_NS + 1, Status.GRANTED)])
def test_a_dead_lease_is_had_without_take_over(machine, ann, after, status):
    assert ann.beat(S) is None
    assert Operator(machine, b"bob", 2).take(S + after) is status


def test_a_released_lease_is_free_and_its_messages_are_not_taken(machine, ann):
    assert ann.beat(S, kind=Kind.RELEASE) is None
    assert ann.beat(S + MS) is Reject.LEASE
    assert Operator(machine, b"bob", 2).take(S + 2 * MS) is Status.GRANTED
    assert ann.beat(S + 3 * MS) is Reject.EPOCH


def test_sequence_has_to_rise(machine, ann):
    assert ann.beat(0, sequence=10) is None
    assert ann.beat(0, sequence=10) is Reject.SEQUENCE
    assert ann.beat(0, sequence=9) is Reject.SEQUENCE
    assert ann.beat(0, sequence=11) is None
    assert machine.rejected == Counter({Reject.SEQUENCE: 2})


def test_another_lease_number_is_not_taken(machine, ann):
    assert ann.beat(0, lease=ann.lease ^ 2) is Reject.LEASE
    assert ann.beat(0, epoch=ann.epoch + 1) is Reject.EPOCH


@pytest.mark.parametrize(("way", "reject"), [(LATE_NS, None), (LATE_NS + 1, Reject.LATE)])
def test_a_late_command_is_not_obeyed(machine, ann, way, reject):
    assert ann.beat(S, 0) is None
    assert ann.beat(2 * S, way) is reject
    assert machine.beat_ns == (2 * S if reject is None else S)


def test_a_late_stop_is_obeyed(machine, ann):
    assert ann.beat(S, 0) is None
    assert ann.beat(3 * S, 2 * S, kind=Kind.STOP) is None


@pytest.mark.parametrize(("trip", "reject"), [(2 * LATE_NS, None), (2 * LATE_NS + 2, Reject.LATE)])
def test_a_slow_steady_link_is_known_by_its_round_trip(machine, ann, trip, reject):
    """Every message takes the same time, so that only the returned stamp tells."""
    now = 10 * S
    assert ann.beat(now, trip // 2, echo=(now - trip - 5 * MS, 5 * MS)) is reject


def test_a_new_commander_s_ages_are_its_own(machine, ann):
    assert ann.beat(S, 0) is None
    assert ann.beat(2 * S, 150 * MS) is None
    assert machine.age.newest_s == pytest.approx(0.15)
    bob = Operator(machine, b"bob", 2)
    assert bob.take(2 * S, take_over=1) is Status.GRANTED
    assert not machine.age.is_known
    assert machine.age.percentiles_s() == (0.0, 0.0)


def test_percentiles_are_of_the_last_ages():
    age = LinkAge()
    for i in range(KEPT):
        age.add(i * S, i * S)
    for i in range(KEPT):
        age.add(i * S, i * S + i * MS)
    p50, p99 = age.percentiles_s()
    assert p50 == pytest.approx(0.049)
    assert p99 == pytest.approx(0.098)


def test_the_offset_follows_a_drifting_clock():
    """A source clock that loses 100 ppm: without forgetting, ages would grow for ever."""
    age, worst = LinkAge(), 0
    for ms in range(0, 300_000, 50):
        now = ms * MS
        worst = max(worst, age.add(now - now // 10_000, now))
    assert worst <= 2 * WINDOW_NS // 10_000 + 50 * MS // 10_000


@pytest.mark.parametrize("echo", [(0, 0), (-5, 0), (S, -1), (2 * S, 0), (S, 5 * S)])
def test_impossible_echoes_are_left_out(echo):
    age = LinkAge()
    age.round_trip(*echo, 2 * S - 1)
    assert not age.is_known


def test_the_least_is_remembered_for_one_to_two_windows():
    least = Least()
    assert least.value is None
    values = []
    later = WINDOW_NS + 1
    for value, now in ((7, 0), (5, 1), (9, WINDOW_NS), (100, later), (90, later + 1), (100, 2 * later)):
        least.add(value, now)
        values.append(least.value)
    assert values == [7, 5, 5, 5, 5, 90]


def test_an_echo_without_any_delay_counts():
    age = LinkAge()
    age.round_trip(S, 0, S)
    assert age.is_known


def test_no_forged_replayed_reordered_or_old_message_of_a_hundred_thousand_is_taken():
    """What an attacker who recorded everything, but lacks the key, can send; and what old epochs still send."""
    draw = random.Random(7)
    machine = lease_of(8)
    recorded, now = [], S
    for epoch in range(1, 6):
        operator = Operator(machine, nonce=epoch)
        asked = operator.message(Kind.TAKE, Take(epoch, 0, 1, b""), now)
        cookie = machine.answer(machine.take(asked, now), epoch, 0, 0, 0, 0).cookie
        took = operator.message(Kind.TAKE, Take(epoch, cookie, 1, b""), now)
        assert machine.take(took, now) is Status.GRANTED
        operator.epoch, operator.lease = machine.epoch, machine.lease
        recorded += [encode(took, KEY)]
        for number in range(40):
            now += 50 * MS
            sent = operator.message(Kind.BEAT, Beat(0, 0, 0, 0, 0.5, 0.0, 0.0, 1), now)
            recorded.append(encode(sent, KEY))
            if number % 4 != 2:  # the others were held back, to arrive out of order later
                assert machine.judge(sent, now) is None
    before = (machine.epoch, machine.lease, machine.beat_ns)
    taken, reasons = 0, Counter()
    for _ in range(100_000):
        data = bytearray(draw.choice(recorded))
        attack = draw.randrange(4)
        if attack == 1:  # one changed byte
            data[draw.randrange(len(data))] ^= draw.randrange(1, 256)
        elif attack == 2:  # the newest numbers, but another key
            body = Beat(0, 0, 1, 0, 1.0, 0.0, 0.0, 1)
            forged = Message(Kind.BEAT, machine.epoch, machine.lease, 10**6 + draw.randrange(9**9), now, body)
            data = bytearray(encode(forged, draw.randbytes(32)))
        elif attack == 3:  # cut, or with something behind it
            cut = draw.randrange(len(data))
            data = data[:cut] if draw.random() < 0.5 else data + draw.randbytes(cut)
        message = decode(bytes(data), KEY, TO_ROBOT)
        if isinstance(message, Reject):
            reasons[message] += 1
        elif message.kind is Kind.TAKE:
            taken += machine.take(message, now) is Status.GRANTED
        else:
            reject = machine.judge(message, now)
            reasons[reject] += 1
            taken += reject is None
    assert taken == 0
    assert (machine.epoch, machine.lease, machine.beat_ns) == before
    assert {Reject.MAC, Reject.EPOCH, Reject.SEQUENCE, Reject.LENGTH, Reject.SIZE} <= set(reasons)
    assert machine.rejected[Reject.COOKIE] > 0
    assert {reject.count for reject in reasons} == set(Count)


@given(st.lists(st.tuples(st.sampled_from([Kind.BEAT, Kind.STOP, Kind.RELEASE, Kind.TAKE]), st.integers(0, 3),
                          st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63 - 1))))
def test_the_lease_never_raises_and_its_epoch_only_rises(events):
    machine, epoch = lease_of(), 0
    for now, (kind, number, wild, sent, echo) in enumerate(events):
        if kind is Kind.TAKE:
            message = Message(kind, 0, 0, wild, sent, Take(number, machine._cookie if wild % 2 else wild, 1, b"x"))
            machine.take(message, now)
        else:
            body = Beat(sent, echo, 0, 0, 0.0, 0.0, 0.0, 1) if kind is Kind.BEAT else Empty()
            machine.judge(Message(kind, number, machine.lease, wild, sent, body), now)
        assert machine.epoch >= epoch
        epoch = machine.epoch
        machine.answer(Status.YOURS, 0, 0, 0, 0, 0)


# ---- network stop


class Far:
    """Both ends of a stop with a wire that the test holds."""

    def __init__(self):
        draw = random.Random(1)
        self.robot = StopEndpoint(lambda: draw.getrandbits(64))
        self.client = StopClient(77, KEY)

    def exchange(self, now_ns, *, lose_answer=False):
        data = self.client.outgoing(now_ns)
        if data is None:
            return None
        reject = self.robot.respond(decode(data, KEY, TO_ROBOT), now_ns)
        if not lose_answer:
            answer = Message(Kind.CHALLENGE, 0, 77, 0, now_ns, Challenge(self.robot.challenge))
            assert self.client.take_in(encode(answer, KEY), now_ns)
        return reject


def test_a_stop_is_silent_until_it_has_answered_a_challenge():
    far = Far()
    assert far.robot.poll(0) == (False, True)
    assert far.exchange(0) is Reject.ANSWER
    assert far.robot.poll(0) == (False, True)
    assert far.robot.rejected == Counter()  # it could only ask
    assert far.exchange(PERIOD_NS) is None
    assert far.robot.poll(PERIOD_NS) == (False, False)


def test_the_client_sends_twenty_times_a_second():
    far = Far()
    assert far.client.outgoing(S) is not None
    assert far.client.outgoing(S + PERIOD_NS - 1) is None
    assert far.client.outgoing(S + PERIOD_NS) is not None


def test_a_pressed_stop_is_heard():
    far = Far()
    far.exchange(0)
    far.client.pressed = True
    far.exchange(PERIOD_NS)
    assert far.robot.poll(PERIOD_NS) == (True, False)


@pytest.mark.parametrize(("after", "silent"), [(TIMEOUT_NS, False), (TIMEOUT_NS + 1, True)])
def test_silence_is_a_stop(after, silent):
    far = Far()
    far.exchange(0)
    far.exchange(PERIOD_NS)
    assert far.robot.poll(PERIOD_NS + after) == (False, silent)


def test_a_wrong_answer_does_not_reset_the_timer():
    far = Far()
    far.exchange(0)
    far.exchange(PERIOD_NS)
    wrong = Response(complement(far.robot.challenge) ^ 1, 0)
    for now in range(PERIOD_NS, PERIOD_NS + TIMEOUT_NS + 2, 10 * MS):
        assert far.robot.respond(Message(Kind.RESPONSE, 0, 77, 1, 0, wrong), now) is Reject.ANSWER
    assert far.robot.poll(PERIOD_NS + TIMEOUT_NS + 1) == (False, True)
    assert far.robot.rejected[Reject.ANSWER] == len(range(PERIOD_NS, PERIOD_NS + TIMEOUT_NS + 2, 10 * MS))


def test_a_recorded_response_is_worth_nothing():
    far = Far()
    far.exchange(0)
    recorded = decode(far.client.outgoing(PERIOD_NS), KEY, TO_ROBOT)
    assert far.robot.respond(recorded, PERIOD_NS) is None
    assert far.robot.respond(recorded, 2 * PERIOD_NS) is Reject.ANSWER
    assert far.robot.poll(PERIOD_NS + TIMEOUT_NS + 1)[1]


def test_a_lost_challenge_costs_one_period():
    far = Far()
    far.exchange(0)
    assert far.exchange(PERIOD_NS, lose_answer=True) is None
    assert far.exchange(2 * PERIOD_NS) is Reject.ANSWER
    assert far.exchange(3 * PERIOD_NS) is None


def test_a_second_far_end_waits_until_the_first_is_silent():
    far = Far()
    far.exchange(0)
    far.exchange(PERIOD_NS)
    second = Message(Kind.RESPONSE, 0, 78, 1, 0, Response(complement(far.robot.challenge), 0))
    assert far.robot.respond(second, PERIOD_NS + TIMEOUT_NS) is Reject.ENDPOINT
    assert far.robot.respond(second, PERIOD_NS + TIMEOUT_NS + 1) is None


def test_the_client_believes_only_its_own_robot():
    client = StopClient(77, KEY)
    challenge = Message(Kind.CHALLENGE, 0, 77, 0, 0, Challenge(5))
    assert not client.take_in(encode(challenge, bytes(32)), 1)
    assert not client.take_in(encode(challenge._replace(lease=78), KEY), 1)
    assert not client.take_in(b"nonsense", 1)
    assert client.heard_ns == 0
    assert client.take_in(encode(challenge, KEY), 1)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_the_stop_never_raises(answers):
    robot = StopEndpoint(lambda: 2**64 - 1)
    for now, answer in enumerate(answers):
        robot.respond(Message(Kind.RESPONSE, 0, 1, 0, 0, Response(answer, 0)), now)
        assert complement(robot.challenge) != 0
