"""One joint's equation of motion in every period of its recording, from what its drive was told and did.

    u(t - D) - kp q - kd dq = Fc sgn(dq) + Fs sgn(dq) exp(-(dq/vs)^2) + Fv dq + A ddq + S limb(q, dq, ddq) + c

Of means over the periods between samples. u is what was commanded, each value held for a period; limb is the plant's
inverse dynamics; S is what the drive thinks to give over what it gives. Torques that drives report do not enter:
sampled once a period, they alias with u's steps.

Smoothed twice: narrowly, as much as derivatives need; and, for heavy limbs, once more every column alike. The noise of
accelerations times a leg's inertia lies at high frequencies, where nothing that is asked for shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.limb_torques import LimbTorques
from calibration.signals import between, held, margin, rise, smooth
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q

F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
WIDTH_S, SIGN_WIDTH_S = 0.006, 0.004
BLOCK_S = 0.2
"""Errors so far apart are taken to be independent."""
FAST = 0.5
"""Of a stretch's own speed: below it friction may not have made up its mind."""
CREEP_RAD_S, CLEAR = 0.25, 3.0
"""Of a turn: its speed, and how many widths of the smoothing a sample has to be away from it. Friction may change its
side before the joint does there (MuJoCo's, by ms), or the joint sticks (gears): smeared they look like inertia."""
STOPS_S = 0.03
"""Where a joint brakes so hard that it would stand after so long, friction may give way already: MuJoCo's constraint
does from 10 ms on (solref's damping), and a gear train's slack turns round.
"""
EVERY = 3
"""Of smoothed samples: neighbours say the same."""


@dataclass(frozen=True)
class Equations:
    """All samples of some stretches of one joint: regressors, their instruments, and what was commanded.

    Attributes:
        dq_of_q, ddq_of_q, limb_of_q: instruments, from positions.
        feedback: kp q + kd dq.
        block: number of the block whose errors are alike.
        told: per stretch, u as written (n,) and which of its n - 1 periods are kept.
        width_s: of all smoothing together.
    """

    dq: F64
    ddq: F64
    dq_of_q: F64
    ddq_of_q: F64
    sign: F64
    limb: F64
    limb_of_q: F64
    feedback: F64
    block: F64
    told: Sequence[tuple[F64, Index]]
    period_s: float
    lag_s: float
    width_s: float

    def commanded(self, delay_s: float) -> F64:
        """Smoothed u(t - D) of every period."""
        late_s = self.lag_s + delay_s
        return np.concatenate([smooth(held(u, self.period_s, late_s), self.period_s, self.width_s)[kept]
                               for u, kept in self.told])

    @property
    def link_inertia(self) -> float:
        """Of the links, kg m^2, from how their torque follows acceleration."""
        return float(np.polyfit(self.ddq, self.limb, 1)[0])


@dataclass(frozen=True)
class Trace:
    """One stretch, smoothed narrowly, a value a period: what `Equations` has, and u as written."""

    columns: dict[str, F64]
    u: F64
    fastest: float


def traces(
    stretches: Sequence[npt.NDArray[np.void]], motor: int, limbs: LimbTorques, offsets: F64, period_s: float
) -> list[Trace]:
    """Of one motor's stretches.

    Args:
        stretches: of `recording_dtype`, one row a period.
        offsets: (motors,) of the encoders, rad.
    """
    out = []
    for rows in stretches:
        q = rows["q"].astype(np.float64) - offsets
        dq = rows["dq"].astype(np.float64)
        target = rows["target"][:, motor].astype(np.float64)
        steps = rise(q, period_s)
        sign = np.sign(smooth(between(dq[:, motor]), period_s, SIGN_WIDTH_S))
        sign, places, speeds, changes, speeds_of_q, changes_of_q = (smooth(one, period_s, WIDTH_S) for one in (
            sign, between(q), between(dq), rise(dq, period_s), steps, np.gradient(steps, period_s, axis=0)))
        out.append(Trace({
            "dq": speeds[:, motor], "ddq": changes[:, motor], "dq_of_q": speeds_of_q[:, motor],
            "ddq_of_q": changes_of_q[:, motor], "sign": sign,
            "limb": limbs.torques(places, speeds, changes)[:, motor],
            "limb_of_q": limbs.torques(places, speeds_of_q, changes_of_q)[:, motor],
            "feedback": target[0, KP] * (places[:, motor] + offsets[motor]) + target[0, KD] * speeds[:, motor]},
            target[:, KP] * target[:, Q] + target[:, KD] * target[:, DQ] + target[:, TAU],
            float(np.percentile(np.abs(target[:, DQ]), 75))))
    return out


def equations(of: Sequence[Trace], period_s: float, lag_s: float, width_s: float = WIDTH_S) -> Equations:
    """Of traces.

    Args:
        lag_s: from a row's target to its writing.
        width_s: of the Gaussian that smooths everything, the narrow one's included.
    """
    more_s = float(np.sqrt(max(width_s**2 - WIDTH_S**2, 0.0)))
    parts, told = [], []
    for number, trace in enumerate(of):
        columns = trace.columns
        if more_s > 0.5 * period_s:
            columns = {name: smooth(column, period_s, more_s) for name, column in columns.items()}
        n = margin(period_s, width_s)
        speed = np.abs(columns["dq"])
        kept = np.arange(n, len(speed) - n, EVERY)
        usual = max(float(np.percentile(speed[n:-n], 75)), trace.fastest)
        kept = kept[(speed[kept] > FAST * usual) & _is_steady(trace, period_s, width_s)[kept]]
        parts.append({**{name: column[kept] for name, column in columns.items()},
                      "block": kept // round(BLOCK_S / period_s) + 10000.0 * number})
        told.append((trace.u, kept))
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Equations(**whole, told=told, period_s=period_s, lag_s=lag_s, width_s=max(width_s, WIDTH_S))


def _is_steady(trace: Trace, period_s: float, width_s: float) -> npt.NDArray[np.bool_]:
    """(n,) whether the joint neither turns round nor is about to anywhere near: it keeps its sign, and its speed."""
    reach = int(np.ceil(CLEAR * width_s / period_s))
    speed, sign = np.abs(trace.columns["dq"]), np.sign(trace.columns["dq"])
    goes_on = (speed > min(CREEP_RAD_S, 0.25 * float(np.percentile(speed, 75)))) & (
        speed + STOPS_S * sign * trace.columns["ddq"] > 0)
    side = np.where(goes_on, sign, 0.0)
    near = np.lib.stride_tricks.sliding_window_view(np.pad(side, reach, mode="edge"), 2 * reach + 1)
    return np.asarray(np.abs(near.sum(axis=1)) == 2 * reach + 1)
