"""The highest healthy and engaged source steers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from runtime.mux import PRIORITY, Offer, Source, pick
from runtime.steering import ACCELERATION, BRAKING, Steering

PERIOD_S = 0.02


def test_without_any_offer_the_robot_stands() -> None:
    assert pick([]) is Source.STAND


def test_every_set_of_offers_gives_the_highest_of_those_that_are_engaged_and_healthy() -> None:
    for states in itertools.product([(False, False), (False, True), (True, False), (True, True)], repeat=5):
        sources = (Source.ESTOP, Source.GAMEPAD, Source.NETWORK, Source.STREAM, Source.CLIP)
        able = [source for source, (engaged, healthy) in zip(sources, states, strict=True) if engaged and healthy]
        offers = [Offer(source, *state) for source, state in zip(sources, states, strict=True)]
        assert pick(reversed(offers)) is (able[0] if able else Source.STAND)


def test_the_order_is_the_documented_one() -> None:
    wanted = [Source.ESTOP, Source.KEYBOARD, Source.GAMEPAD, Source.NETWORK, Source.STREAM, Source.CLIP, Source.STAND]
    assert list(PRIORITY) == wanted


def test_a_source_that_is_none_never_steers() -> None:
    assert pick([Offer(Source.NONE, True, True)]) is Source.STAND


def test_the_numbers_are_those_of_the_operator_s_record() -> None:
    state = pytest.importorskip("runtime.operator_state", reason="the operator's process is not there")
    for theirs in state.Source:
        assert Source[theirs.name] == theirs


def steering() -> Steering:
    return Steering(((-0.5, 1.0), (-0.3, 0.3), (-1.0, 1.0)), PERIOD_S)


def test_a_command_starts_at_zero_and_is_never_faster_than_its_acceleration() -> None:
    one = steering()
    seen = np.array([one.tick(np.array([0.8, 0.2, -0.9], np.float32)).copy() for _ in range(100)])
    steps = np.abs(np.diff(np.vstack([np.zeros(3), seen]), axis=0)).max(axis=0)
    np.testing.assert_array_less(steps, np.array(ACCELERATION) * PERIOD_S + 1e-6)
    np.testing.assert_allclose(seen[-1], [0.8, 0.2, -0.9], atol=1e-6)
    np.testing.assert_allclose(seen[9], np.array([0.2, 0.2, -0.4]), atol=1e-6)


def test_letting_go_brakes_to_zero_within_the_braking_and_no_sooner() -> None:
    one = steering()
    one.command[:] = 0.8, 0.2, -0.9
    seen = np.array([one.tick(None).copy() for _ in range(60)])
    assert np.flatnonzero(np.abs(seen[:, 0]) < 1e-6)[0] == np.ceil(0.8 / BRAKING[0] / PERIOD_S) - 1
    assert not seen[-1].any()
    assert (np.diff(np.abs(seen), axis=0) <= 1e-7).all()


def test_a_command_stays_within_the_controller_s_ranges() -> None:
    one = steering()
    for asked in ([9, 9, 9], [-9, -9, -9]):
        for _ in range(200):
            last = one.tick(np.array(asked, np.float32)).copy()
        np.testing.assert_allclose(last, [1.0, 0.3, 1.0] if asked[0] > 0 else [-0.5, -0.3, -1.0], atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_command_that_is_not_finite_is_standing_still(bad: float) -> None:
    one = steering()
    one.command[:] = 0.5, 0, 0
    for _ in range(100):
        one.tick(np.array([bad, 0.1, 0.1], np.float32))
    assert not one.command.any()


def test_a_reversal_brakes_to_zero_before_it_starts_again() -> None:
    one = steering()
    one.command[:] = 0.4, 0, 0
    seen = [float(one.tick(np.array([-0.4, 0, 0], np.float32))[0]) for _ in range(60)]
    assert 0.0 in [round(value, 6) for value in seen]
    assert seen[-1] == pytest.approx(-0.4)
