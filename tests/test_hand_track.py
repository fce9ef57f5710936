"""Hand states on their way from a human's motion into a clip, at other rates, mirrored, in chains: steps stay steps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.motion.convert import Wish, convert
from export.motion.resample import robot_at
from export.motion.robot_motion import of_clip
from export.motion.smpl_channels import human_clip
from export.motions import mirrored
from firmware_bridge.hand_bus import LEFT, RIGHT
from runtime.chain import chain_clip
from runtime.channels import ChannelTable
from runtime.clip import Clip, load_clip, save_clip
from runtime.errors import Refused
from runtime.hand_track import CHANNEL, HandEvent, HandTrack, filled, joined, with_events
from runtime.human_motion import save_human_motion
from runtime.reference import ClipReference, ReferenceFrame
from runtime.resample import at_rate, human_at
from runtime.robot import load_robot
from runtime.stitch import stitch
from tests import motion_files as files

ROBOT = load_robot("g1_29dof")
WALK = load_clip("walk", ROBOT)
HUMAN = replace(files.walking(), hand_states=np.array([[2, 0]] * 11 + [[0, 1]] * 20, np.int8))
"""31 frames at 30 Hz: the left hand opens and the right one half closes at frame 11, 0.3667 s."""


def walk_with(*events: HandEvent) -> Clip:
    return with_events(WALK, events)


def test_states_of_a_human_go_into_the_clip_and_through_its_file(tmp_path: Path) -> None:
    save_human_motion(tmp_path / "human.npz", HUMAN)
    for retarget in (False, True):
        out = tmp_path / f"{retarget}.npz"
        fact = convert(tmp_path / "human.npz", out, Wish(retarget=retarget))
        assert CHANNEL in fact["channels"]
        clip = load_clip(out, ROBOT)
        rows = clip.channels[CHANNEL]
        assert set(map(tuple, rows.tolist())) == {(2, 0), (0, 1)}
        change = int(np.flatnonzero(np.diff(rows[:, LEFT]))[0]) + 1
        assert change == 19  # 0.38 s: the first of 50 Hz at or after 11 frames of 30 Hz
        assert HandTrack(clip).events == (HandEvent(0.0, LEFT, 2), HandEvent(0.0, RIGHT, 0),
                                          HandEvent(0.38, LEFT, 0), HandEvent(0.38, RIGHT, 1))


@pytest.mark.parametrize("rate", [24.0, 29.876, 30.0, 50.0, 60.0, 120.0])
def test_no_rate_makes_a_state_of_two_others(rate: float) -> None:
    clip = human_clip(HUMAN, ROBOT, 50.0)
    for rows in (at_rate(clip, rate).channels[CHANNEL], robot_at(of_clip(clip), rate).channels[CHANNEL],
                 human_at(HUMAN, rate).hand_states):
        assert rows is not None
        assert set(np.asarray(rows)[:, LEFT].tolist()) == {0, 2}  # never 1: a closed hand does not pass half-open


def test_a_step_falls_on_its_frame_at_every_rate() -> None:
    """`28 / 50 * 50` is no whole number in floating point: the step must not come a frame late."""
    for rate in (25.0, 50.0, 100.0):
        for frame in range(1, 120):
            clip = at_rate(walk_with(HandEvent(frame / WALK.fps, RIGHT, 2)), rate)
            first = int(np.argmax(clip.channels[CHANNEL][:, RIGHT] == 2))
            assert 0 <= first / rate - frame / WALK.fps < 1 / rate - 1e-9, (rate, frame)


def test_a_reference_between_two_frames_has_the_earlier_ones_state() -> None:
    clip = walk_with(HandEvent(0.5, LEFT, 2))
    frame = ReferenceFrame(29, ChannelTable([CHANNEL]))
    source = ClipReference(clip, ROBOT.order)
    for time_s, state in ((0.499, -1), (0.5, 2), (0.51, 2), (99.0, 2)):
        source.sample(time_s, frame)
        assert frame.channels[CHANNEL].tolist() == [state, -1]
        assert HandTrack(clip).at(time_s).tolist() == [state, -1]


def test_frames_are_blended_but_states_are_not() -> None:
    table = ChannelTable([CHANNEL, "vr_compliance"])
    a, b, out = (ReferenceFrame(29, table) for _ in range(3))
    a.channels[CHANNEL][:], b.channels[CHANNEL][:] = (0, 2), (2, 0)
    b.channels["vr_compliance"][:] = 1
    out.blend(a, b, 0.25)
    assert out.channels[CHANNEL].tolist() == [0, 2]
    assert out.channels["vr_compliance"].tolist() == [0.25] * 3
    out.blend(a, b, 1.0)
    assert out.channels[CHANNEL].tolist() == [2, 0]


def test_in_the_mirror_left_is_right() -> None:
    clip = walk_with(HandEvent(0.2, LEFT, 2), HandEvent(0.4, RIGHT, 1))
    assert HandTrack(mirrored(clip)).events == (HandEvent(0.2, RIGHT, 2), HandEvent(0.4, LEFT, 1))
    assert mirrored(WALK).channels == {}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.sampled_from([-1.0, 0.0, 1.0, 2.0]), st.sampled_from([-1.0, 0.0, 1.0, 2.0])), min_size=1))
def test_what_is_not_known_stays_as_it_was(rows: list[tuple[float, float]]) -> None:
    states = filled(np.array(rows))
    for side in (LEFT, RIGHT):
        now = -1.0
        for row, found in zip(rows, states[:, side], strict=True):
            now = row[side] if row[side] >= 0 else now
            assert found == now


def test_at_a_seam_the_second_clip_leaves_the_hands_as_the_first_ended() -> None:
    first, second = np.array([[0, -1], [0, -1], [2, -1.0]]), np.array([[-1, -1], [-1, 1.0]])
    assert joined(first, 2, second).tolist() == [[0, -1], [0, -1], [2, -1], [2, 1]]


def test_a_grip_in_the_part_that_the_cut_leaves_out_is_not_lost() -> None:
    late = HandEvent(WALK.duration_s - 0.02, LEFT, 2)
    clip, seam = stitch(walk_with(late), load_clip("bow", ROBOT), ROBOT)
    assert seam.cut_s[0] > 0.02  # or this test shows nothing
    (event,) = HandTrack(clip).events
    assert event.side == LEFT
    assert event.state == 2
    assert event.time_s == pytest.approx(seam.time_s, abs=1e-9)


def test_a_clip_with_hands_is_joined_to_one_without() -> None:
    clip, _ = stitch(WALK, walk_with(HandEvent(1.0, RIGHT, 2)), ROBOT)
    assert clip.channels[CHANNEL].shape == (len(clip.joint_pos), 2)
    assert np.isin(clip.channels[CHANNEL], (-1, 2)).all()
    assert len(HandTrack(clip).events) == 1


def chain(tmp_path: Path, *actions: dict[str, Any]) -> Path:
    path = tmp_path / "chain.json"
    path.write_text(json.dumps({"format": "exoactor-chain/1", "actions": list(actions)}), "utf-8")
    return path


def test_events_of_a_chain_override_the_track_of_that_hand_alone(tmp_path: Path) -> None:
    save_clip(tmp_path / "own.npz", walk_with(HandEvent(0.0, LEFT, 1), HandEvent(0.5, RIGHT, 1)))
    path = chain(tmp_path, {"clip": "own.npz", "start_s": 0.2,
                            "hands": [{"hand": "left", "state": "closed", "at_s": 1.0}]})
    clip, _ = chain_clip(path, ROBOT)
    assert [event._replace(time_s=round(event.time_s, 6)) for event in HandTrack(clip).events] == [
        HandEvent(0.3, RIGHT, 1), HandEvent(1.0, LEFT, 2)]


def test_hands_of_a_chain_stay_closed_over_the_next_action(tmp_path: Path) -> None:
    grip = {"hand": "both", "state": "closed", "at_s": 1.0}
    release = {"hand": "right", "state": "open", "at_s": 1.5}
    clip, seams = chain_clip(chain(tmp_path, {"clip": "walk", "hands": [grip]}, {"clip": "walk_turning"},
                                   {"clip": "walk", "hands": [release]}), ROBOT)
    states = clip.channels[CHANNEL]
    assert (states[50:, LEFT] == 2).all()
    begin = seams[1].time_s + 1.5 - seams[1].cut_s[1]
    assert int(np.argmax(states[:, RIGHT] == 0)) == round(begin * 50)


@pytest.mark.parametrize(
    ("event", "complaint"),
    [
        ({"hand": "third", "state": "open", "at_s": 0}, "left, right, both"),
        ({"hand": "left", "state": "half", "at_s": 0}, "half-open"),
        ({"hand": "left", "state": "open", "at_s": -1}, "at_s"),
        ({"hand": "left", "state": "open", "at_s": 3600}, "within the part"),
        ({"hand": "left", "state": "open"}, "missing at_s"),
        ({"hand": ["left"], "state": "open", "at_s": 0}, "left, right, both"),
        ({"hand": "left", "state": "open", "at_s": 0, "force": 1}, "unknown force"),
        ("close", "an object"),
    ],
)
def test_an_event_that_cannot_be_is_refused(tmp_path: Path, event: Any, complaint: str) -> None:
    with pytest.raises(Refused, match=complaint):
        chain_clip(chain(tmp_path, {"clip": "walk", "hands": [event]}), ROBOT)


def test_a_clip_with_another_number_for_a_state_is_refused(tmp_path: Path) -> None:
    clip = walk_with(HandEvent(0.5, LEFT, 2))
    clip.channels[CHANNEL][7, LEFT] = 1.5
    save_clip(tmp_path / "odd.npz", clip)
    with pytest.raises(Refused, match="frame 7"):
        load_clip(tmp_path / "odd.npz", ROBOT)
