"""Noisy samples into smooth signals, and linear fits whose intervals may be believed.

A command is a staircase, so speeds ripple within a period, and their samples show one place of the ripple. What holds
exactly is what holds of means over the periods between samples: those enter an equation, all smoothed by the same
Gaussian, which does not bias it. Noise in
the regressors would (errors in variables); instruments made from other sensors than the regressors take that out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
REACH = 4.5
"""Of a Gaussian's kernel, in its widths."""


def smooth(values: F64, period_s: float, width_s: float) -> F64:
    """Values (n,) or (n, k) of a steady clock, smoothed by a Gaussian.

    The first and last `margin(...)` values are not to be used: they miss neighbours.
    """
    n = margin(period_s, width_s)
    kernel = np.exp(-0.5 * (np.arange(-n, n + 1) * period_s / width_s) ** 2)
    kernel /= kernel.sum()
    columns = values.reshape(len(values), -1)
    padded = np.pad(columns, ((n, n), (0, 0)), mode="edge")
    found = np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], axis=1)
    return np.asarray(found.reshape(values.shape))


def between(samples: F64) -> F64:
    """(n - 1, ...) means over the periods between samples (n, ...)."""
    return np.asarray((samples[1:] + samples[:-1]) / 2)


def rise(samples: F64, period_s: float) -> F64:
    """(n - 1, ...) mean rates of change over the periods between samples (n, ...); of what steps drive, exactly so."""
    return np.asarray(np.diff(samples, axis=0) / period_s)


def margin(period_s: float, width_s: float) -> int:
    """Samples at either end of a smoothed signal that are not to be used."""
    return int(np.ceil(REACH * width_s / period_s))


def held(values: F64, period_s: float, late_s: float) -> F64:
    """(n - 1,) means, over the periods between samples, of what was commanded at them (n,).

    Each value holds for a period, and is in force so much after its sample.
    """
    whole, part = divmod(late_s / period_s, 1.0)
    at = np.arange(len(values) - 1) - int(whole)
    return np.asarray(part * values[np.maximum(at - 1, 0)] + (1 - part) * values[np.maximum(at, 0)])


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
