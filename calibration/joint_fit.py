"""One joint's friction, reflected inertia, torque constant and loop delay, from what its drive was told and did.

    u(t - D) - kp q - kd dq = Fc sgn(dq) + Fs sgn(dq) exp(-(dq/vs)^2) + Fv dq + A ddq + S limb(q, dq, ddq) + c

u is what was commanded, each value held for a period; limb is the plant's inverse dynamics; S is what the drive thinks
to give over what it gives. Torques that drives report do not enter: sampled once a period, they alias with u's steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.limb_torques import LimbTorques
from calibration.signals import held, margin, smooth, solve
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, Q

F64 = npt.NDArray[np.float64]
WIDTH_S, SIGN_WIDTH_S = 0.006, 0.004
BLOCK_S = 0.2
"""Errors so far apart are taken to be independent."""
FAST = 0.5
"""Of a stretch's own speed: below it friction may not have made up its mind."""
EVERY = 3
"""Of smoothed samples: neighbours say the same."""
MOST_DELAY_S = 0.03
STRIBECK_RAD_S = (0.05, 0.1, 0.2)
SIGNIFICANT = 4.0
"""Standard errors that a Stribeck term has to stand out by."""
MOST_SCALE_ERROR = 0.05
"""Half-width beyond which gravity has not told the torque constant: it is then believed."""
NAMES = ("coulomb", "viscous", "armature", "scale", "constant", "stribeck")


@dataclass(frozen=True)
class Equations:
    """All samples of some stretches of one joint: regressors, their instruments, and what was commanded.

    Attributes:
        dq_of_q, ddq_of_q, limb_of_q: instruments, from positions.
        feedback: kp q + kd dq.
        block: number of the block whose errors are alike.
        told: per stretch, u as written (n,) and which of its samples are kept.
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
    told: Sequence[tuple[F64, npt.NDArray[np.intp]]]
    period_s: float
    lag_s: float
    width_s: float

    def commanded(self, delay_s: float) -> F64:
        """Smoothed u(t - D) of every sample."""
        late_s = self.lag_s + delay_s
        return np.concatenate([held(u, self.period_s, self.width_s, late_s)[kept] for u, kept in self.told])


@dataclass(frozen=True)
class Model:
    """A joint: N m, N m s/rad, kg m^2 as true; scale: torque over what the drive thinks; constant: drive's N m."""

    coulomb: float
    viscous: float
    armature: float
    scale: float = 1.0
    constant: float = 0.0
    stribeck: float = 0.0
    stribeck_rad_s: float = 0.1
    delay_s: float = 0.0

    def torque(self, of: Equations) -> F64:
        """What the drive thinks it has to give."""
        fading = self.stribeck * np.exp(-((of.dq / self.stribeck_rad_s) ** 2))
        return np.asarray(((self.coulomb + fading) * of.sign + self.viscous * of.dq + self.armature * of.ddq
                           + of.limb) / self.scale + self.constant)

    def rubbed(self, of: Equations) -> float:
        """Friction that was there over the model's; 0 where nothing moved as fast as it was told."""
        if not len(of.dq):
            return 0.0
        bare = Model(0.0, 0.0, self.armature, self.scale, self.constant)
        seen = (of.commanded(self.delay_s) - of.feedback - bare.torque(of)) * np.sign(of.dq)
        return float(seen.mean() / ((self.torque(of) - bare.torque(of)) * np.sign(of.dq)).mean())

    def misfit(self, of: Equations) -> F64:
        """Of what was commanded, N m; the constant is nobody's knowledge and taken out."""
        rest = of.commanded(self.delay_s) - of.feedback - self.torque(of)
        return np.asarray(rest - rest.mean())


@dataclass(frozen=True)
class Fit:
    """A model with half-widths of 95 % intervals, by name; `is_scale_told`: whether gravity told the scale."""

    model: Model
    width: dict[str, float]
    is_scale_told: bool


def equations(
    stretches: Sequence[npt.NDArray[np.void]], motor: int, limbs: LimbTorques, offsets: F64, period_s: float,
    lag_s: float, width_s: float = WIDTH_S,
) -> Equations:
    """Of one motor.

    Args:
        stretches: of `recording_dtype`, one row a period.
        offsets: (motors,) of the encoders, rad.
        lag_s: from a row's target to its writing.
        width_s: of the Gaussian that smooths everything.
    """
    parts, told = [], []
    for number, rows in enumerate(stretches):
        n = margin(period_s, width_s)
        q = rows["q"].astype(np.float64) - offsets
        dq = rows["dq"].astype(np.float64)
        target = rows["target"][:, motor].astype(np.float64)
        sign = smooth(np.sign(smooth(dq[:, motor], period_s, SIGN_WIDTH_S)), period_s, width_s)
        places, speeds, changes = (smooth(*one) for one in ((q, period_s, width_s), (dq, period_s, width_s),
                                                            (dq, period_s, width_s, 1)))
        speeds_of_q, changes_of_q = (smooth(q, period_s, width_s, order) for order in (1, 2))
        speed = np.abs(speeds[:, motor])
        kept = np.arange(n, len(rows) - n, EVERY)
        usual = max(np.percentile(np.abs(one[n:-n]), 75) for one in (speed, target[:, DQ]))
        kept = kept[speed[kept] > FAST * usual]
        limb = limbs.torques(places[kept], speeds[kept], changes[kept])[:, motor]
        limb_of_q = limbs.torques(places[kept], speeds_of_q[kept], changes_of_q[kept])[:, motor]
        parts.append({
            "dq": speeds[kept, motor], "ddq": changes[kept, motor], "dq_of_q": speeds_of_q[kept, motor],
            "ddq_of_q": changes_of_q[kept, motor], "sign": sign[kept], "limb": limb, "limb_of_q": limb_of_q,
            "feedback": (target[0, KP] * (places[:, motor] + offsets[motor]) + target[0, KD] * speeds[:, motor])[kept],
            "block": kept // round(BLOCK_S / period_s) + 10000.0 * number})
        told.append((target[:, KP] * target[:, Q] + target[:, KD] * target[:, DQ] + target[:, TAU], kept))
    columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return Equations(**columns, told=told, period_s=period_s, lag_s=lag_s, width_s=width_s)


def fit_joint(of: Equations, scale: float | None = None) -> Fit:
    """The model that explains best what was commanded.

    Args:
        scale: known torque constant's; None: found, where the limb's weight tells it.

    Raises:
        ValueError: the motion does not tell the unknowns apart.
    """
    delay_s = _coarse_delay(of, scale)
    best: tuple[float, float, F64, F64, float] | None = None
    slowest = float(np.percentile(np.abs(of.dq), 5))
    for fade in (None, *(rad_s for rad_s in STRIBECK_RAD_S if slowest < rad_s)):
        x, covariance, fine_s, error = _refined(of, delay_s, fade, scale)
        stands_out = fade is None or x[-2] > SIGNIFICANT * np.sqrt(covariance[-2, -2])
        if best is None or (stands_out and error < best[0]):
            best = (error, fine_s, x, covariance, 0.1 if fade is None else fade)
            has_stribeck = fade is not None
    assert best is not None
    _, delay_s, x, covariance, fade_rad_s = best
    names = [name for name in NAMES if (name != "scale" or scale is None) and (name != "stribeck" or has_stribeck)]
    deviation = dict(zip([*names, "delay_s"], np.sqrt(np.diag(covariance)).tolist(), strict=True))
    if scale is None and 1.96 * deviation["scale"] > MOST_SCALE_ERROR:
        told = fit_joint(of, 1.0)
        return Fit(told.model, told.width, False)
    found = dict(zip(names, x.tolist(), strict=False))
    share = found.pop("scale", 1.0 if scale is None else 1 / scale)
    place = {name: i for i, name in enumerate(names)}
    width = {"delay_s": 1.96 * deviation["delay_s"]}
    for name in ("coulomb", "viscous", "armature", "stribeck"):
        if name in found:
            slope = np.zeros(len(x))
            slope[place[name]] = 1 / share
            if "scale" in place:
                slope[place["scale"]] = -found[name] / share**2
            width[name] = 1.96 * float(np.sqrt(slope @ covariance @ slope))
            found[name] = found[name] / share
    if "scale" in place:
        width["scale"] = 1.96 * float(deviation["scale"]) / share**2
    return Fit(Model(scale=1 / share, stribeck_rad_s=fade_rad_s, delay_s=delay_s, **found), width, scale is None)


def _columns(of: Equations, fade: float | None, scale: float | None) -> tuple[F64, F64, F64]:
    """Regressors, instruments, and what is known on the right side."""
    one = np.ones_like(of.dq)
    pairs = [(of.sign, of.sign), (of.dq, of.dq_of_q), (of.ddq, of.ddq_of_q)]
    if scale is None:
        pairs.append((of.limb, of.limb_of_q))
    pairs.append((one, one))
    if fade is not None:
        fading = of.sign * np.exp(-((of.dq / fade) ** 2))
        pairs.append((fading, fading))
    known = of.feedback + (0.0 if scale is None else of.limb / scale)
    return np.stack([a for a, _ in pairs], axis=1), np.stack([z for _, z in pairs], axis=1), np.asarray(known)


def _coarse_delay(of: Equations, scale: float | None) -> float:
    """To a quarter of a period: the shift of the command that leaves least unexplained (a cross-correlation's peak)."""
    columns, _, known = _columns(of, None, scale)
    orthogonal, _ = np.linalg.qr(columns)
    delays = np.arange(0.0, MOST_DELAY_S, of.period_s / 2)
    left = []
    for delay_s in delays:
        y = of.commanded(float(delay_s)) - known
        rest = y - orthogonal @ (orthogonal.T @ y)
        left.append(float(rest @ rest))
    return float(delays[int(np.argmin(left))])


def _refined(of: Equations, delay_s: float, fade: float | None, scale: float | None) -> tuple[F64, F64, float, float]:
    """Gauss-Newton on the delay: values, covariance (the delay's last), delay, and what is left, squared."""
    columns, instruments, known = _columns(of, fade, scale)
    h = 1e-4
    for _ in range(4):
        slope = (of.commanded(max(delay_s - h, 0.0)) - of.commanded(delay_s + h)) / (min(h, delay_s) + h)
        a, z = np.column_stack([columns, slope]), np.column_stack([instruments, slope])
        y = of.commanded(delay_s) - known
        x, covariance = solve(a, y, of.block, z)
        rest = y - a @ x
        delay_s = min(max(delay_s + float(x[-1]), 0.0), MOST_DELAY_S)
    return x, covariance, delay_s, float(rest @ rest)
