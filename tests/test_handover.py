"""Two controllers and what is sent of them: shadow, blend, and a change of mind. No physics."""

from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge.motor_bus import KD, KP, Q
from runtime.controller import Controller
from runtime.handover import BLEND_S, Driver, Handover
from runtime.manifest_reader import load_manifest
from runtime.needs import memory_ticks
from runtime.pilot import min_jerk
from runtime.state import RobotState
from tests.stub_model import StubModel

TWIST2, HOLOSOMA = load_manifest("twist2"), load_manifest("holosoma-velocity")
BLEND_TICKS = round(BLEND_S * 50)


class Pair:
    """A tracker and a velocity controller whose networks say what a test wants."""

    def __init__(self) -> None:
        self.models = StubModel({"obs": 1432}, {"action": 29}), StubModel({"obs": 100}, {"action": 29})
        self.tracker, self.steered = Controller(TWIST2, self.models[0]), Controller(HOLOSOMA, self.models[1])
        self.handover = Handover(self.tracker, self.steered)
        self.state = RobotState(29)
        self.blocks: list[np.ndarray] = []

    def say(self, tracker: float, steered: float) -> None:
        self.models[0].outputs["action"][0], self.models[1].outputs["action"][0] = tracker, steered

    def tick(self, count: int = 1) -> np.ndarray:
        for _ in range(count):
            self.blocks.append(self.handover.tick(self.state).copy())
        return self.blocks[-1]


def test_before_a_hand_over_the_tracker_alone_is_sent_to_the_bit() -> None:
    pair = Pair()
    pair.say(0.3, float("nan"))
    block = pair.tick(3)
    np.testing.assert_array_equal(block, pair.tracker.target)
    assert pair.handover.driver is Driver.TRACKER


def test_both_networks_run_all_the_time() -> None:
    pair = Pair()
    pair.tick(7)
    assert (pair.models[0].runs, pair.models[1].runs) == (7, 7)


def test_a_shadow_is_ready_once_its_histories_are_full() -> None:
    pair = Pair()
    needed = max(memory_ticks(TWIST2), memory_ticks(HOLOSOMA))
    assert needed == 11, "twist2 remembers ten frames beside the present one"
    pair.tick(needed - 1)
    assert not pair.handover.is_ready
    pair.tick()
    assert pair.handover.is_ready


def test_a_shadow_s_last_action_is_the_one_that_makes_what_was_sent() -> None:
    pair = Pair()
    pair.say(0.4, -0.8)
    block = pair.tick()
    scaled = pair.steered.inputs.action * HOLOSOMA.action_scale + HOLOSOMA.action_offset
    np.testing.assert_allclose(scaled, block[HOLOSOMA.motor_index, Q], atol=1e-6)
    np.testing.assert_array_equal(pair.tracker.inputs.action, np.full(29, 0.4, np.float32))


def test_targets_and_gains_go_over_by_min_jerk() -> None:
    pair = Pair()
    pair.say(0.2, 0.5)
    pair.tick(20)
    before = pair.blocks[-1]
    pair.handover.go(Driver.STEERED)
    pair.tick(BLEND_TICKS + 3)
    for i, block in enumerate(pair.blocks[20:]):
        s = min_jerk((i + 1) / BLEND_TICKS)
        expected = (1 - s) * before + s * pair.steered.target
        np.testing.assert_allclose(block[:, [Q, KP, KD]], expected[:, [Q, KP, KD]], atol=2e-5)
    np.testing.assert_array_equal(pair.blocks[-1], pair.steered.target)
    assert pair.handover.driver is Driver.STEERED


def test_the_way_back_waits_until_the_tracker_has_seen_what_comes_next() -> None:
    pair = Pair()
    pair.say(0.2, 0.5)
    pair.tick(20)
    pair.handover.go(Driver.STEERED)
    pair.tick(BLEND_TICKS)
    pair.handover.go(Driver.TRACKER)
    for _ in range(memory_ticks(TWIST2)):
        np.testing.assert_array_equal(pair.tick(), pair.steered.target)
    pair.tick(BLEND_TICKS)
    np.testing.assert_array_equal(pair.blocks[-1], pair.tracker.target)


@pytest.mark.parametrize("after", [1, 7, 12, 20, BLEND_TICKS - 1])
def test_a_change_of_mind_runs_the_blend_backwards_without_a_step(after: int) -> None:
    pair = Pair()
    pair.say(0.0, 1.0)
    pair.tick(20)
    pair.handover.go(Driver.STEERED)
    pair.tick(after)
    pair.handover.go(Driver.TRACKER)
    pair.tick(after)
    np.testing.assert_array_equal(pair.blocks[-1], pair.tracker.target)
    q = np.array(pair.blocks)[:, :, Q]
    span = np.abs(pair.steered.target[:, Q] - pair.tracker.target[:, Q]).max()
    assert np.abs(np.diff(q, axis=0)).max() <= span * 1.875 / BLEND_TICKS * 1.01


def test_a_hand_over_asked_for_twice_is_one() -> None:
    pair = Pair()
    pair.tick(20)
    pair.handover.go(Driver.STEERED)
    pair.tick(5)
    share = pair.handover.share
    pair.handover.go(Driver.STEERED)
    pair.tick()
    assert pair.handover.share > share


def test_remembering_is_clipped_as_the_controller_s_own_actions_are() -> None:
    pair = Pair()
    far = pair.tracker.target.copy()
    far[:, Q] = 1000.0
    pair.tracker.remember(far)
    assert TWIST2.action_clip is not None
    np.testing.assert_array_equal(pair.tracker.inputs.action, np.full(29, TWIST2.action_clip[1], np.float32))
