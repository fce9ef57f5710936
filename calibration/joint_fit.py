"""One joint's friction, reflected inertia, torque constant and loop delay, from its equations and what is known.

Known beforehand, with its uncertainty, is the torque constant: about one. Where the limb's weight tells it better, that
prevails; where it does not (an axis along gravity, a light hand), all intervals carry what is not known of it. The same
holds for a delay that other joints, or a narrower smoothing, have told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.joint_equations import Equations
from calibration.signals import solve

F64 = npt.NDArray[np.float64]
MOST_DELAY_S = 0.03
STRIBECK_RAD_S = (0.05, 0.1, 0.2)
SIGNIFICANT = 4.0
"""Standard errors that a Stribeck term has to stand out by."""
USUAL_SCALE = (1.0, 0.05)
"""A torque constant over its drive's own, and the standard deviation of such motors (2 to 5 % in most data sheets)."""
TOLD_SCALE = 0.05
"""Half-width from which on the limb's weight, and not the usual scatter, is what tells a torque constant."""
NAMES = ("coulomb", "viscous", "armature", "share", "constant")


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
    """A model with half-widths of 95 % intervals, by name.

    Attributes:
        is_scale_told: whether the limb's weight told the torque constant.
    """

    model: Model
    width: dict[str, float]
    is_scale_told: bool


def fit_joint(
    of: Equations, scale: tuple[float, float] = USUAL_SCALE, delay_s: tuple[float, float] | None = None
) -> Fit:
    """The model that explains best what was commanded.

    Args:
        scale: what is known of it beforehand, and the standard deviation of that.
        delay_s: likewise; None: nothing.

    Raises:
        ValueError: the motion does not tell the unknowns apart.
    """
    start_s = _coarse_delay(of) if delay_s is None else delay_s[0]
    best: _Solution | None = None
    slowest = float(np.percentile(np.abs(of.dq), 5))
    for fade in (None, *(rad_s for rad_s in STRIBECK_RAD_S if slowest < rad_s)):
        tried = _refined(of, start_s, fade, scale, delay_s)
        stands_out = fade is None or tried.x[-2] > SIGNIFICANT * np.sqrt(tried.covariance[-2, -2])
        if best is None or (stands_out and tried.left < best.left):
            best = tried
    assert best is not None
    return _fit_of(best)


@dataclass(frozen=True)
class _Solution:
    """Values as the equation has them, the delay's change last, with their covariance, and what is left, squared."""

    x: F64
    covariance: F64
    delay_s: float
    fade: float | None
    left: float


def _fit_of(of: _Solution) -> Fit:
    """In true newtons: all but the constant is divided by the share of a true one that the drive thinks it gives."""
    names = (*NAMES, *(() if of.fade is None else ("stribeck",)))
    found = dict(zip(names, of.x.tolist(), strict=False))
    share, place = found.pop("share"), {name: i for i, name in enumerate(names)}
    width = {"delay_s": 1.96 * float(np.sqrt(of.covariance[-1, -1])),
             "scale": 1.96 * float(np.sqrt(of.covariance[place["share"], place["share"]])) / share**2}
    for name in set(found) - {"constant"}:
        slope = np.zeros(len(of.x))
        slope[place[name]], slope[place["share"]] = 1 / share, -found[name] / share**2
        width[name] = 1.96 * float(np.sqrt(slope @ of.covariance @ slope))
        found[name] = found[name] / share
    model = Model(scale=1 / share, stribeck_rad_s=0.1 if of.fade is None else of.fade, delay_s=of.delay_s, **found)
    return Fit(model, width, width["scale"] <= TOLD_SCALE)


def _columns(of: Equations, fade: float | None) -> tuple[F64, F64]:
    """Regressors and instruments."""
    one = np.ones_like(of.dq)
    pairs = [(of.sign, of.sign), (of.dq, of.dq_of_q), (of.ddq, of.ddq_of_q), (of.limb, of.limb_of_q), (one, one)]
    if fade is not None:
        fading = of.sign * np.exp(-((of.dq / fade) ** 2))
        pairs.append((fading, fading))
    return np.stack([a for a, _ in pairs], axis=1), np.stack([z for _, z in pairs], axis=1)


def _coarse_delay(of: Equations) -> float:
    """To half a period: the shift of the command that leaves least unexplained (a cross-correlation's peak)."""
    columns, _ = _columns(of, None)
    orthogonal, _ = np.linalg.qr(columns)
    delays = np.arange(0.0, MOST_DELAY_S, of.period_s / 2)
    left = []
    for delay_s in delays:
        y = of.commanded(float(delay_s)) - of.feedback
        rest = y - orthogonal @ (orthogonal.T @ y)
        left.append(float(rest @ rest))
    return float(delays[int(np.argmin(left))])


def _refined(
    of: Equations, delay_s: float, fade: float | None, scale: tuple[float, float],
    known_delay_s: tuple[float, float] | None,
) -> _Solution:
    """Gauss-Newton on the delay."""
    columns, instruments = _columns(of, fade)
    mean, precision = np.zeros(columns.shape[1] + 1), np.zeros(columns.shape[1] + 1)
    mean[3], precision[3] = 1 / scale[0], (scale[0] ** 2 / scale[1]) ** 2
    h = 1e-4
    for _ in range(4):
        slope = (of.commanded(max(delay_s - h, 0.0)) - of.commanded(delay_s + h)) / (min(h, delay_s) + h)
        a, z = np.column_stack([columns, slope]), np.column_stack([instruments, slope])
        if known_delay_s is not None:
            mean[-1], precision[-1] = known_delay_s[0] - delay_s, known_delay_s[1] ** -2
        y = of.commanded(delay_s) - of.feedback
        x, covariance = solve(a, y, of.block, z, (mean, precision))
        rest = y - a @ x
        delay_s = min(max(delay_s + float(x[-1]), 0.0), MOST_DELAY_S)
    return _Solution(x, covariance, delay_s, fade, float(rest @ rest))
