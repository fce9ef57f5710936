"""What is wrong with an imagined motion is measured: each failure of the paper, put into a sound motion, is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.imagine.acting import Performance, perform
from export.imagine.actions import MEANT, Action, read_plan
from export.imagine.actions import action as act
from export.imagine.body import AT, body_of, laid_on
from export.imagine.failure_modes import MODES, table_markdown
from export.imagine.measures import Known, join, measure
from export.imagine.signs import SIGNS, exchanged, missing_signs
from export.motion.findings import ADVICE, OK, REFUSED, Finding
from firmware_bridge.scene import Scene, Thing
from runtime import rotation
from runtime.human_motion import HumanMotion, make_human_motion

TABLE = Thing("table", "box", (0.5, 1.0, 0.9), (1.6, 0.0, 0.45))
BOX = Thing("box", "box", (0.2, 0.3, 0.2), (0.45, 0.0, 0.75), 0.0, 0.5)
BAR = Thing("bar", "box", (0.05, 2.0, 0.05), (0.6, 0.0, 1.6))
ROD = Thing("rod", "box", (0.05, 2.0, 0.05), (0.5, 0.0, 0.02))
SCENE = Scene((TABLE, BOX, BAR, ROD))
WHAT = {"walk to": "table", "go round": "table", "step over": "rod", "duck": "bar", "lift": "box", "sweep": "box",
        "wipe": "table"}
UP, LEFT = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])


def done(*verbs: str) -> tuple[Performance, tuple[Action, ...]]:
    """A performance of verbs in a row."""
    plan = read_plan("x", {"actions": [vars(act(verb, WHAT.get(verb, ""))) for verb in verbs]}, tuple(WHAT.values()))
    return perform(plan, SCENE, 0), plan.actions


def found(spoilt: HumanMotion, truth: HumanMotion | None, step: Action, **known: object) -> dict[str, Finding]:
    """Findings by their row."""
    true = None if truth is None else body_of(truth)
    return {row.check: row for row in measure(spoilt, body_of(spoilt), step, Known(true, **known))}


def turned(motion: HumanMotion, joint: str, vectors: np.ndarray) -> HumanMotion:
    """A joint turned further in its own axes; the pelvis in the world's."""
    local = motion.local_wxyz.copy()
    extra = rotation.quat_from_vector_many(np.broadcast_to(vectors, (motion.frames, 3)))
    order = (extra, local[:, AT[joint]]) if joint == "pelvis" else (local[:, AT[joint]], extra)
    local[:, AT[joint]] = rotation.multiply_many(*order)
    return replace(motion, local_wxyz=local)


def moved(motion: HumanMotion, way: np.ndarray) -> HumanMotion:
    """The pelvis elsewhere, and all that hangs on it."""
    return replace(motion, pelvis_m=motion.pelvis_m + way)


def ramp(motion: HumanMotion, vector: np.ndarray) -> np.ndarray:
    """(T, 3) from nothing to a vector."""
    return np.linspace(0, 1, motion.frames)[:, None] * vector


def noisy(motion: HumanMotion, metres: float) -> HumanMotion:
    """White noise of the root."""
    return moved(motion, np.random.default_rng(0).normal(0, metres, (motion.frames, 3)))


def late(motion: HumanMotion, vector: np.ndarray) -> np.ndarray:
    """(T, 3) nothing until the last second, then to a vector."""
    frames = round(motion.fps)
    return np.concatenate([np.zeros((motion.frames - frames, 3)), ramp(replace(
        motion, local_wxyz=motion.local_wxyz[:frames], pelvis_m=motion.pelvis_m[:frames]), vector)])


ILLS: list[tuple[str, str, str, Callable[[HumanMotion], HumanMotion]]] = [
    ("wrist_bend", REFUSED, "wave", lambda m: turned(m, "right_wrist", np.array([0, 0, 2.2]))),
    ("wrist_error", REFUSED, "reach", lambda m: turned(m, "right_wrist", np.array([np.pi / 2, 0, 0]))),
    ("hand_height_error", REFUSED, "reach", lambda m: turned(m, "right_shoulder", np.array([0, -0.9, 0]))),
    ("step_length_error", REFUSED, "walk to", lambda m: replace(m, pelvis_m=m.pelvis_m * [0.2, 0.2, 1])),
    ("step_length", REFUSED, "walk to", lambda m: replace(m, pelvis_m=m.pelvis_m * [4, 4, 1])),
    ("root_drift_error", REFUSED, "walk to", lambda m: replace(m, pelvis_m=m.pelvis_m * [0.4, 0.4, 1])),
    ("root_away", REFUSED, "wipe", lambda m: moved(m, ramp(m, np.array([0.6, 0, 0])))),
    ("root_sink", REFUSED, "wave", lambda m: moved(m, ramp(m, -0.3 * UP))),
    ("heading_error", REFUSED, "walk to", lambda m: turned(m, "pelvis", ramp(m, 1.0 * UP))),
    ("jitter", REFUSED, "hold", lambda m: noisy(m, 0.02)),
    ("jitter", ADVICE, "hold", lambda m: noisy(m, 0.004)),
    ("hands_unknown", ADVICE, "lift", lambda m: replace(m, hand_states=np.full((m.frames, 2), -1, np.int8))),
    ("hand_state_error", ADVICE, "lift", lambda m: replace(m, hand_states=np.zeros((m.frames, 2), np.int8))),
    ("end_tilt", REFUSED, "wave", lambda m: turned(m, "pelvis", late(m, 1.2 * LEFT))),
    ("end_balance", REFUSED, "wave", lambda m: turned(m, "pelvis", late(m, 0.5 * LEFT))),
    ("end_height", REFUSED, "wave", lambda m: done("sit down")[0].motions[0]),
    ("end_speed", ADVICE, "hold", lambda m: moved(m, late(m, np.array([0.8, 0, 0])))),
    ("pitch", REFUSED, "wave", lambda m: turned(m, "pelvis", 0.46 * LEFT)),
    ("pitch_error", REFUSED, "wave", lambda m: turned(m, "pelvis", 0.3 * LEFT)),
    ("pose_error", REFUSED, "wave", lambda m: turned(m, "pelvis", 1.0 * LEFT)),
    ("signs", ADVICE, "sit down", lambda m: replace(m, pelvis_m=m.pelvis_m[:1].repeat(m.frames, axis=0),
                                                    local_wxyz=m.local_wxyz[:1].repeat(m.frames, axis=0))),
]


@pytest.mark.parametrize(("row", "verdict", "verb", "spoil"), ILLS, ids=lambda value: value if isinstance(
    value, str) else "")
def test_each_failure_is_found_in_a_motion_that_has_it(
    row: str, verdict: str, verb: str, spoil: Callable[[HumanMotion], HumanMotion],
) -> None:
    performance, (step, *_) = done(verb)
    sound = performance.motions[0]
    assert found(sound, sound, step)[row].verdict == OK
    seen = found(spoil(sound), sound, step)[row]
    assert seen.verdict == verdict, f"{seen.value} of {seen.limit}"
    assert seen.as_json()["what_to_do"] and MODES[row].failure


def test_a_hand_turned_about_the_forearm_is_no_bent_wrist() -> None:
    performance, (step, *_) = done("reach")
    spoilt = turned(performance.motions[0], "right_wrist", np.array([np.pi / 2, 0, 0]))
    assert found(spoilt, None, step)["wrist_bend"].verdict == OK


def test_the_documentation_has_the_table() -> None:
    text = (Path(__file__).parents[1] / "docs" / "imagine.md").read_text("utf-8")
    assert f"<!-- modes -->\n{table_markdown()}\n<!-- /modes -->" in text


def test_every_row_is_measured_somewhere() -> None:
    rows = {row for row, *_ in ILLS} | {"order", "join", "unseen", "hand_at_thing"}
    assert rows == set(MODES)


@pytest.mark.parametrize("verb", sorted(SIGNS))
def test_a_sound_motion_of_every_verb_passes(verb: str) -> None:
    before = {"stand up": ("sit down",), "place": ("lift",)}.get(verb, ())
    performance, steps = done(*before, verb)
    seen = found(performance.motions[-1], performance.motions[-1], steps[-1])
    assert [row for row in seen.values() if row.verdict != OK] == []
    assert set(SIGNS) == {verb.name for verb in MEANT.values()}


def test_actions_in_another_order_are_noticed_and_the_same_verb_twice_is_not() -> None:
    performance, steps = done("wave", "sit down", "stand up")
    bodies = [body_of(motion) for motion in performance.motions]
    assert exchanged(bodies, steps) == []
    assert exchanged([bodies[1], bodies[0], bodies[2]], steps) == [(0, 1), (1, 0)]
    assert missing_signs(bodies[0], steps[1])
    performance, steps = done("wave", "wave")
    assert exchanged([body_of(motion) for motion in performance.motions][::-1], steps) == []


def test_a_put_down_before_the_lift_is_noticed_by_the_hands() -> None:
    performance, steps = done("lift", "place")
    bodies = [body_of(motion) for motion in performance.motions]
    assert exchanged(bodies, steps) == []
    assert len(exchanged(bodies[::-1], steps)) == 2


def test_motions_that_do_not_meet_are_noticed() -> None:
    first, second = done("sit down", "stand up")[0].motions
    assert join(first, second, 50.0).verdict == OK
    assert join(first, done("wave")[0].motions[0], 50.0).verdict == ADVICE


def test_what_the_camera_did_not_see_is_timed() -> None:
    performance, (step, *_) = done("reach")
    motion = performance.motions[0]
    seen = np.ones((motion.frames // 2, 24), bool)
    seen[10:30, AT["right_hand"]] = False
    row = found(motion, None, step, seen=seen)["unseen"]
    assert row.verdict == ADVICE and row.value == pytest.approx(20 / 25, rel=0.05)
    assert row.as_json()["from_s"] == pytest.approx(10 / 25, rel=0.05)
    seen[:, AT["right_hand"]], seen[:, AT["left_hand"]] = True, False  # a hand that does nothing may be hidden
    assert found(motion, None, step, seen=seen)["unseen"].verdict == OK


def test_a_hand_that_passes_over_the_thing_is_noticed_by_the_scene() -> None:
    performance, (step, *_) = done("wipe")
    motion = performance.motions[0]
    high = float(body_of(motion).joints[:, AT["right_hand"], 2].max())
    low = replace(TABLE, position_m=(1.6, 0.0, high - 0.5), size_m=(0.5, 1.0, 0.4))
    assert found(motion, None, step, thing=low)["hand_at_thing"].verdict == ADVICE
    near = replace(low, position_m=(1.6, 0.0, high - 0.23))
    assert found(motion, None, step, thing=near)["hand_at_thing"].verdict == OK


def test_without_a_place_in_the_world_no_way_is_judged() -> None:
    performance, (step, *_) = done("walk to")
    motion = replace(performance.motions[0], has_place=False)
    seen = found(motion, performance.motions[0], step)
    assert not {"root_drift_error", "root_sink", "step_length", "end_balance"} & set(seen)
    assert {"jitter", "wrist_bend", "pose_error"} <= set(seen)


def test_where_an_estimator_begins_and_looks_does_not_matter() -> None:
    performance, (step, *_) = done("walk to")
    truth = performance.motions[0]
    other = turned(truth, "pelvis", 2.0 * UP)
    turn = rotation.quat_from_vector_many(2.0 * UP)
    other = replace(other, pelvis_m=rotation.rotate_many(turn, truth.pelvis_m) + np.array([5.0, -3.0, 0.4]))
    seen = found(other, truth, step)
    assert seen["root_drift_error"].value < 1e-6 and seen["pose_error"].value < 1e-6
    assert seen["heading_error"].value < 1e-6 and seen["hand_state_error"].value == 0


def test_a_hand_of_which_nothing_is_told_is_unknown_and_neither_right_nor_wrong() -> None:
    performance, (step,) = done("lift")
    truth = performance.motions[0]
    assert truth.hand_states is not None
    half = truth.hand_states.copy()
    half[:, 0] = -1
    half[:10, 1] = (half[:10, 1] + 1) % 3
    error = found(replace(truth, hand_states=half), truth, step)["hand_state_error"]
    assert error.value == pytest.approx(10 / truth.frames)
    nothing = found(replace(truth, hand_states=np.full_like(half, -1)), truth, step)
    assert "hand_state_error" not in nothing and nothing["hands_unknown"].verdict == ADVICE


def test_a_taller_person_at_another_rate_is_no_error() -> None:
    performance, (step, *_) = done("reach")
    truth = performance.motions[0]
    tall = replace(truth, skeleton=replace(truth.skeleton, offsets_m=truth.skeleton.offsets_m * 1.1),
                   pelvis_m=truth.pelvis_m * 1.1, fps=25.0, local_wxyz=truth.local_wxyz[::2], hand_states=None)
    tall = replace(tall, pelvis_m=tall.pelvis_m[::2])
    seen = found(tall, truth, step)
    assert seen["hand_height_error"].value < 0.02 and seen["pose_error"].value < 0.02
    assert "hand_state_error" not in seen


def test_a_motion_that_ends_early_is_compared_as_far_as_it_goes() -> None:
    performance, _ = done("wave")
    truth = body_of(performance.motions[0])
    half = replace(performance.motions[0], local_wxyz=performance.motions[0].local_wxyz[:60],
                   pelvis_m=performance.motions[0].pelvis_m[:60], hand_states=None)
    assert laid_on(body_of(half), truth).frames == 60


WAVED = body_of(done("wave")[0].motions[0])


@settings(max_examples=20, deadline=None)
@given(verb=st.sampled_from(sorted(SIGNS)), frames=st.integers(7, 40), fps=st.sampled_from([10.0, 30.0]),
       seed=st.integers(0, 1000), has_hands=st.booleans(), has_place=st.booleans())
def test_whatever_an_estimator_gives_is_measured(verb: str, frames: int, fps: float, seed: int, has_hands: bool,
                                                 has_place: bool) -> None:
    random = np.random.default_rng(seed)
    local = rotation.quat_from_vector_many(random.normal(0, 1.5, (frames, 24, 3)))
    hands = random.integers(-1, 3, (frames, 2)).astype(np.int8) if has_hands else None
    motion = make_human_motion("x", fps, local, random.normal(0, 2, (frames, 3)), hand_states=hands,
                               has_place=has_place)
    rows = measure(motion, body_of(motion), act(verb, WHAT.get(verb, "")),
                   Known(WAVED, TABLE, random.random((frames, 24)) > 0.5))
    assert all(np.isfinite(row.value) for row in rows) and len({row.check for row in rows}) == len(rows)
