"""What the gate makes of orders for hands: smooth, in range, a bounded grip; what it does when something is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.hand_bus import LEFT, RIGHT
from firmware_bridge.simulated_hands import SimulatedHands, read_hand_table
from runtime.faults import Mode
from runtime.hand import KEEP, OPEN, hand_path, load_hand
from runtime.hand_enforce import HandEnforcer
from runtime.hand_gate import EVERY, NOTHING, STREAMED, HandFinding, HandGate
from runtime.records import hand_order_dtype

DEX3 = load_hand("dex3-1")
PERIOD_NS = 2_000_000
CLOSED = DEX3.states_rad[2]


class Rig:
    """A gate's part for hands with simulated ones, tick by tick."""

    def __init__(self, on_damp: str = KEEP, *, is_dry: bool = False) -> None:
        self.hands = SimulatedHands(read_hand_table(hand_path("dex3-1")))
        self.gate = HandGate(DEX3, self.hands, 500, on_damp, is_dry=is_dry)
        self.order = np.zeros(1, hand_order_dtype(7))
        self.now_ns, self.rows, self.policy_is_silent = 1_000_000_000, list[Any](), False

    def tell(self, left: int, right: int, q: Any = 0.0) -> None:
        self.order["state"][0], self.order["q"][0] = (left, right), q
        self.order["sequence"] += 1

    def run(self, seconds: float, mode: Mode = Mode.TRACK) -> None:
        for _ in range(round(seconds * 500)):
            self.now_ns += PERIOD_NS
            self.hands.step()
            if not self.policy_is_silent:
                self.order["made_ns"] = self.now_ns
            if self.gate.tick(self.now_ns, mode, self.order):
                self.rows.append(self.gate.record[0].copy())

    def column(self, name: str) -> Any:
        return np.array([row[name] for row in self.rows])

    @property
    def q(self) -> Any:
        return self.hands.sample.q


def ready() -> Rig:
    rig = Rig()
    rig.tell(NOTHING, NOTHING)
    rig.run(0.1, Mode.READY)
    return rig


def test_a_hand_closes_when_told_and_the_other_does_not_move() -> None:
    rig = ready()
    rig.tell(2, NOTHING)
    rig.run(1.5)
    assert np.abs(rig.q[LEFT] - CLOSED[LEFT]).max() < 0.01
    assert not rig.q[RIGHT].any()
    assert (rig.q[LEFT][3:] < -0.7).all()  # the fingers of a LEFT hand, which close towards negative angles
    rig.tell(1, 2)
    rig.run(1.5)
    assert np.abs(rig.q - [DEX3.states_rad[1, LEFT], CLOSED[RIGHT]]).max() < 0.01
    rig.tell(0, 0)
    rig.run(1.5)
    assert np.abs(rig.q).max() < 0.01


def test_nothing_is_told_before_the_robot_tracks() -> None:
    rig = Rig()
    rig.tell(2, 2)
    for mode in (Mode.DISARMED, Mode.READY, Mode.HOLD, Mode.STAND):
        rig.run(0.5, mode)
        assert not rig.q.any()
    assert rig.hands.written[LEFT] > 0  # armed, it is held where it is


def test_while_disarmed_nothing_is_written() -> None:
    rig = Rig()
    rig.tell(2, 2)
    rig.run(0.5, Mode.DISARMED)
    assert rig.hands.written == [0, 0]
    assert rig.rows == []


def test_a_dry_run_writes_nothing() -> None:
    rig = Rig(is_dry=True)
    rig.tell(2, 2)
    rig.run(0.5)
    assert rig.hands.written == [0, 0]
    assert not rig.column("written").any()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 3), st.floats(-4, 4), st.integers(1, 60)), min_size=1,
                max_size=12), st.booleans())
def test_no_target_leaves_its_range_its_rate_or_its_reach(orders: Any, is_blocked: bool) -> None:
    rig = ready()
    if is_blocked:
        rig.hands.hold(LEFT, 0.3)
    for left, right, q, ticks in orders:
        rig.tell(left, right, q)
        rig.run(ticks / 500)
    target, kp = rig.column("target"), rig.column("kp")
    assert np.isfinite(target).all()
    assert (target >= DEX3.lower_rad - 1e-6).all()
    assert (target <= DEX3.upper_rad + 1e-6).all()
    step = DEX3.velocity_rad_s * EVERY / 500
    assert (np.abs(np.diff(target, axis=0)) <= step + 1e-5).all()
    assert (np.abs(rig.column("tau")) <= DEX3.kp * (DEX3.reach_rad + step[None]).max() + 0.1 * 8).all()
    assert (kp <= DEX3.kp).all()


def test_a_move_is_smooth_and_takes_its_time() -> None:
    enforcer = HandEnforcer(DEX3)
    enforcer.start_from(LEFT, np.zeros(7, np.float32))
    enforcer.go(LEFT, CLOSED[LEFT])
    rows = []
    for _ in range(250):
        enforcer.tick(LEFT, enforcer.command.block[LEFT, :, 0].copy(), 0.002, is_kept=False)
        rows.append(enforcer.command.block[LEFT, :, 0].copy())
    q = np.array(rows)
    done = np.flatnonzero(np.abs(q - CLOSED[LEFT]).max(axis=1) < 1e-5)[0]
    assert (done + 1) * 0.002 == pytest.approx(DEX3.move_s, abs=0.01)
    speed = np.abs(np.diff(q[:, 6])) / 0.002
    assert speed[0] < 0.1 * speed.max()
    assert speed.max() == pytest.approx(1.875 * 0.875 / DEX3.move_s, rel=0.02)


def test_another_state_on_the_way_turns_the_hand_without_a_jerk() -> None:
    enforcer = HandEnforcer(DEX3)
    enforcer.start_from(LEFT, np.zeros(7, np.float32))
    enforcer.go(LEFT, CLOSED[LEFT])
    rows = []
    for tick in range(600):
        if tick == 100:
            enforcer.go(LEFT, DEX3.states_rad[0, LEFT])
        enforcer.tick(LEFT, enforcer.command.block[LEFT, :, 0].copy(), 0.002, is_kept=False)
        rows.append(enforcer.command.block[LEFT, 6, 0])
    speed = np.diff(rows) / 0.002
    assert np.abs(np.diff(speed)).max() < 0.15  # rad/s a tick; from 4.1 rad/s to a standstill at once would be 4.1
    assert rows[-1] == pytest.approx(0, abs=1e-6)


def test_a_grip_on_a_thing_is_no_stronger_than_its_reach() -> None:
    rig = ready()
    rig.hands.hold(LEFT, 0.2)
    rig.tell(2, 2)
    rig.run(2.0)
    torque = np.abs(rig.hands.sample.tau[LEFT])
    assert torque.max() == pytest.approx(DEX3.kp * DEX3.reach_rad, rel=0.02)
    assert np.abs(rig.q[LEFT]).max() < np.abs(CLOSED[LEFT]).max() / 2


def gripping() -> Rig:
    rig = ready()
    for side in (LEFT, RIGHT):
        rig.hands.hold(side, 0.2)
    rig.tell(2, 2)
    rig.run(1.5)
    return rig


@pytest.mark.parametrize("mode", [Mode.HOLD, Mode.STAND])
def test_on_hold_the_hands_keep_what_they_have_whatever_is_told(mode: Mode) -> None:
    rig = gripping()
    before = rig.rows[-1]["target"].copy()
    rig.tell(0, 0)
    rig.run(1.0, mode)
    assert np.abs(rig.rows[-1]["target"] - before).max() < 1e-3
    assert (rig.rows[-1]["kp"] == np.float32(DEX3.kp)).all()


def test_while_damping_the_grip_is_kept_at_low_gain() -> None:
    rig = gripping()
    rig.tell(0, 0)
    rig.run(1.0, Mode.DAMP)
    assert (rig.rows[-1]["kp"] == np.float32(DEX3.kept_kp)).all()
    torque = np.abs(rig.hands.sample.tau[LEFT][3:])
    assert np.allclose(torque, DEX3.kept_kp * DEX3.reach_rad, rtol=0.05)


def test_while_damping_the_hands_open_where_the_robot_is_set_to() -> None:
    rig = Rig(OPEN)
    rig.tell(2, 2)
    rig.run(2.0)
    assert np.abs(rig.q - CLOSED).max() < 0.01
    rig.run(2.0, Mode.DAMP)
    assert np.abs(rig.q).max() < 0.02
    assert (rig.rows[-1]["kp"] == np.float32(DEX3.kept_kp)).all()


def test_zero_lets_go() -> None:
    rig = gripping()
    rig.run(0.1, Mode.ZERO)
    assert not rig.hands.sample.tau.any()


def test_a_silent_policy_lets_nothing_fall() -> None:
    rig = gripping()
    rig.policy_is_silent = True
    rig.tell(0, 0)
    rig.run(0.05)
    rig.tell(2, 2)
    rig.run(1.0)
    assert (rig.rows[-1]["kp"] == np.float32(DEX3.kept_kp)).all()
    assert (np.abs(rig.hands.sample.tau[LEFT][3:]) > 0.1).all()


def test_a_gate_that_replaces_a_dead_one_keeps_the_grip_it_was_told() -> None:
    rig = gripping()
    rig.gate = HandGate(DEX3, rig.hands, 500, KEEP)
    rig.run(1.0, Mode.DAMP)
    assert np.allclose(np.abs(rig.hands.sample.tau[LEFT][3:]), DEX3.kept_kp * DEX3.reach_rad, rtol=0.05)


def test_a_lost_hand_is_a_finding_once_and_the_other_goes_on() -> None:
    rig = ready()
    rig.tell(2, 2)
    rig.run(1.0)
    rig.hands.connected[LEFT] = False
    rig.run(0.5)
    rig.tell(0, 0)
    rig.run(1.5)
    assert list(rig.gate.messages) == ["left hand is not heard any more: its last target stays"]
    assert rig.gate.counts == {"left LOST": 1}
    assert np.abs(rig.q[RIGHT]).max() < 0.01
    last = rig.rows[-1]
    assert last["kp"].tolist() == [np.float32(DEX3.kept_kp), np.float32(DEX3.kp)]
    assert last["finding"].tolist() == [HandFinding.LOST, 0]
    assert np.abs(last["target"][LEFT] - CLOSED[LEFT]).max() < 0.01  # not moved while nobody sees it


def test_a_hand_that_comes_back_goes_on_with_what_it_was_told() -> None:
    rig = ready()
    rig.tell(2, 2)
    rig.run(1.0)
    rig.hands.connected[LEFT] = False
    rig.run(0.5)
    rig.tell(0, 0)
    rig.run(0.5)
    rig.hands.connected[LEFT] = True
    rig.run(1.5)
    assert np.abs(rig.q).max() < 0.01
    assert rig.rows[-1]["finding"].tolist() == [0, 0]
    step = DEX3.velocity_rad_s * EVERY / 500
    assert (np.abs(np.diff(rig.column("target"), axis=0)) <= step + 1e-5).all()


def test_a_hand_that_was_never_heard_gets_nothing() -> None:
    rig = Rig()
    rig.hands.connected[RIGHT] = False
    rig.tell(2, 2)
    rig.run(1.0)
    assert rig.hands.written[RIGHT] == 0
    assert rig.gate.heard == [True, False]
    assert not rig.gate.messages


def test_a_hot_hand_is_kept_at_low_gain_until_it_has_cooled() -> None:
    rig = gripping()
    for temperature, kp in ((79, DEX3.kp), (80, DEX3.kept_kp), (71, DEX3.kept_kp), (69, DEX3.kp)):
        rig.hands.temperature_c[LEFT] = temperature
        rig.run(0.1)
        assert rig.rows[-1]["kp"].tolist() == [np.float32(kp), np.float32(DEX3.kp)], temperature
    assert rig.gate.counts == {"left HOT": 1}


def test_a_motor_error_is_told() -> None:
    rig = ready()
    rig.hands.motor_error[RIGHT] = 4
    rig.run(0.1)
    assert list(rig.gate.messages) == ["right hand reports a motor error"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_reaches_no_hand(value: float) -> None:
    rig = ready()
    q = np.zeros((2, 7))
    q[LEFT, 3] = value
    rig.tell(STREAMED, STREAMED, q)
    rig.run(0.5)
    assert np.isfinite(rig.column("target")).all()
    assert rig.gate.counts == {"left NON_FINITE": 1}
    rig.tell(STREAMED, STREAMED, CLOSED)
    rig.run(1.5)
    assert np.abs(rig.q - CLOSED).max() < 0.01
    rig.hands.sample.q[RIGHT, 0] = value
    rig.gate.tick(rig.now_ns, Mode.TRACK, rig.order)
    assert np.isfinite(rig.gate.record["target"]).all()


def test_a_streamed_hand_follows_as_fast_as_its_joints_may() -> None:
    rig = ready()
    rig.tell(STREAMED, STREAMED, CLOSED)
    rig.run(1.5)
    assert np.abs(rig.q - CLOSED).max() < 0.01


def test_the_left_pose_told_to_the_right_hand_stays_within_the_right_hands_range() -> None:
    rig = ready()
    rig.tell(STREAMED, STREAMED, np.stack([CLOSED[LEFT], CLOSED[LEFT]]))
    rig.run(1.5)
    assert np.abs(rig.q[LEFT] - CLOSED[LEFT]).max() < 0.01
    assert (rig.column("target")[:, RIGHT] >= DEX3.lower_rad[RIGHT]).all()
    assert np.abs(rig.q[RIGHT][3:]).max() < 1e-6  # fingers do not bend backwards


def test_without_commands_the_simulated_drives_let_go() -> None:
    rig = gripping()
    for _ in range(600):
        rig.hands.step()
    assert not rig.hands.sample.tau.any()
