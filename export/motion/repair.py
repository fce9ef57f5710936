"""Repairs of a robot's motion: each one named with its figures, none silent, and what cannot be repaired refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from export.motion.check import (
    AROUND,
    beyond_range,
    finite_frames,
    lost_frames,
    ranges,
    repeated_frames,
    root_steps,
    speed_ratio,
)
from export.motion.check_limits import CHECKS
from export.motion.findings import OK, REFUSED, Finding
from export.motion.robot_motion import RobotMotion
from runtime import rotation
from runtime.channels import CHANNELS, ChannelTable
from runtime.errors import Refused
from runtime.robot import Robot

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
MOST_GAP_S = 0.1
"""A longer gap hides movement: of a 1 Hz swing by 0.5 rad, a line through 0.1 s misses 0.03 rad, through 0.3 s 0.2."""
END_S = 1.0
"""What lies this close to an end is cut off with it."""
MOST_SLOWER = 3.0
JUMP = 3.0
"""Times the usual joint speed around it: a step of this much is no movement of its own."""
NORMS = (0.5, 2.0)


def repair_motion(
    motion: RobotMotion, robot: Robot, findings: Sequence[Finding], ground_m: float | None = None,
) -> tuple[RobotMotion, list[str]]:
    """The repaired motion and a line a change; the same object and no lines where nothing is to be done.

    Args:
        findings: of `check_robot_motion`.
        ground_m: where the body's lowest point usually is; None: not known yet, and left.

    Raises:
        Refused: joints of another robot, long gaps, rotations that are none, jumps far from both ends, a motion too
            fast by more than three times.
    """
    bad = {finding.check: finding for finding in findings if finding.verdict != OK}
    if "joints" in bad or "frames" in bad:
        raise Refused("--repair", expected="a motion of the robot's joints", found=(bad.get("joints")
                      or bad["frames"]).detail or "too few frames", what_to_do=CHECKS["joints"].what_to_do)
    done: list[str] = []
    if "finite" in bad:
        motion = _fill(motion, done)
    if "quaternion_norm" in bad:
        motion = _normalise(motion, done)
    motion = _trim(motion, robot, done)
    if "repeated" in bad or "gaps" in bad:
        motion = _even(motion, done)
    if "joint_range" in bad:
        motion = _clamp(motion, robot, done)
    if "joint_acceleration" in bad or ("joint_speed" in bad and bad["joint_speed"].verdict == REFUSED):
        motion = _despike(motion, done)
    motion = _slow_down(motion, robot, done)
    if ground_m is not None and "ground" in bad:
        motion = replace(motion, root_pos=motion.root_pos - np.array([0.0, 0.0, ground_m]))
        done.append(f"ground: all frames moved by {-ground_m:+.4f} m")
    if "velocity_factor" in bad or "velocity_error" in bad:
        motion = replace(motion, joint_vel=None)
        done.append("velocities: the declared ones left out")
    return motion, done


def take(motion: RobotMotion, rows: Index) -> RobotMotion:
    """The motion's frames at `rows`."""
    declared: dict[str, Any] = {name: None if value is None else value[rows] for name, value in (
        ("joint_vel", motion.joint_vel), ("root_vel", motion.root_vel), ("root_ang_vel", motion.root_ang_vel))}
    return replace(motion, joint_pos=motion.joint_pos[rows], root_pos=motion.root_pos[rows],
                   root_quat_wxyz=motion.root_quat_wxyz[rows],
                   channels={name: values[rows] for name, values in motion.channels.items()}, **declared)


def _between(motion: RobotMotion, frame: int, a: int, b: int) -> None:
    """Writes one frame in place, on the way from frame a to frame b."""
    s = (frame - a) / (b - a)
    for values in (motion.joint_pos, motion.root_pos):
        values[frame] = (1 - s) * values[a] + s * values[b]
    motion.root_quat_wxyz[frame] = rotation.slerp(motion.root_quat_wxyz[a], motion.root_quat_wxyz[b], s)
    for name, values in motion.channels.items():
        values[frame] = ChannelTable([name]).mix(values[a], values[b], s)


def _copy(motion: RobotMotion) -> RobotMotion:
    return take(motion, np.arange(motion.frames))


def _fill(motion: RobotMotion, done: list[str]) -> RobotMotion:
    good = np.flatnonzero(finite_frames(motion))
    if len(good) < 3:
        raise Refused("--repair", expected="at least three finite frames", found=f"{len(good)}",
                      what_to_do="export the motion again")
    first, last = int(good[0]), int(good[-1])
    if first or last < motion.frames - 1:
        done.append(f"finite: {first} frames cut off the start, {motion.frames - 1 - last} off the end")
    motion = take(motion, np.arange(first, last + 1))
    good = np.flatnonzero(finite_frames(motion))
    for a, b in zip(good[:-1].tolist(), good[1:].tolist(), strict=True):
        if (b - a - 1) / motion.fps > MOST_GAP_S:
            raise Refused("--repair", expected=f"gaps of at most {MOST_GAP_S} s inside the motion",
                          found=f"{(b - a - 1) / motion.fps:.2f} s without numbers from frame {first + a + 1} "
                          f"({(first + a + 1) / motion.fps:.2f} s)", what_to_do="split the motion there")
        for frame in range(a + 1, b):
            _between(motion, frame, a, b)
        if b - a > 1:
            done.append(f"finite: frames {first + a + 1} to {first + b - 1} put between their neighbours")
    return motion


def _normalise(motion: RobotMotion, done: list[str]) -> RobotMotion:
    motion = _copy(motion)
    turning = [motion.root_quat_wxyz, *(v for name, v in motion.channels.items() if CHANNELS[name].rotations)]
    worst = 0.0
    for values in turning:
        quats = values.reshape(motion.frames, -1, 4)
        norms = np.linalg.norm(quats, axis=2, keepdims=True)
        if not ((norms > NORMS[0]) & (norms < NORMS[1])).all():
            frame = int(np.argmax(np.abs(np.log(np.maximum(norms, 1e-9))).max(axis=(1, 2))))
            raise Refused("--repair", expected=f"norms of rotations between {NORMS[0]} and {NORMS[1]}",
                          found=f"{norms[frame].min():.3g} in frame {frame} ({frame / motion.fps:.2f} s)",
                          what_to_do="these are no rotations: check which key holds them")
        worst = max(worst, float(np.abs(norms - 1).max()))
        values[:] = (quats / norms).reshape(values.shape)
    done.append(f"quaternion_norm: normalised, the worst was off by {worst:.4f}")
    return motion


def jumps(motion: RobotMotion, robot: Robot) -> Index:
    """Steps (frame to the next) that are refused as jumps; joints that are fast before and after too do not jump."""
    speed, jump, turn = root_steps(motion)
    ratio = np.asarray(speed_ratio(motion, robot).max(axis=1))
    around = np.lib.stride_tricks.sliding_window_view(np.pad(ratio, AROUND, mode="edge"), 2 * AROUND + 1)
    out = (ratio > (CHECKS["joint_speed"].refused or 0)) & (ratio > JUMP * np.median(around, axis=1))
    for check, values in (("root_speed", speed), ("root_jump", jump), ("root_turn", turn)):
        out = out | (values > (CHECKS[check].refused or 0))
    return np.asarray(np.flatnonzero(out))


def _is_spike(motion: RobotMotion, step: int, robot: Robot) -> bool:
    """Whether a step only leads to, or away from, one odd frame of the joints."""
    speed, jump, turn = root_steps(motion)
    root = any(values[step] > (CHECKS[name].refused or 0)
               for name, values in (("root_speed", speed), ("root_jump", jump), ("root_turn", turn)))
    spikes = np.asarray(_spikes(motion).any(axis=1))
    return not root and bool(spikes[step] or spikes[step + 1])


def _trim(motion: RobotMotion, robot: Robot, done: list[str]) -> RobotMotion:
    steps = [step for step in jumps(motion, robot).tolist() if not _is_spike(motion, step, robot)]
    reach = min(int(END_S * motion.fps), motion.frames // 3)
    head = [step for step in steps if step < reach]
    tail = [step for step in steps if step >= motion.frames - 1 - reach]
    inside = [step for step in steps if step not in head and step not in tail]
    if inside:
        at = inside[0]
        speed, _, turn = root_steps(motion)
        raise Refused("--repair", expected=f"jumps within {END_S:g} s of an end only",
                      found=f"one from frame {at} to {at + 1} ({at / motion.fps:.2f} s): root {speed[at]:.1f} m/s, "
                      f"turning {turn[at]:.1f} rad/s, joints {speed_ratio(motion, robot)[at].max():.2f} of their limit",
                      what_to_do="split the motion there")
    if not head and not tail:
        return motion
    first = max(head, default=-1) + 1
    last = min(tail, default=motion.frames - 1)
    done.append(f"trim: {first} frames ({first / motion.fps:.2f} s) cut off the start, {motion.frames - 1 - last} "
                f"({(motion.frames - 1 - last) / motion.fps:.2f} s) off the end")
    return take(motion, np.arange(first, last + 1))


def _even(motion: RobotMotion, done: list[str]) -> RobotMotion:
    repeated, lost = repeated_frames(motion), np.flatnonzero(lost_frames(motion))
    motion = _copy(motion)
    for frame in np.flatnonzero(repeated).tolist():
        _between(motion, frame, frame - 1, frame + 1)
    if repeated.any():
        done.append(f"repeated: {int(repeated.sum())} frames put between their neighbours")
    if len(lost):
        rows = np.sort(np.concatenate([np.arange(motion.frames), lost]))
        motion = take(motion, rows)
        for i, step in enumerate(lost.tolist()):
            at = step + i + 1
            _between(motion, at, at - 1, at + 1)
        done.append(f"gaps: {len(lost)} frames inserted, the motion is {len(lost) / motion.fps:.2f} s longer")
    return motion


def _clamp(motion: RobotMotion, robot: Robot, done: list[str]) -> RobotMotion:
    beyond = beyond_range(motion, robot)
    lower, upper = ranges(motion, robot)
    touched = [name for name, worst in zip(motion.order.names, beyond.max(axis=0), strict=True) if worst > 0]
    done.append(f"joint_range: {int((beyond > 0).sum())} values of {', '.join(touched)} clamped, by up to "
                f"{beyond.max():.4f} rad")
    return replace(motion, joint_pos=np.clip(motion.joint_pos, lower, upper))


def _spikes(motion: RobotMotion) -> npt.NDArray[np.bool_]:
    """(T, n) True where one frame of a joint stands off the line between its neighbours, and these do not."""
    q = motion.joint_pos
    off = np.zeros(q.shape)
    off[1:-1] = np.abs(q[1:-1] - (q[:-2] + q[2:]) / 2)
    limit = np.maximum((CHECKS["joint_acceleration"].advice or 0) / motion.fps**2 / 2,
                       JUMP * np.percentile(off, 95, axis=0))  # a joint that is often so is only fast
    top = off.copy()
    top[1:-1] = np.maximum(off[:-2], off[2:])
    return np.asarray((off > limit) & (off > 1.5 * top))


def _despike(motion: RobotMotion, done: list[str]) -> RobotMotion:
    spikes = _spikes(motion)
    if not spikes.any():
        return motion
    frames, columns = np.nonzero(spikes)
    q = motion.joint_pos.copy()
    q[frames, columns] = (motion.joint_pos[frames - 1, columns] + motion.joint_pos[frames + 1, columns]) / 2
    names = sorted({motion.order.names[column] for column in columns})
    done.append(f"spikes: {len(frames)} values of {', '.join(names)} put between their neighbours, moved by up to "
                f"{np.abs(q - motion.joint_pos).max():.3f} rad")
    return replace(motion, joint_pos=q)


def _slow_down(motion: RobotMotion, robot: Robot, done: list[str]) -> RobotMotion:
    """Fewer frames a second: every frame stays what it is, and all speeds fall."""
    ratio = float(speed_ratio(motion, robot).max())
    if ratio <= (CHECKS["joint_speed"].advice or 0):
        return motion
    if ratio > MOST_SLOWER:
        raise Refused("--repair", expected=f"joints at most {MOST_SLOWER:g} times too fast", found=f"{ratio:.1f} times",
                      what_to_do="the motion jumps, or its rate is wrong: correct `fps`, or cut the jump")
    slower = math.ceil(ratio * 1000 + 1) / 1000
    done.append(f"joint_speed: slowed down {slower:.3f} times, from {motion.fps:.4g} to {motion.fps / slower:.4g} "
                "frames a second")
    channels = {name: values / slower if CHANNELS[name].rate else values for name, values in motion.channels.items()}
    vel: dict[str, Any] = {name: None if value is None else value / slower for name, value in (
        ("joint_vel", motion.joint_vel), ("root_vel", motion.root_vel), ("root_ang_vel", motion.root_ang_vel))}
    return replace(motion, fps=motion.fps / slower, channels=channels, **vel)
