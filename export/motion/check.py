"""The pre-flight of a robot's motion: pure checks of its numbers, each a finding with value, limit and time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.motion.findings import Finding, judge
from export.motion.robot_motion import RobotMotion
from runtime import rotation
from runtime.channels import CHANNELS, HUGE
from runtime.clip import check_convention
from runtime.errors import Refused
from runtime.robot import Robot

F64 = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
MOVING_RAD_S = 0.5
"""Joints slower than this may stand still for a frame without anything missing."""
AROUND = 3
"""Frames on either side of a step that say what is usual there."""


def run_of(flags: Flags) -> tuple[int, int] | None:
    """First and last of the longest run of True; None without any."""
    best, start = None, None
    for i, flag in enumerate([*flags, False]):
        if flag and start is None:
            start = i
        elif not flag and start is not None:
            if best is None or i - 1 - start > best[1] - best[0]:
                best = (start, i - 1)
            start = None
    return best


def finite_frames(motion: RobotMotion) -> Flags:
    """(T,) True where every number of a frame is one that a motion can hold."""
    arrays = [motion.joint_pos, motion.root_pos, motion.root_quat_wxyz, *motion.channels.values()]
    out: Flags = np.ones(motion.frames, np.bool_)
    for array in arrays:
        out &= (np.abs(array) < HUGE).all(axis=1)
    return out


def check_data(motion: RobotMotion, robot: Robot) -> list[Finding]:
    """What must hold before anything further can be measured: names, length, numbers, rotations, rate."""
    fps = motion.fps
    odd = sorted(set(motion.order.names) ^ set(robot.order.names))
    findings = [judge("joints", len(odd), fps, detail=", ".join(odd[:6])),
                judge("frames", max(3 - motion.frames, 0), fps)]
    bad = ~finite_frames(motion)
    first_last = (int(np.flatnonzero(bad)[0]), int(np.flatnonzero(bad)[-1])) if bad.any() else None
    findings.append(judge("finite", int(bad.sum()), fps, first_last))
    if not bad.any() and motion.frames:
        quats = [motion.root_quat_wxyz, *(values.reshape(motion.frames, -1, 4)
                                          for name, values in motion.channels.items() if CHANNELS[name].rotations)]
        norms = [np.linalg.norm(values.reshape(motion.frames, -1, 4), axis=2) for values in quats]
        off = np.abs(np.hstack(norms) - 1).max(axis=1)
        at = int(np.argmax(off))
        findings.append(judge("quaternion_norm", off[at], fps, (at, at)))
    outside = max(20 / fps, fps / 200) if fps > 0 else np.inf
    findings += [judge("rate", outside, fps, detail=f"{fps:g} Hz"),
                 judge("duration", motion.duration_s, fps)]
    return findings


def root_steps(motion: RobotMotion) -> tuple[F64, F64, F64]:
    """(T-1,) between frames: root speed, m/s; the same beyond what is usual around; turning speed, rad/s."""
    return steps_of(motion.root_pos, motion.root_quat_wxyz, motion.fps)


def steps_of(position: F64, quat_wxyz: F64, fps: float) -> tuple[F64, F64, F64]:
    """As `root_steps`, of a body at (T, 3), (T, 4)."""
    velocity = np.diff(position, axis=0) * fps
    padded = np.pad(velocity, ((AROUND, AROUND), (0, 0)), mode="reflect" if len(velocity) > AROUND else "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1, axis=0)
    jump = np.linalg.norm(velocity - np.median(windows, axis=-1), axis=1)
    unit = quat_wxyz / np.maximum(np.linalg.norm(quat_wxyz, axis=1, keepdims=True), 1e-9)
    turn = rotation.rotation_vector_many(rotation.multiply_many(unit[1:], rotation.conjugate_many(unit[:-1])))
    return np.linalg.norm(velocity, axis=1), jump, np.linalg.norm(turn, axis=1) * fps


def worst_step(check: str, values: F64, fps: float, detail: str = "") -> Finding:
    """The largest of (T-1,) values between frames."""
    at = int(np.argmax(values))
    return judge(check, values[at], fps, (at, at + 1), detail)


def speed_ratio(motion: RobotMotion, robot: Robot) -> F64:
    """(T-1, n) joint speeds between frames, of each joint's own limit."""
    rows = [robot.joints[i] for i in robot.order.index_of(motion.order)]
    return np.asarray(np.abs(np.diff(motion.joint_pos, axis=0)) * motion.fps
                      / np.array([joint.velocity_rad_s for joint in rows]))


def beyond_range(motion: RobotMotion, robot: Robot) -> F64:
    """(T, n) rad that joints are beyond their range; 0 inside."""
    lower, upper = ranges(motion, robot)
    return np.maximum(np.maximum(lower - motion.joint_pos, motion.joint_pos - upper), 0)


def ranges(motion: RobotMotion, robot: Robot) -> tuple[F64, F64]:
    """(n,) lower and upper limits in the motion's order, rad."""
    rows = [robot.joints[i] for i in robot.order.index_of(motion.order)]
    return np.array([joint.lower_rad for joint in rows]), np.array([joint.upper_rad for joint in rows])


def repeated_frames(motion: RobotMotion) -> Flags:
    """(T,) True where a frame repeats the one before although the joints move before and after."""
    step = np.abs(np.diff(np.hstack([motion.joint_pos, motion.root_pos]), axis=0)).max(axis=1)
    still, moving = step == 0, step * motion.fps > MOVING_RAD_S
    out: Flags = np.zeros(motion.frames, np.bool_)
    out[2:-1] = still[1:-1] & moving[:-2] & moving[2:]
    return out


def lost_frames(motion: RobotMotion) -> Flags:
    """(T-1,) True where a step goes on as its neighbours do, at twice their length."""
    step = np.diff(motion.joint_pos, axis=0)
    out: Flags = np.zeros(len(step), np.bool_)
    if len(step) < 3:
        return out
    usual = (step[:-2] + step[2:]) / 2
    size = np.linalg.norm(usual, axis=1)
    even = np.linalg.norm(step[:-2] - step[2:], axis=1) < 0.3 * size
    doubled = np.linalg.norm(step[1:-1] - 2 * usual, axis=1) < 0.3 * size
    out[1:-1] = even & doubled & (size * motion.fps > MOVING_RAD_S)
    return out


def _counted(check: str, flags: Flags, fps: float) -> Finding:
    at = np.flatnonzero(flags)
    return judge(check, len(at), fps, (int(at[0]), int(at[-1])) if len(at) else None)


def check_movement(motion: RobotMotion, robot: Robot, standing: F64 | None) -> list[Finding]:
    """Joints and root over time; the motion's numbers are finite and its joints the robot's.

    Args:
        standing: (n,) the controller's standing pose in the motion's order, rad; None: not compared.
    """
    fps, names = motion.fps, motion.order.names
    findings = [_order(motion), _counted("repeated", repeated_frames(motion), fps),
                _counted("gaps", lost_frames(motion), fps)]
    speed, jump, turn = root_steps(motion)
    findings += [worst_step("root_speed", speed, fps), worst_step("root_jump", jump, fps),
                 worst_step("root_turn", turn, fps)]
    findings += _joints(motion, robot)
    low, high = int(np.argmin(motion.root_pos[:, 2])), int(np.argmax(motion.root_pos[:, 2]))
    bottom, top = float(motion.root_pos[low, 2]), float(motion.root_pos[high, 2])
    findings += [judge("root_low", max(0.25 - bottom, 0), fps, (low, low), f"at {bottom:.3f} m"),
                 judge("root_high", top, fps, (high, high))]
    if motion.joint_vel is not None:
        findings += _declared(motion, motion.joint_vel)
    if standing is not None:
        off = np.abs(motion.joint_pos[0] - standing)
        findings.append(judge("start_pose", off.max(), fps, (0, 0), names[int(np.argmax(off))]))
    last = motion.frames - 1
    findings.append(judge("end_rest", speed[-1], fps, (last - 1, last)))
    return findings


def _order(motion: RobotMotion) -> Finding:
    try:
        check_convention("root rotation", motion.root_pos, motion.root_quat_wxyz)
    except Refused as error:
        return judge("quaternion_order", 1, motion.fps, detail=str(error.found))
    return judge("quaternion_order", 0, motion.fps)


def _joints(motion: RobotMotion, robot: Robot) -> list[Finding]:
    fps, names = motion.fps, motion.order.names
    beyond, ratio = beyond_range(motion, robot), speed_ratio(motion, robot)
    frame, column = divmod(int(np.argmax(beyond)), beyond.shape[1])
    lower, upper = ranges(motion, robot)
    detail = (f"{names[column]} at {motion.joint_pos[frame, column]:.3f}, range {lower[column]:.3f} to "
              f"{upper[column]:.3f} rad")
    over = np.flatnonzero(beyond.max(axis=1) > 0)
    findings = [judge("joint_range", beyond.max(), fps,
                      (int(over[0]), int(over[-1])) if len(over) else None, detail if len(over) else "")]
    frame, column = divmod(int(np.argmax(ratio)), ratio.shape[1])
    step = (motion.joint_pos[frame + 1, column] - motion.joint_pos[frame, column]) * fps
    findings.append(judge("joint_speed", ratio.max(), fps, (frame, frame + 1), f"{names[column]} {step:.1f} rad/s"))
    acceleration = np.abs(np.diff(motion.joint_pos, 2, axis=0)) * fps**2
    frame, column = divmod(int(np.argmax(acceleration)), acceleration.shape[1])
    findings.append(judge("joint_acceleration", acceleration.max(), fps, (frame, frame + 2), names[column]))
    if motion.frames > 3:
        jerk = np.sqrt(np.mean((np.diff(motion.joint_pos, 3, axis=0) * fps**3) ** 2, axis=0))
        findings.append(judge("joint_jerk", jerk.max(), fps, None, names[int(np.argmax(jerk))]))
    return findings


def _declared(motion: RobotMotion, declared: F64) -> list[Finding]:
    derived = np.gradient(motion.joint_pos, 1 / motion.fps, axis=0)
    size = float(np.sqrt((derived**2).mean()))
    if declared.shape != derived.shape or not np.isfinite(declared).all():
        return [judge("velocity_error", np.inf, motion.fps, None, f"shape {declared.shape}, or not finite")]
    if size < 1e-3:  # a standing robot's velocities have no ratio
        return [judge("velocity_error", float(np.abs(declared).max()), motion.fps)]
    factor = float((declared * derived).sum() / (derived**2).sum())
    rest = float(np.sqrt(((declared - factor * derived) ** 2).mean())) / size
    off = max(factor, 1 / factor) - 1 if factor > 0 else np.inf
    detail = f"declared are {factor:.3f} times the derived: a rate of {factor * motion.fps:.4g} Hz instead of " \
             f"{motion.fps:.4g} would explain it" if off > 0.05 else f"factor {factor:.3f}"
    return [judge("velocity_factor", off, motion.fps, None, detail), judge("velocity_error", rest, motion.fps)]
