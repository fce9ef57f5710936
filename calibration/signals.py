"""Noisy samples into smooth signals with their derivatives, and linear fits whose intervals may be believed.

Everything that enters one equation is smoothed by the same Gaussian, so smoothing does not bias the equation. Noise in
the regressors would (errors in variables); instruments made from other sensors than the regressors take that out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
REACH = 4.5
"""Of a Gaussian's kernel, in its widths."""


def smooth(values: F64, period_s: float, width_s: float, derivative: int = 0) -> F64:
    """Values (n,) or (n, k) of a steady clock, or one of their first two derivatives, smoothed by a Gaussian.

    The first and last `margin(...)` values are not to be used: they miss neighbours.
    """
    n = margin(period_s, width_s)
    t = np.arange(-n, n + 1) * period_s
    kernel = np.exp(-0.5 * (t / width_s) ** 2)
    kernel /= kernel.sum()
    if derivative == 1:
        kernel = kernel * -t
        kernel /= (kernel * -t).sum()
    elif derivative == 2:
        kernel = kernel * ((t / width_s) ** 2 - 1)
        kernel -= kernel.mean()
        kernel *= 2 / (kernel * t**2).sum()
    columns = values.reshape(len(values), -1)
    padded = np.pad(columns, ((n, n), (0, 0)), mode="edge")
    found = np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], axis=1)
    return np.asarray(found.reshape(values.shape))


def margin(period_s: float, width_s: float) -> int:
    """Samples at either end of a smoothed signal that are not to be used."""
    return int(np.ceil(REACH * width_s / period_s))


def held(values: F64, period_s: float, width_s: float, late_s: float) -> F64:
    """What was commanded, (n,), each value held for a period and effective so much later, smoothed by a Gaussian.

    At the times of the samples. Later by any fraction of a period: a held value is a step, its smoothed form an erf.
    """
    steps = np.diff(values, prepend=values[:1])
    n = margin(period_s, width_s) + int(np.ceil(late_s / period_s)) + 1
    lags = np.arange(-n, n + 1) * period_s  # of a sample after a step
    rise = 0.5 * (1 + _erf((lags - late_s) / (width_s * np.sqrt(2))))
    out = np.full(len(values), values[0])
    padded = np.concatenate([np.zeros(n), steps, np.zeros(n)])
    passed = np.concatenate([np.zeros(n + 1), np.cumsum(steps)])[: len(values)]
    out += np.convolve(padded, rise, mode="valid")
    out += passed  # steps that are older than the kernel have risen in full
    return np.asarray(out)


def _erf(x: F64) -> F64:
    """The error function to 1.5e-7 (M. Abramowitz, I. A. Stegun, Handbook of Mathematical Functions, 7.1.26)."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.asarray(np.sign(x) * (1 - tail * np.exp(-x * x)))


def solve(
    a: F64, b: F64, blocks: F64, instruments: F64 | None = None, known: tuple[F64, F64] | None = None
) -> tuple[F64, F64]:
    """x of a x = b, and the covariance of its error when samples of one block have errors alike in any way.

    The generalised method of moments (L. P. Hansen, Econometrica 1982); what is known beforehand are further moments.

    Args:
        a, b: (m, n) and (m,).
        blocks: (m,) number of the block that a sample is of; errors of different blocks are independent.
        instruments: (m, n), correlated with a but not with its noise; None: a itself.
        known: (n,) values, and (n,) one over the variance of each, 0 where nothing is known; None: nothing of any.

    Raises:
        ValueError: the columns do not tell the unknowns apart, or there are too few blocks.
    """
    m, n = a.shape
    z = a if instruments is None else instruments
    scale = np.sqrt((a**2).mean(axis=0)) + 1e-300
    of_z = np.sqrt((z**2).mean(axis=0)) + 1e-300
    a, z = a / scale, z / of_z
    mean, precision = (np.zeros(n), np.zeros(n)) if known is None else (known[0] * scale, known[1] / scale**2)
    cross, moment = z.T @ a / m, z.T @ b / m
    names = np.unique(blocks)
    count = len(names)
    is_told = precision == 0
    if m <= n or count <= n or np.linalg.cond(cross[:, is_told]) > 1e9:
        raise ValueError(f"{m} samples in {count} blocks do not determine {n} unknowns")
    x = np.linalg.lstsq(a, b, rcond=None)[0]
    spread = z.T @ z * (float(np.mean((b - a @ x) ** 2)) + 1e-300) / m / count
    for _ in range(3):
        weighed = np.linalg.solve(spread + 1e-12 * np.trace(spread) * np.eye(n), np.column_stack([cross, moment]))
        information = cross.T @ weighed[:, :n] + np.diag(precision)
        x = np.linalg.solve(information, cross.T @ weighed[:, n] + precision * mean)
        residual = b - a @ x
        scores = np.stack([z[blocks == name].T @ residual[blocks == name] for name in names]) / m
        spread = scores.T @ scores * count / (count - n)
    weighed = np.linalg.solve(spread + 1e-12 * np.trace(spread) * np.eye(n), cross)
    covariance = np.linalg.inv(cross.T @ weighed + np.diag(precision))
    return np.asarray(x / scale), np.asarray(covariance / np.outer(scale, scale))
