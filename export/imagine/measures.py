"""The failures of one action's motion, measured: by itself, beside the scene, against the truth where that is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from export.imagine.actions import Action
from export.imagine.body import AT, HANDS, SIDES, Body, laid_on, swings_m
from export.imagine.failure_modes import MODES
from export.imagine.signs import CLOSED, acting_hands, missing_signs
from export.motion import findings
from export.motion.check import run_of
from export.motion.findings import Finding
from firmware_bridge.scene import Thing
from runtime import rotation, tracking_metrics
from runtime.human_motion import HUMAN_JOINTS, HumanMotion
from runtime.resample import human_at

F64 = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
judge = partial(findings.judge, rows=MODES)
WALKS = ("walk to", "go round", "step over", "duck")
MAY_WALK = (*WALKS, "sit down", "stand up")
"""Verbs after which the root need not be where it was."""
AT_THING = ("reach", "sweep", "wipe", "lift")
VIDEO_HZ = 30.0
PALM_M = 0.05
"""From the hand's joint to the palm's surface, about: what is at a thing when the joint is so far from it."""
_PELVIS = 0
_LEAST_WAY_M = 0.5


@dataclass(frozen=True)
class Known:
    """What is known of an action besides its estimated motion.

    Attributes:
        truth: what was really done. thing: the action's object, in the plain human's lengths. seen: (T, 24) which
        joints the camera saw, over the whole action.
    """

    truth: Body | None = None
    thing: Thing | None = None
    seen: Flags | None = None


def measure(motion: HumanMotion, body: Body, step: Action, known: Known) -> list[Finding]:
    """Every row of MODES that can be measured of one action."""
    rows = [*_wrists(body), jitter(motion), *_signs(body, step), *_occlusion(body, step, known.seen)]
    if motion.has_place:
        rows += [*_root(body, step), *_steps(body), *_end(body, step)]
        if known.thing is not None and step.verb in AT_THING:
            rows.append(_hand_at(body, step, known.thing))
    if body.stands.any():
        rows.append(judge("pitch", abs(float(np.median(body.pitch[body.stands]))), body.fps,
                          detail=f"{np.degrees(np.median(body.pitch[body.stands])):+.1f} degrees forwards"))
    if known.truth is not None:
        rows += against(laid_on(body, known.truth), known.truth, step, has_place=motion.has_place)
    return rows


def acting(body: Body, step: Action) -> Flags:
    """(T, 2) when which hand acts: as it closes or opens, else while it is out by four fifths of its most."""
    flags = np.zeros((body.frames, 2), np.bool_)
    for hand in acting_hands(step):
        out = body.hands_out[:, hand]
        flags[:, hand] = out >= out[0] + 0.8 * (out.max() - out[0])
        if body.hands is not None:
            closed = body.hands[:, hand] == CLOSED
            changes = np.flatnonzero(closed[1:] != closed[:-1])
            if len(changes):
                flags[:, hand] = np.abs(np.arange(body.frames)[:, None] - changes - 1).min(axis=1) <= 0.2 * body.fps
    return flags


def span(flags: npt.ArrayLike) -> tuple[int, int] | None:
    """First and last of what is true, in (T,)."""
    at = np.flatnonzero(flags)
    return (int(at[0]), int(at[-1])) if len(at) else None


def _wrists(body: Body) -> list[Finding]:
    worst = []
    for side, hand in zip(SIDES, HANDS, strict=True):
        elbow, wrist = body.joints[:, AT[f"{side}_elbow"]], body.joints[:, AT[f"{side}_wrist"]]
        forearm, palm = wrist - elbow, body.joints[:, hand] - wrist
        cosine = (forearm * palm).sum(axis=1) / np.linalg.norm(forearm, axis=1) / np.linalg.norm(palm, axis=1)
        angle = np.arccos(np.clip(cosine, -1, 1))
        worst.append((float(angle.max()), int(np.argmax(angle)), side))
    value, at, side = max(worst)
    return [judge("wrist_bend", value, body.fps, (at, at), side)]


def jitter(motion: HumanMotion) -> Finding:
    """Mean jerk of the joints at the rate of a video, so that the rates of estimators do not matter."""
    joints = human_at(motion, VIDEO_HZ).in_world()[0]
    if len(joints) < 4:
        return judge("jitter", 0.0, VIDEO_HZ)
    jerk = np.linalg.norm(np.diff(joints, 3, axis=0) * VIDEO_HZ**3, axis=2)
    at, joint = int(np.argmax(jerk.mean(axis=1))), HUMAN_JOINTS[int(np.argmax(jerk.mean(axis=0)))]
    return judge("jitter", float(jerk.mean()), VIDEO_HZ, (at, at + 3), f"most in {joint}")


def _signs(body: Body, step: Action) -> list[Finding]:
    missing = missing_signs(body, step)
    return [judge("signs", len(missing), body.fps, detail=f"not seen: {'; '.join(missing)}" if missing else "")]


def _occlusion(body: Body, step: Action, seen: Flags | None) -> list[Finding]:
    out, hands = [], acting_hands(step)
    if seen is not None and len(seen):
        joints = [HANDS[hand] for hand in hands] or [AT["left_ankle"], AT["right_ankle"]]
        runs = [(run_of(~seen[:, joint]), joint) for joint in joints]
        first, last, joint = max(((run or (0, -1)) + (joint,) for run, joint in runs), key=lambda row: row[1] - row[0])
        fps = len(seen) / body.frames * body.fps
        out.append(judge("unseen", (last - first + 1) / fps, fps, (first, last) if last >= first else None,
                         HUMAN_JOINTS[joint] if last >= first else ""))
    if body.hands is not None and hands:
        unknown = (body.hands[:, list(hands)] < 0).mean(axis=0)
        out.append(judge("hands_unknown", float(unknown.max()), body.fps))
    return out


def _root(body: Body, step: Action) -> list[Finding]:
    out = [judge("root_sink", abs(body.sink_m), body.fps, detail=f"{body.sink_m:+.3f} m")]
    if step.verb not in MAY_WALK:
        out.append(judge("root_away", body.way_m, body.fps, (0, body.frames - 1)))
    return out


def _steps(body: Body) -> list[Finding]:
    lengths = swings_m(body)
    if not lengths:
        return []
    bones = np.diff(body.joints[0, [AT["left_hip"], AT["left_knee"], AT["left_ankle"]]], axis=0)
    leg = float(np.linalg.norm(bones, axis=1).sum())
    return [judge("step_length", max(lengths) / leg, body.fps, detail=f"{len(lengths)} of {min(lengths):.2f} to "
                  f"{max(lengths):.2f} m")]


def _end(body: Body, step: Action) -> list[Finding]:
    last = (body.frames - 1, body.frames - 1)
    speed = float(np.linalg.norm(body.joints[-1, _PELVIS] - body.joints[-2, _PELVIS])) * body.fps
    out = [judge("end_speed", speed, body.fps, last)]
    if step.verb != "bend":
        out.append(judge("end_tilt", float(body.lean[-1]), body.fps, last))
    if step.verb != "sit down":
        middle = body.joints[-1, [AT["left_ankle"], AT["right_ankle"], AT["left_foot"], AT["right_foot"]], :2]
        trunk = body.joints[-1, [_PELVIS, AT["spine3"]], :2].mean(axis=0)
        out.append(judge("end_balance", float(np.linalg.norm(trunk - middle.mean(axis=0))), body.fps, last))
    if step.verb not in ("sit down", "bend"):
        out.append(judge("end_height", max(1 - float(body.height[-1]), 0.0), body.fps, last))
    return out


def _hand_at(body: Body, step: Action, thing: Thing) -> Finding:
    flags = acting(body, step)
    heights = body.joints[:, HANDS, 2]
    half = thing.size_m[-1] / 2
    low, high = thing.position_m[2] - half, thing.position_m[2] + half
    if step.verb == "wipe":
        low = high
    off = np.maximum(np.maximum(low - heights, heights - high - PALM_M), 0.0)
    at = span(flags.any(axis=1))
    mean = float(heights[flags].mean()) if flags.any() else 0.0
    return judge("hand_at_thing", float(off[flags].mean()) if flags.any() else 0.0, body.fps, at,
                 f"hand at {mean:.2f} m, {thing.name} from {low:.2f} to {high:.2f} m, in the human's lengths")


def against(body: Body, truth: Body, step: Action, *, has_place: bool) -> list[Finding]:
    """Errors of a motion that was laid on the truth (`laid_on`)."""
    frames, fps = body.frames, body.fps
    true = truth.joints[:frames]
    relative = (body.joints - body.joints[:, :1]) - (true - true[:, :1])
    distance = np.linalg.norm(relative[:, 1:], axis=2).mean(axis=1)
    worst = int(np.argmax(distance))
    out = [judge("pose_error", float(distance.mean()), fps, (worst, worst), f"worst {distance[worst]:.3f} m"),
           *_hand_errors(body, truth, step)]
    upright = truth.stands[:frames]
    if upright.any():
        bias = float((body.pitch - truth.pitch[:frames])[upright].mean())
        out.append(judge("pitch_error", abs(bias), fps, span(upright), f"{np.degrees(bias):+.1f} degrees forwards"))
    if has_place:
        out += _way_errors(body, truth)
    return out


def _hand_errors(body: Body, truth: Body, step: Action) -> list[Finding]:
    out: list[Finding] = []
    flags = acting(truth, step)[:body.frames]
    if flags.any():
        apart = rotation.multiply_many(body.turns[:, HANDS], rotation.conjugate_many(truth.turns[:body.frames, HANDS]))
        angle = np.linalg.norm(rotation.rotation_vector_many(apart), axis=-1)
        height = body.joints[:, HANDS, 2] - truth.joints[:body.frames, HANDS, 2]
        at = span(flags.any(axis=1))
        mean = float(height[flags].mean())
        out += [judge("wrist_error", float(angle[flags].mean()), body.fps, at),
                judge("hand_height_error", abs(mean), body.fps, at, f"{mean:+.3f} m")]
    if body.hands is not None and truth.hands is not None:
        told = body.hands >= 0
        wrong = told & (body.hands != truth.hands[:body.frames])
        if told.any():
            out.append(judge("hand_state_error", float(wrong[told].mean()), body.fps, span(wrong.any(axis=1))))
    return out


def _way_errors(body: Body, truth: Body) -> list[Finding]:
    drift = tracking_metrics.root_drift(body.joints[:, 0, :2], body.heading, truth.joints[:body.frames, 0, :2],
                                        truth.heading[:body.frames])
    metres, heading = drift["root_drift_m"], drift["heading_drift_deg"]
    assert metres is not None and heading is not None
    last = (body.frames - 1, body.frames - 1)
    out = [judge("root_drift_error", metres / max(truth.path_m, _LEAST_WAY_M), body.fps, last, f"{metres:.3f} m off"),
           judge("heading_error", abs(float(np.radians(heading))), body.fps, last, f"{heading:+.1f} degrees")]
    mine, true = swings_m(body), swings_m(truth)
    if true:
        mean = float(np.mean(mine)) if mine else 0.0
        off = mean / float(np.mean(true)) - 1
        out.append(judge("step_length_error", abs(off), body.fps, detail=f"{len(mine)} of {mean:.2f} m on average, "
                         f"really {len(true)} of {np.mean(true):.2f} m"))
    return out


def join(before: HumanMotion, after: HumanMotion, fps: float) -> Finding:
    """How far the first pose of an action is from the last one before it, places and headings apart."""
    poses = []
    for motion, frame in ((before, -1), (after, 0)):
        body_joints, turns = motion.in_world()
        ahead = rotation.rotate_many(turns[frame, 0], np.array([0.0, 0.0, 1.0]))
        angle = -float(np.arctan2(ahead[1], ahead[0]))
        turn = np.array([np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)])
        poses.append(rotation.rotate_many(turn, body_joints[frame] - body_joints[frame, 0]))
    apart = np.linalg.norm(poses[0] - poses[1], axis=1)
    last = before.frames - 1
    return judge("join", float(apart.max()), fps, (last, last), HUMAN_JOINTS[int(np.argmax(apart))])
