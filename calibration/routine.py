"""What every routine is: a plan, steps, and a fit with confidence that held-out motion has to bear out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from calibration.bench import Bench, Recording, Steps
from calibration.envelope import Envelope
from runtime.robot import Robot

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Value:
    """One number found.

    Attributes:
        key: its place in a calibration file, `joints.NAME.encoder_offset_rad`, `imu.gyro_bias_rad_s.0`, `plant. ...`.
        value: in the unit that the key ends in.
        half_width: of its 95 % confidence interval.
    """

    key: str
    value: float
    half_width: float


@dataclass(frozen=True)
class Verdict:
    """One thing that had to be so.

    Attributes:
        name, measured, limit: as shown.
        what_to_do: for a person, where it is not ok.
    """

    name: str
    ok: bool
    measured: str
    limit: str
    what_to_do: str = ""


@dataclass(frozen=True)
class Curve:
    """A picture for the report: lines of (x, y) by name."""

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, tuple[F64, F64]]


@dataclass
class Found:
    """What a routine's fit gives.

    Attributes:
        values: what goes into the file.
        verdicts: all must be ok, or nothing is written; those of held-out motion among them.
        curves: for the report.
        facts: whatever else the report should hold.
    """

    values: list[Value] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every verdict is."""
        return all(verdict.ok for verdict in self.verdicts)


class Routine(Protocol):
    """One routine for one robot.

    Attributes:
        name, version, summary: for people and files.
        envelope: what it may do at most.
        hangs: the robot has to hang, feet off the floor.
        fixture: (where there is one) what holds two of its limbs to each other.
    """

    name: str
    version: str
    summary: str
    envelope: Envelope
    hangs: bool

    def prepare(self, robot: Robot, joints: Sequence[str], offsets: F64) -> None:
        """For this robot, and these of its joints; refuses what it cannot do.

        Args:
            offsets: (motors,) encoder offsets in force, rad: what is recorded under a routine still has them.
        """
        ...

    def plan(self) -> list[str]:
        """What will move, how far, how hard, how long: lines for a person."""
        ...

    def steps(self, bench: Bench) -> Steps[None]:
        """The motion."""
        ...

    def fit(self, recording: Recording) -> Found:
        """From what was recorded."""
        ...


@runtime_checkable
class KnowsPlant(Protocol):
    """A routine that compares with what is known of the robot's physics: `plant` of the calibration in force."""

    plant: Mapping[str, Any]


def interval(samples: Sequence[float]) -> tuple[float, float]:
    """Mean of repeated measurements and the half-width of its 95 % interval (Student's t)."""
    values = np.asarray(samples, np.float64)
    n = len(values)
    if n < 2:
        return float(values.mean()), float("inf")
    error = float(values.std(ddof=1)) / float(np.sqrt(n))
    return float(values.mean()), t_quantile(n - 1) * error


def t_quantile(freedom: int) -> float:
    """Two-sided 95 % quantile of Student's t; that of 30 degrees of freedom for more."""
    return _T95[min(freedom, len(_T95)) - 1]


_T95: tuple[float, ...] = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)
"""Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom (any statistics table)."""


def least_squares(a: F64, b: F64) -> tuple[F64, F64]:
    """x of a x = b, and half-widths of its 95 % intervals from the residual (white noise assumed).

    Raises:
        ValueError: the columns of a do not tell the unknowns apart.
    """
    m, n = a.shape
    if m <= n or np.linalg.matrix_rank(a, tol=1e-9 * max(float(np.linalg.norm(a)), 1e-30)) < n:
        raise ValueError(f"{m} measurements do not determine {n} unknowns")
    x: F64 = np.asarray(np.linalg.lstsq(a, b, rcond=None)[0], np.float64)
    residual = b - a @ x
    variance = float(residual @ residual) / (m - n)
    return x, np.asarray(1.96 * np.sqrt(np.diag(np.linalg.inv(a.T @ a)) * variance), np.float64)
