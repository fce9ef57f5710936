"""Who commands: engage, let go, lose, regain, stop, on both sides of every limit, under a fake clock."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.faults import Mode
from runtime.mux import Source
from runtime.operator_state import (
    GAP_NS,
    HEALTHY_NS,
    PRESS_NS,
    REFUSAL_WORDS,
    REFUSE_S,
    OperatorState,
    Refusal,
    TeleopInput,
)
from runtime.operator_view import relays_gesture

MS = 1_000_000
STEP = 4 * MS
SPEED = (0.5, -0.1, 0.2)


class Desk:
    """An operator's state with a clock and a hand."""

    def __init__(self, stops=1, source=Source.NETWORK):
        self.state = OperatorState(stops)
        self.now = 1_000 * MS
        self.teleop = TeleopInput(source, 0, session=1, command=SPEED, p99_s=0.05)
        self.stops = [(False, False)] * stops
        self.is_linked = True

    def look(self, after=STEP, **said):
        self.now += after
        self.teleop = replace(self.teleop, **({"heard_ns": self.now} if self.is_linked else {}) | said)
        self.state.update(self.now, self.teleop, self.stops)
        return self.state

    def run(self, ns, **said):
        for _ in range(ns // STEP):
            self.look(**said)
        return self.state

    def gesture(self, after=STEP, **said):
        return self.look(after, gestures=self.teleop.gestures + 1, **said)

    def resume(self, after=STEP, **said):
        return self.look(after, resumes=self.teleop.resumes + 1, **said)

    def engage(self):
        self.run(HEALTHY_NS + STEP, held=True)
        self.gesture()
        assert self.state.engaged
        return self


@pytest.fixture
def desk():
    return Desk()


def published(state):
    return state.engaged, state.held, state.command, state.source


def test_nobody_commands_before_the_first_gesture(desk):
    desk.run(2 * HEALTHY_NS, held=True)
    assert published(desk.state) == (False, False, (0.0, 0.0, 0.0), Source.NONE)
    assert desk.state.engages == 0


def test_a_gesture_over_a_healthy_link_engages(desk):
    desk.engage()
    assert published(desk.state) == (True, True, SPEED, Source.NETWORK)
    assert (desk.state.engages, desk.state.refusal) == (1, Refusal.NONE)


@pytest.mark.parametrize(("after", "refusal"), [(HEALTHY_NS, Refusal.NONE), (HEALTHY_NS - 1, Refusal.LINK_YOUNG)])
def test_the_link_has_to_be_healthy_for_half_a_second(desk, after, refusal):
    desk.look(held=True)
    start = desk.now
    desk.run(HEALTHY_NS - STEP)
    desk.gesture(start + after - desk.now)
    assert desk.state.refusal is refusal
    assert desk.state.engaged is (refusal is Refusal.NONE)


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ({"held": False}, Refusal.NOT_HELD),
        ({"p99_s": None}, Refusal.LATENCY_UNKNOWN),
        ({"p99_s": REFUSE_S}, Refusal.NONE),
        ({"p99_s": REFUSE_S + 1e-6}, Refusal.LATENCY),
    ],
)
def test_what_refuses_an_engage(desk, said, refusal):
    desk.run(2 * HEALTHY_NS, held=True)
    desk.gesture(**said)
    assert desk.state.refusal is refusal
    assert desk.state.engages == (refusal is Refusal.NONE)


@pytest.mark.parametrize("stop", [(True, False), (False, True)])
def test_a_stop_that_is_up_refuses_and_ends_it(desk, stop):
    desk.engage()
    desk.stops = [stop]
    assert not desk.look().engaged
    desk.gesture()
    assert desk.state.refusal is Refusal.STOPPED
    assert not desk.state.held


def test_every_refusal_has_its_words():
    assert set(REFUSAL_WORDS) == set(Refusal)
    assert all(REFUSAL_WORDS[refusal] for refusal in Refusal if refusal)


def test_letting_go_is_published_at_the_next_look(desk):
    desk.engage()
    desk.look(held=False)
    assert published(desk.state) == (False, False, (0.0, 0.0, 0.0), Source.NETWORK)


def test_holding_again_does_not_engage_again(desk):
    desk.engage()
    desk.look(held=False)
    desk.run(2 * HEALTHY_NS, held=True)
    assert not desk.state.held
    desk.gesture()
    assert desk.state.held
    assert desk.state.engages == 2


@pytest.mark.parametrize(("gap", "engaged"), [(GAP_NS, True), (GAP_NS + 1, False)])
def test_a_gap_in_the_link_ends_it(desk, gap, engaged):
    desk.engage()
    desk.is_linked = False
    heard = desk.teleop.heard_ns
    assert desk.look(heard + gap - desk.now).engaged is engaged
    assert desk.state.heard_ns == heard
    assert desk.state.command == (SPEED if engaged else (0.0, 0.0, 0.0))


def test_a_lost_link_is_told_from_a_hand_that_let_go(desk):
    """The gate holds at once for a hand that let go; for a link it holds after 250 ms and stands after 500 ms."""
    desk.engage()
    desk.is_linked = False
    assert desk.run(4 * GAP_NS).held
    desk.is_linked = True
    assert not desk.look().held
    desk.is_linked = False
    assert not desk.run(4 * GAP_NS).held


def test_a_hand_that_a_stop_released_stays_released_when_the_link_is_lost(desk):
    desk.engage()
    desk.stops = [(True, False)]
    assert not desk.look().held
    desk.is_linked = False
    assert not desk.run(2 * GAP_NS).held


def test_a_gap_that_was_not_looked_at_ends_it_too(desk):
    """The process itself stood still, and both a loss and its end fell between two looks."""
    desk.engage()
    assert not desk.look(GAP_NS + 1).engaged


def test_a_link_that_comes_back_does_not_engage_again(desk):
    desk.engage()
    desk.is_linked = False
    desk.run(2 * GAP_NS)
    desk.is_linked = True
    desk.run(4 * HEALTHY_NS)
    assert not desk.state.engaged
    assert desk.state.engages == 1
    desk.gesture()
    assert desk.state.engages == 2


def test_a_gesture_made_while_the_link_was_lost_does_not_count(desk):
    desk.engage()
    desk.is_linked = False
    desk.run(2 * GAP_NS)
    desk.is_linked = True
    desk.gesture()
    assert desk.state.refusal is Refusal.LINK_YOUNG
    desk.run(4 * HEALTHY_NS)
    assert not desk.state.engaged


def test_another_commander_does_not_inherit(desk):
    desk.engage()
    desk.look(session=2, gestures=77, held=True)
    assert not desk.state.engaged
    desk.run(2 * HEALTHY_NS)
    assert desk.state.engages == 1  # 77 is where that commander's counter stood, no gesture
    desk.gesture()
    assert desk.state.engages == 2


def test_a_released_lease_ages_like_a_lost_one(desk):
    desk.engage()
    heard = desk.teleop.heard_ns
    desk.is_linked = False
    desk.look(heard_ns=0, held=False)
    assert not desk.state.engaged
    assert not desk.state.held
    assert desk.state.heard_ns == heard


def test_a_gesture_while_engaged_counts(desk):
    """The gate may have fallen back for a reason of its own: the operator asks anew, with the hand on the dead-man."""
    desk.engage().gesture()
    assert desk.state.engages == 2


def test_the_source_is_the_one_of_the_newest_gesture(desk):
    desk.engage()
    desk.run(10 * STEP, source=Source.STREAM)
    assert desk.state.source is Source.NETWORK
    desk.gesture()
    assert desk.state.source is Source.STREAM


def test_handing_back_names_the_clip_and_engages_nobody(desk):
    desk.engage()
    desk.resume()
    assert published(desk.state) == (False, False, (0.0, 0.0, 0.0), Source.CLIP)
    assert (desk.state.engages, desk.state.refusal) == (2, Refusal.NONE)
    desk.run(HEALTHY_NS, held=False)
    desk.run(HEALTHY_NS, held=True)
    desk.is_linked = False
    desk.run(4 * GAP_NS)
    desk.is_linked = True
    desk.run(HEALTHY_NS)
    assert published(desk.state) == (False, False, (0.0, 0.0, 0.0), Source.CLIP)
    assert desk.state.engages == 2, "neither hand nor link says anything any more"
    desk.gesture()
    assert published(desk.state) == (True, True, SPEED, Source.NETWORK)


def test_the_clip_is_asked_for_before_anybody_engaged(desk):
    """As at the start pose of a real robot."""
    desk.run(HEALTHY_NS + STEP, held=True)
    desk.resume()
    assert (desk.state.engages, desk.state.source, desk.state.held) == (1, Source.CLIP, False)


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ({"held": False}, Refusal.NOT_HELD),
        ({"p99_s": None}, Refusal.LATENCY_UNKNOWN),
        ({"p99_s": REFUSE_S}, Refusal.NONE),
        ({"p99_s": REFUSE_S + 1e-6}, Refusal.LATENCY),
    ],
)
def test_handing_back_is_refused_by_the_same_rules(desk, said, refusal):
    desk.run(2 * HEALTHY_NS, held=True)
    desk.resume(**said)
    assert desk.state.refusal is refusal
    assert desk.state.engages == (refusal is Refusal.NONE)
    assert desk.state.source is (Source.NONE if refusal else Source.CLIP)


@pytest.mark.parametrize(("after", "refusal"), [(HEALTHY_NS, Refusal.NONE), (HEALTHY_NS - 1, Refusal.LINK_YOUNG)])
def test_handing_back_needs_a_healthy_link_too(desk, after, refusal):
    desk.look(held=True)
    start = desk.now
    desk.run(HEALTHY_NS - STEP)
    desk.resume(start + after - desk.now)
    assert desk.state.refusal is refusal


@pytest.mark.parametrize("stop", [(True, False), (False, True)])
def test_a_stop_that_is_up_refuses_handing_back(desk, stop):
    desk.run(2 * HEALTHY_NS, held=True)
    desk.stops = [stop]
    desk.resume()
    assert (desk.state.refusal, desk.state.engages, desk.state.source) == (Refusal.STOPPED, 0, Source.NONE)


def test_a_refused_hand_back_leaves_the_operator_in_command(desk):
    desk.engage()
    desk.resume(p99_s=REFUSE_S + 1e-6)
    assert published(desk.state) == (True, True, SPEED, Source.NETWORK)


def test_of_two_gestures_at_once_the_one_with_a_hand_counts(desk):
    desk.run(HEALTHY_NS + STEP, held=True)
    desk.gesture(resumes=desk.teleop.resumes + 1)
    assert published(desk.state) == (True, True, SPEED, Source.NETWORK)
    assert desk.run(HEALTHY_NS).engages == 1


def test_another_commander_s_counter_is_no_hand_back(desk):
    desk.engage()
    desk.look(session=2, resumes=5)
    desk.run(2 * HEALTHY_NS)
    assert (desk.state.engages, desk.state.source) == (1, Source.NETWORK)
    desk.resume()
    assert (desk.state.engages, desk.state.source) == (2, Source.CLIP)


@pytest.mark.parametrize(("after", "bit"), [(PRESS_NS, 1), (PRESS_NS + 1, 0)])
def test_a_press_is_published_for_half_a_second(desk, after, bit):
    desk.stops = [(True, False)]
    desk.look()
    desk.stops = [(False, False)]
    assert desk.look(after).stop == bit


def test_bits_are_in_the_order_of_the_sources():
    state = OperatorState(3)
    state.update(0, None, [(False, True), (True, False), (True, True)])
    assert (state.stop, state.silent) == (0b110, 0b101)


def test_a_keyboard_that_only_stops_asks_to_track_and_commands_nothing():
    state = OperatorState(1)
    state.update(0, None, [(False, False)], 1)
    assert (state.engages, state.source, state.held) == (1, Source.NONE, False)
    state.update(1, None, [(False, True)], 2)
    assert state.engages == 1
    state.update(2, None, [(False, False)], 2)
    assert state.engages == 1


@given(
    st.lists(
        st.tuples(
            st.integers(0, 400), st.booleans(), st.booleans(), st.integers(0, 3), st.integers(0, 3), st.integers(0, 2),
            st.one_of(st.none(), st.floats(0, 1)), st.booleans(), st.booleans(),
        ),
        max_size=60,
    )
)
def test_nothing_but_a_gesture_ever_engages(events):
    state, now, heard, before = OperatorState(1), 0, 0, False
    last_gestures, last_resumes, last_session = 0, 0, None
    for after, linked, held, gestures, resumes, session, p99, pressed, silent in events:
        now += after * MS
        heard = now if linked else heard
        engages = state.engages
        state.update(now, TeleopInput(Source.GAMEPAD, heard, session, held, gestures, SPEED, 0.0, p99, resumes),
                     [(pressed, silent)])
        if state.engaged and not before:
            assert state.engages == engages + 1
            assert gestures != last_gestures and session == last_session
        if state.engages != engages and not state.engaged:
            assert resumes != last_resumes and session == last_session and held and not (pressed or silent)
            assert (state.source, state.held) == (Source.CLIP, False)
        assert not (state.engaged and (not held or pressed or silent or now - heard > GAP_NS))
        assert state.held >= state.engaged
        assert not state.held or state.engaged or now - heard > GAP_NS
        assert state.engaged or state.command == (0.0, 0.0, 0.0)
        before, last_gestures, last_resumes, last_session = state.engaged, gestures, resumes, session


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("at_start_pose", [False, True])
@pytest.mark.parametrize("moves_a_robot", [False, True])
def test_when_a_gesture_asks_to_track(mode, at_start_pose, moves_a_robot):
    asks = relays_gesture(mode, at_start_pose=at_start_pose, moves_a_robot=moves_a_robot)
    assert asks is (mode in (Mode.HOLD, Mode.STAND) or (mode is Mode.READY and at_start_pose and moves_a_robot))
