"""The pre-flight of a human's motion: what can be said before there is a robot in it."""

from __future__ import annotations

import numpy as np

from export.motion.body_checks import GROUND_PERCENTILE, check_feet
from export.motion.check import steps_of, worst_step
from export.motion.findings import Finding, judge
from runtime import rotation
from runtime.human_motion import HUMAN_JOINTS, HumanMotion

FEET = tuple(HUMAN_JOINTS.index(name) for name in ("left_foot", "right_foot"))
ANKLES = tuple(HUMAN_JOINTS.index(name) for name in ("left_ankle", "right_ankle"))
SOLE_M = 0.03
"""A toe joint's height over the floor it stands on, about."""


def check_human_motion(motion: HumanMotion) -> list[Finding]:
    """Rate, length, teleports, turns, and the feet where the motion has a place in the world."""
    fps = motion.fps
    findings = [judge("frames", max(3 - motion.frames, 0), fps),
                judge("rate", max(20 / fps, fps / 200), fps, detail=f"{fps:g} Hz"),
                judge("duration", motion.duration_s, fps)]
    speed, jump, turn = steps_of(motion.pelvis_m, motion.local_wxyz[:, 0], fps)
    findings.append(worst_step("root_turn", turn, fps))
    local = motion.local_wxyz[:, 1:]
    between = rotation.multiply_many(local[1:], rotation.conjugate_many(local[:-1]))
    turns = np.linalg.norm(rotation.rotation_vector_many(between), axis=-1) * fps
    joint = HUMAN_JOINTS[1 + int(np.argmax(turns.max(axis=0)))]
    findings.append(worst_step("body_turn", turns.max(axis=1), fps, joint))
    if motion.has_place:
        findings += [worst_step("root_speed", speed, fps), worst_step("root_jump", jump, fps)]
        placed, _ = motion.in_world()
        points = np.stack([placed[:, FEET], placed[:, ANKLES]], axis=2)
        toes = placed[:, FEET, 2]
        ground = float(np.percentile(toes.min(axis=1), GROUND_PERCENTILE))
        findings.append(judge("ground", abs(ground - SOLE_M), fps, None, f"toe joints at {ground:+.3f} m"))
        findings += [f for f in check_feet(points, toes, placed[..., 2].min(axis=1), ground, fps)
                     if f.check == "foot_skate"]
    return findings
