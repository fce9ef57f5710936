"""The gate's tick on fake time: arming, faults that come and go, targets that are late or bad, and damping."""

from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge.motor_bus import KP, Q, Reading
from runtime.faults import BIT, Machine, Mode, Request
from runtime.gate import Gate
from tests.gate_ills import charged, event, pauses
from tests.gate_rig import G1, PERIOD, Rig, with_limits


def test_nothing_can_be_armed_before_a_state_has_come() -> None:
    rig = Rig()
    rig.sends = False
    rig.tick()
    assert rig.tick(Request.ARM) is Mode.DISARMED
    assert rig.has("STATE_LOST")
    rig.sends = True
    rig.tick()
    assert rig.tick(Request.ARM) is Mode.READY


def test_nothing_can_be_armed_on_a_state_that_is_not_finite() -> None:
    rig = Rig()
    rig.sample.q[0] = np.nan
    rig.ticks(5)
    assert rig.tick(Request.ARM) is Mode.DISARMED


def test_a_stale_state_holds_then_damps_and_names_both() -> None:
    rig = Rig().track()
    rig.sends = False
    modes = [rig.tick() for _ in range(60)]
    assert modes.index(Mode.HOLD) == 20  # the 21st tick without a state: 42 ms
    assert modes.index(Mode.DAMP) == 50
    assert rig.cause == "STATE_LOST"


def test_a_state_that_returns_in_time_does_not_release_the_hold() -> None:
    rig = Rig().track()
    rig.sends = False
    assert rig.ticks(25) is Mode.HOLD
    rig.sends = True
    assert rig.ticks(10) is Mode.HOLD
    assert rig.tick(Request.TRACK) is Mode.TRACK


def test_a_stale_state_while_ready_holds_too() -> None:
    rig = Rig()
    rig.tick()
    rig.tick(Request.ARM)
    rig.sends = False
    assert rig.ticks(21) is Mode.HOLD
    assert rig.ticks(30) is Mode.DAMP


def test_the_flags_of_the_whole_run_and_the_moment_of_each_mode_are_kept() -> None:
    rig = Rig().track()
    rig.tick(reading=Reading.REJECTED)
    rig.ticks(3)
    assert not rig.has("STATE_CRC")
    assert rig.gate.seen_flags & BIT["STATE_CRC"]
    rig.target[0, Q] += 3
    rig.tick()
    assert rig.gate.seen_flags & BIT["STATE_CRC"], "a target that is limited adds to them"
    assert rig.gate.seen_flags & BIT["TARGET_LIMITED"]
    rig.tick(Request.STAND)
    assert rig.gate.machine.since_ns == rig.now


def test_targets_that_were_never_good_age_from_the_moment_of_arming() -> None:
    rig = Rig(with_limits(bad_targets=1000))
    rig.tick()
    rig.target[:] = np.nan
    rig.tick(Request.ARM)
    assert rig.ticks(20) is Mode.READY
    assert rig.tick() is Mode.DAMP
    assert rig.cause == "TARGET_STALE"


def test_pauses_are_no_fault_without_the_rights_of_a_real_time_loop() -> None:
    rig = Rig()
    rig.gate = Gate(G1, PERIOD * 1e-9)
    pauses(10, 8)(rig.track())
    assert rig.gate.seen_flags & BIT["GATE_PAUSE"]
    assert not rig.gate.seen_flags & BIT["GATE_OVERRUN"]


@pytest.mark.parametrize(("needs", "flag"), [(True, True), (False, False)])
def test_a_remote_that_was_never_on_forbids_arming_only_where_one_is_needed(needs: bool, flag: bool) -> None:
    rig = Rig()
    rig.gate = Gate(G1, PERIOD * 1e-9, needs_remote=needs)
    rig.tick()
    rig.skip(1510)
    rig.tick()
    assert rig.has("REMOTE_OFF") is flag
    assert rig.tick(Request.ARM) is (Mode.DISARMED if flag else Mode.READY)


def test_a_low_battery_forbids_arming_and_does_not_stop_what_moves() -> None:
    rig = Rig()
    charged(14)(rig)
    assert rig.tick(Request.ARM) is Mode.DISARMED
    moving = Rig().track()
    charged(14)(moving)
    assert moving.gate.machine.mode is Mode.TRACK


def test_the_last_good_target_is_used_while_bad_ones_come_and_the_third_damps() -> None:
    rig = Rig().track()
    rig.target[4, KP] = 70
    rig.tick()
    rig.target[4] = np.nan
    for _ in range(2):
        assert rig.tick() is Mode.TRACK
        assert rig.command is not None
        assert rig.command.block[4, KP] == 70
        assert np.isfinite(rig.command.block).all()
    assert rig.tick() is Mode.DAMP
    assert rig.cause == "TARGET_NON_FINITE"


def test_one_bad_target_seen_many_times_counts_once() -> None:
    rig = Rig().track()
    rig.target[4] = np.nan
    rig.tick()
    rig.thinks = False
    assert rig.ticks(15) is Mode.TRACK


def test_without_any_target_the_armed_robot_is_damped_then_faulted() -> None:
    rig = Rig()
    rig.thinks = False
    rig.tick()
    assert rig.tick(Request.ARM) is Mode.READY
    assert rig.command is not None
    assert not rig.command.block[:, KP].any()
    assert rig.ticks(20) is Mode.READY
    assert rig.tick() is Mode.DAMP
    assert rig.cause == "TARGET_STALE"


def test_a_target_from_before_arming_is_not_followed() -> None:
    rig = Rig()
    rig.ticks(5)
    rig.thinks = False
    rig.tick(Request.ARM)
    rig.tick()
    assert rig.command is not None
    assert not rig.command.block[:, KP].any()


def test_nothing_is_written_while_disarmed() -> None:
    rig = Rig()
    for request in (Request.NONE, Request.TRACK, Request.STAND, Request.ZERO):
        for flag in (None, "SECOND_WRITER", "OPERATOR_STOP"):
            event(flag)(rig)
            rig.tick(request)
            assert rig.command is None


def test_damping_is_sent_whatever_comes_afterwards() -> None:
    rig = Rig().track()
    rig.tick(Request.DAMP)
    rig.sends = rig.thinks = False
    rig.sample.q[:], rig.target[:] = np.nan, np.nan
    for request in (Request.ARM, Request.TRACK, Request.STAND, Request.NONE):
        assert rig.tick(request) is Mode.DAMP
        assert rig.command is not None
        assert np.isfinite(rig.command.block).all()


def test_the_gate_starts_disarmed() -> None:
    assert Gate(G1, 0.002).machine == Machine()


def test_a_gate_that_is_told_nothing_watches_the_counter_and_needs_no_remote() -> None:
    rig = Rig()
    rig.gate = Gate(G1, PERIOD * 1e-9)
    rig.tick()
    rig.skip(2000)
    rig.tick()
    assert not rig.has("REMOTE_OFF")
    rig.counts = False
    rig.ticks(6)
    assert rig.has("STATE_FROZEN")


@pytest.mark.parametrize(("policy_hz", "ticks"), [(25, 40), (50, 20), (100, 20)])
def test_a_policy_slower_than_50_hz_may_be_late_in_proportion(policy_hz: float, ticks: int) -> None:
    rig = Rig()
    rig.gate = Gate(G1, PERIOD * 1e-9, policy_hz=policy_hz)
    rig.track()
    rig.thinks = False
    assert rig.ticks(ticks) is Mode.TRACK
    assert rig.tick() is Mode.DAMP
    assert rig.cause == "TARGET_STALE"


def test_of_a_damped_robot_neither_targets_nor_life_are_expected() -> None:
    """Else a log would name, after every stop, what nobody asked for any more."""
    rig = Rig().track()
    rig.tick(Request.DAMP)
    rig.thinks = rig.trembles = False
    rig.ticks(60)
    assert rig.gate.flags == 0


def test_the_first_target_after_arming_is_approached_from_where_the_robot_stands() -> None:
    rig = Rig()
    rig.target[:, Q] += 0.4
    rig.ticks(20)
    rig.thinks = False
    rig.tick(Request.ARM)
    rig.thinks = True
    rig.tick()
    assert rig.command is not None
    assert np.abs(rig.command.block[:, Q] - rig.pose).max() <= 3.0 * PERIOD * 1e-9 + 1e-6
