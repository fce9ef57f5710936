"""Motions that show what a joint is made of: sweeps at steady speeds, and a chirp with small steps of torque on top.

The drive's own spring is off. A position target that climbs in steps of a control period makes its torque a sawtooth,
and whoever samples that once a period sees kp v times some fraction of the period that looks like friction; here the
torque is the routine's (gravity and inertia from the plant, a soft spring on what it measures), the drive only damps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.bench import Bench, Steps
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q
from runtime.robot import Joint

F64 = npt.NDArray[np.float64]
SHARE = 0.85
"""Of half a joint's range, at most."""
REACH_RAD = 0.45
SPRING_PER_S = 12.0
"""Spring over damping: how fast a limb comes back to its way."""
SOFT_S = 0.3
"""Of a chirp's beginning and end."""


@dataclass(frozen=True)
class Room:
    """Where and how a joint may be moved: about a middle, so far, so fast, so hard; rad as its encoder reads."""

    middle_rad: float
    reach_rad: float
    velocity_rad_s: float
    accel_rad_s2: float


@dataclass(frozen=True)
class Way:
    """A planned motion of one joint: positions, speeds, accelerations (n,), and the torque that carries it (n,)."""

    q: F64
    dq: F64
    ddq: F64
    tau: F64


def room_of(joint: Joint, offset_rad: float, velocity_rad_s: float, accel_rad_s2: float) -> Room:
    """About zero where the range allows it; `offset_rad` is what its encoder reads at zero."""
    half = (joint.upper_rad - joint.lower_rad) / 2
    reach = min(REACH_RAD, SHARE * half)
    gap = (1 - SHARE) * half
    middle = min(max(0.0, joint.lower_rad + gap + reach), joint.upper_rad - gap - reach)
    return Room(middle + offset_rad, reach, velocity_rad_s, accel_rad_s2)


def sweep_way(room: Room, speed_rad_s: float, turns: int, reach_rad: float, period_s: float) -> tuple[F64, F64, F64]:
    """To and fro at a steady speed, turning round at a steady acceleration; starts at rest in the middle."""
    turning_s = speed_rad_s / room.accel_rad_s2
    steady_s = max(2 * reach_rad / speed_rad_s - turning_s, 0.2 * reach_rad / speed_rad_s)
    parts = [(turning_s, 1.0), (max(steady_s - turning_s, 0.0) / 2, 0.0)]
    for _ in range(turns):
        parts += [(2 * turning_s, -1.0), (steady_s, 0.0), (2 * turning_s, 1.0), (steady_s, 0.0)]
    parts += [(turning_s, -1.0)]
    accel = np.concatenate([np.full(max(1, round(seconds / period_s)), side) for seconds, side in parts])
    for side in (1.0, -1.0):  # whole periods: as much speed is taken away as was given
        accel[accel == side] *= speed_rad_s * (2 * turns + 1) / (np.count_nonzero(accel == side) * period_s)
    dq = np.cumsum(accel) * period_s
    return room.middle_rad + np.cumsum(dq) * period_s, dq, accel


def chirp_way(
    room: Room, seconds: float, low_hz: float, high_hz: float, period_s: float, phase: float = 0.0
) -> tuple[F64, F64, F64]:
    """A sine that quickens evenly, as wide as reach, speed and acceleration allow."""
    t = np.arange(round(seconds / period_s)) * period_s
    rate = 2 * np.pi * (low_hz + (high_hz - low_hz) * t / seconds)
    wide = np.minimum(room.reach_rad, np.minimum(room.velocity_rad_s / rate, room.accel_rad_s2 / rate**2))
    soft = np.minimum(1, np.minimum(t, seconds - t) / SOFT_S)
    q = room.middle_rad + wide * soft**2 * (3 - 2 * soft) * np.sin(phase + np.cumsum(rate) * period_s)
    dq = np.gradient(q, period_s)
    return q, dq, np.gradient(dq, period_s)


def dither(count: int, size_n_m: float, period_s: float, seed: int) -> F64:
    """(count,) torque that jumps between two values at random times, 10 to 30 ms apart."""
    random, out, at, sign = np.random.default_rng(seed), np.zeros(count), 0, 1.0
    while at < count:
        length = round((0.01 + 0.02 * random.random()) / period_s)
        out[at : at + length] = sign * size_n_m
        at, sign = at + length, -sign
    return out


def play(bench: Bench, joint: Joint, way: Way, kd: float, drag_n_m: float = 0.0) -> Steps[float]:
    """A joint along a way, by torque and damping; then held again where it stands.

    Args:
        drag_n_m: of friction, to be overcome.

    Returns:
        What it took besides the way's torque while it went steadily and as fast as planned, N m against the motion.
    """
    row, motor = bench.target[joint.motor], joint.motor
    held = row[[KP, KD]].copy()
    row[KP], row[KD] = 0, kd
    total, count = 0.0, 0
    for q, dq, ddq, tau in zip(way.q, way.dq, way.ddq, way.tau, strict=True):
        side = np.sign(dq)
        row[Q], row[DQ] = q, dq
        row[TAU] = tau + drag_n_m * side + SPRING_PER_S * kd * (q - float(bench.state.q[motor]))
        if ddq == 0 and side * bench.state.dq[motor] > 0.5 * abs(dq):
            total, count = total + side * (float(bench.state.tau[motor]) - tau), count + 1
        yield
    row[Q], row[DQ], row[TAU] = bench.state.q[motor], 0, 0
    row[[KP, KD]] = held
    return max(total / count, 0.0) if count else 0.0
