"""Joint offsets by a closed chain: both feet on one plate, or both hands on one bar, whose geometry is known.

Whatever the joints stand at, the way through the robot from one end of the fixture to the other has to give the
fixture. Where it does not, angles are wrong: least squares over several postures gives the offsets that close it. Not
all can be told so. A combination that no posture shows (both hip pitches alike turn the whole plate about one line) is
left as it is, and said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.bench import Bench, Recording, Steps
from calibration.envelope import Envelope
from calibration.loop import LEVER_M, Loop, solve
from calibration.routine import Curve, Found, Value, Verdict
from firmware_bridge.fixture import FIXTURES, Fixture
from firmware_bridge.motor_bus import Q
from runtime.errors import Refused
from runtime.robot import Robot

F64 = npt.NDArray[np.float64]
FITTED, HELD_OUT = 14, 4
SPEED_RAD_S, SETTLE_S, LOOK_S = 0.5, 0.8, 0.4
LEAST = 1e-3
"""Singular values below this share of the largest are none: a G1's next weakest is ten times as large."""
SHARE = 0.05
"""A joint with more of its square in what cannot be told is not determined."""
MOST_HALF_WIDTH_RAD = 0.01
MOST_GAP_M = 0.002
"""Of a chain that is closed, root mean square: joints that are wrong by 2 mrad each."""
ROUNDS = 6
COMBINED = 0.3
"""Joints with at least this much of a combination are named with it."""


class ClosedChain:
    """The routine; values are `joints.NAME.encoder_offset_rad` and the command's of the joints that can be told.

    Args:
        fixture: what holds the limbs.
    """

    name, version = "closed-chain", "1"
    summary = "joint offsets of the legs by both feet on one plate"
    envelope = Envelope(velocity_rad_s=1.5, effort_ratio=0.5, kp_max=60.0)
    hangs = True
    fixture: Fixture = FIXTURES["feet"]

    def prepare(self, robot: Robot, joints: Sequence[str], offsets: F64) -> None:
        self._loop = loop = Loop(robot, self.fixture)
        rows = {row.name: row for row in robot.joints}
        missing = [name for name in loop.joints if name not in rows]
        if missing:
            raise Refused(self.name, expected="a plant with the joints of the robot's table", found=", ".join(missing),
                          what_to_do="correct the robot's file")
        self._wanted = set(joints)
        self._motor = np.array([rows[name].motor for name in loop.joints], np.intp)
        self._offset = np.asarray(offsets, np.float64)[self._motor]
        self._rest = {row.name: min(max(0.0, row.lower_rad), row.upper_rad) + float(offsets[row.motor])
                      for row in robot.joints}
        self._ways = loop.postures(FITTED + HELD_OUT)

    def plan(self) -> list[str]:
        fixture = self.fixture
        way = sum(float(np.abs(np.diff(way, axis=0)).max(axis=1).sum()) for way in self._ways) / SPEED_RAD_S
        return [f"{' and '.join(fixture.bodies)} have to be fixed to each other, the second at "
                f"{', '.join(f'{x:.4f}' for x in fixture.position_m)} m in the axes of the first, turned alike",
                f"{len(self._loop.joints)} joints together to {FITTED} postures and {HELD_OUT} to check, "
                f"about {(way + len(self._ways) * (SETTLE_S + LOOK_S)) / 60:.1f} min"]

    def steps(self, bench: Bench) -> Steps[None]:
        yield from bench.move(self._rest, SPEED_RAD_S)
        before = np.zeros(len(self._motor))
        for i, way in enumerate(self._ways):
            bench.progress = i / len(self._ways)
            yield from self._follow(bench, np.concatenate([before[None], way]))
            before = way[-1]
            yield from bench.hold(SETTLE_S)
            bench.begin(f"{'held-out' if _is_held_out(i) else 'posture'}/{i}")
            yield from bench.hold(LOOK_S)
            bench.end()
        home = self._loop.way(before, np.zeros(len(self._motor)))
        if home is not None:
            yield from self._follow(bench, np.concatenate([before[None], home]))
        bench.progress = 1.0

    def _follow(self, bench: Bench, points: F64) -> Steps[None]:
        """Through points, (k, n) true angles, that all close the loop; the fastest joint at `SPEED_RAD_S`."""
        lengths = np.abs(np.diff(points, axis=0)).max(axis=1)
        places = np.concatenate([[0.0], np.cumsum(lengths)])
        ticks = max(1, round(places[-1] / SPEED_RAD_S / bench.period_s))
        for tick in range(1, ticks + 1):
            at = places[-1] * tick / ticks
            for column, motor in enumerate(self._motor):
                bench.target[motor, Q] = np.interp(at, places, points[:, column]) + self._offset[column]
            yield

    def fit(self, recording: Recording) -> Found:
        seen = {kind: np.array([recording.of(name)["q"][:, self._motor].astype(np.float64).mean(axis=0) - self._offset
                                for name in recording.named(kind)]) for kind in ("posture/", "held-out/")}
        chain = fit_chain(self._loop, seen["posture/"], self.fixture)
        return self._found(chain, seen)

    def _found(self, chain: ChainFit, seen: dict[str, F64]) -> Found:
        loop, found, half = self._loop, Found(), chain.half_width
        told = np.array([half[i] <= MOST_HALF_WIDTH_RAD and name in self._wanted for i, name in enumerate(loop.joints)])
        for i in np.flatnonzero(told):
            for kind in ("encoder", "command"):
                found.values.append(Value(f"joints.{loop.joints[i]}.{kind}_offset_rad",
                                          float(self._offset[i] + chain.offset[i]), float(half[i])))
        before, after, written = (_rms(loop, seen["held-out/"] - offset) for offset in
                                  (0.0, chain.offset, np.where(told, chain.offset, 0.0)))
        fitted = _rms(loop, seen["posture/"] - chain.offset)
        found.verdicts += [
            Verdict("the chain closes", fitted <= MOST_GAP_M, f"{1000 * fitted:.2f} mm", f"<= {1000 * MOST_GAP_M:g} mm",
                    "fix both ends to the fixture without play, and check its geometry"),
            Verdict("some joints are told", bool(told.any()), f"{told.sum()} of {len(told)}",
                    f"at least one to {MOST_HALF_WIDTH_RAD} rad", "a better fixture, or joint-zero"),
            Verdict("held-out postures, all that was found", after <= MOST_GAP_M,
                    f"{1000 * after:.2f} mm, before {1000 * before:.2f} mm", f"<= {1000 * MOST_GAP_M:g} mm",
                    "the offsets are not the same everywhere: look for play, or a slipping joint"),
            Verdict("held-out postures, what would be written", written <= max(before, MOST_GAP_M / 4),
                    f"{1000 * written:.2f} mm, before {1000 * before:.2f} mm", "better than before",
                    "find the joints that cannot be told so by joint-zero first"),
        ]
        found.facts = {"combinations": chain.combinations(loop.joints), "not_told": [
            name for i, name in enumerate(loop.joints) if half[i] > MOST_HALF_WIDTH_RAD]}
        postures = np.arange(len(seen["posture/"]), dtype=np.float64)
        found.curves += [
            Curve("how far the chain is from closing", "posture", "mm", {
                name: (postures, 1000 * np.array([float(np.linalg.norm(loop.gap(q - offset)[0]))
                                                  for q in seen["posture/"]]))
                for name, offset in (("before", np.zeros(len(half))), ("after", chain.offset))}),
            Curve("singular values, m/rad", "combination", "log10", {"all postures": (
                np.arange(len(chain.values), dtype=np.float64), np.log10(np.maximum(chain.values, 1e-12)))}),
        ]
        return found


class ClosedChainHands(ClosedChain):
    """The same of the arms."""

    name = "closed-chain-hands"
    summary = "joint offsets of the arms by both hands on one bar"
    fixture = FIXTURES["hands"]


class ChainFit:
    """What least squares gives of one loop.

    Attributes:
        offset: (n,) rad, what the angles are wrong by; nothing of combinations that cannot be told.
        half_width: (n,) of 95 % confidence; infinite for joints with a part in such combinations.
        values, rows: singular values (n,), m/rad, and their combinations (n, n).
        told: (n,) whether a combination can be.
        widths: (n,) half-width of each combination.
    """

    def __init__(self, offset: F64, half_width: F64, values: F64, rows: F64, widths: F64) -> None:
        self.offset, self.half_width, self.values, self.rows, self.widths = offset, half_width, values, rows, widths
        self.told = values > LEAST * values[0]

    def combinations(self, joints: Sequence[str]) -> list[dict[str, Any]]:
        """For the report: of each its singular value, whether it can be told and how well, and the joints in it."""
        return [{"singular_value_m_rad": round(float(value), 6), "told": bool(told),
                 "half_width_rad": float(width) if told else None,
                 "joints": {name: round(float(part), 2) for name, part in zip(joints, row, strict=True)
                            if abs(part) >= COMBINED}}
                for value, told, width, row in zip(self.values, self.told, self.widths, self.rows, strict=True)]


def fit_chain(loop: Loop, seen: F64, fixture: Fixture) -> ChainFit:
    """Offsets from angles (postures, n), rad, that were read while the loop was closed.

    Intervals hold the scatter of what is left and the fixture's own tolerance, which is the same in all postures.

    Raises:
        ValueError: fewer equations than unknowns.
    """
    n = len(loop.joints)
    if 6 * len(seen) <= n:
        raise ValueError(f"{len(seen)} postures do not determine {n} joints")
    offset = np.zeros(n)
    for _ in range(ROUNDS):
        gaps, slopes = zip(*(loop.gap(q - offset) for q in seen), strict=True)
        change, pseudo, values, rows = solve(slopes, gaps, LEAST)
        offset = offset - change
    told = values > LEAST * values[0]
    left = np.concatenate([loop.gap(q - offset)[0] for q in seen])
    variance = float(left @ left) / (len(left) - int(told.sum()))
    tolerance = np.repeat([fixture.position_tolerance_m, LEVER_M * fixture.angle_tolerance_rad], 3)
    shift = pseudo.reshape(n, len(seen), 6).sum(axis=1) * tolerance
    covariance = variance * pseudo @ pseudo.T + shift @ shift.T
    hidden = (rows[~told] ** 2).sum(axis=0)
    half = np.where(hidden > SHARE, np.inf, 1.96 * np.sqrt(np.diag(covariance)))
    widths = 1.96 * np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", rows, covariance, rows), 0))
    return ChainFit(offset, half, values, rows, widths)


def _is_held_out(i: int) -> bool:
    """The last of the postures: the ones before were chosen to tell most."""
    return i >= FITTED


def _rms(loop: Loop, seen: F64) -> float:
    gaps = np.array([loop.gap(q)[0] for q in seen])
    return float(np.sqrt(np.mean((gaps**2).sum(axis=1))))
