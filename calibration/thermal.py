"""Thermal soak: how a motor warms under load and cools, and so how long it may be loaded.

Two loads of the limbs' own weight with a rest between. A motor's temperature follows dT/dt = c tau^2 - k (T - ambient);
drives tell it in whole degrees, so what is fitted is when a reading changes. The first load and the rest give c, k and
the ambient temperature, the second load, with legs and arms the other way round, has to bear them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.bench import Bench, Recording, Steps, Stopped
from calibration.envelope import Envelope
from calibration.routine import Curve, Found, Value, Verdict, t_quantile
from runtime.robot import Joint, Robot

F64 = npt.NDArray[np.float64]
COLD_S, LOAD_S, REST_S, CHECK_S = 10.0, 150.0, 90.0, 30.0
WARM_C = 65.0
"""Where the first load ends early: warm enough to tell."""
MOVE_RAD_S = 0.5
SAMPLE_TICKS, LOOK_TICKS = 50, 10
"""Ten looks a second of 20 ms each: a soak would fill the memory otherwise."""
UNTOLD_C = 0.25
"""A reading is rounded or cut: half a degree apart, and nobody says which."""
LEAST_CHANGES = 10
LEAST_K, MOST_K = 5e-4, 0.3
"""Cooling per second that a motor may have: time constants of 33 min and 3 s."""
MOST_GROWTH = 600.0
"""Of an exponent: e^709 is the largest double."""
REFINE = 40
"""Rounds that narrow the best of the first coarse look, each to two thirds."""
LEAST_STD_C = 0.01
"""Of a change's moment: a tenth of a second while a motor warms by a degree a second."""
MOST_SHARE = 0.2
MOST_HELD_OUT_C = 2.0
MOST_TWINS = 1.5
SHARES = (0.1, 0.25, 0.5, 1.0)
LEG_RAD, ARM_RAD = 1.0, 1.3


class Thermal:
    """The routine; values are `plant.NAME.heat_c_per_n2m2s` and `heat_cooling_per_s` of motors that warm enough."""

    name, version = "thermal", "1"
    summary = "how motors warm under load and cool, and how long they may be loaded"
    envelope = Envelope(velocity_rad_s=1.5, effort_ratio=0.5)
    hangs = True

    def prepare(self, robot: Robot, joints: Sequence[str], offsets: F64) -> None:
        self._joints: list[Joint] = [row for row in robot.joints if row.name in joints]
        self._all, self._offsets = robot.joints, offsets
        self._limit_c, self._most_c = robot.limits.temperature_high_c, robot.limits.temperature_warn_c

    def plan(self) -> list[str]:
        return [f"one leg forwards, one backwards, arms forwards, held for {LOAD_S:g} s or until a motor has "
                f"{WARM_C:g} C; rest for {REST_S:g} s; then the other way round for {CHECK_S:g} s",
                f"ends in damping if a motor reaches {self._most_c:g} C"]

    def steps(self, bench: Bench) -> Steps[None]:
        yield from self._watched(bench, self._phases(bench))

    def _phases(self, bench: Bench) -> Steps[None]:
        straight = self._places(0.0)
        yield from bench.move(straight, MOVE_RAD_S)
        yield from _sampled(bench, "fit/cold", bench.hold(COLD_S))
        yield from _sampled(bench, "fit/up", bench.move(self._places(1.0), MOVE_RAD_S), LOOK_TICKS)
        bench.progress = 0.05
        yield from _sampled(bench, "fit/load", self._load(bench))
        bench.progress = 0.55
        yield from _sampled(bench, "fit/down", bench.move(straight, MOVE_RAD_S), LOOK_TICKS)
        yield from _sampled(bench, "fit/rest", bench.hold(REST_S))
        bench.progress = 0.85
        yield from _sampled(bench, "check/up", bench.move(self._places(-1.0), MOVE_RAD_S), LOOK_TICKS)
        yield from _sampled(bench, "check/load", bench.hold(CHECK_S))
        bench.progress = 0.97
        yield from bench.move(straight, MOVE_RAD_S)
        bench.progress = 1.0

    def _load(self, bench: Bench) -> Steps[None]:
        for _ in range(round(LOAD_S / bench.period_s)):
            if float(bench.temperature_c.max()) >= WARM_C:
                return
            yield

    def _watched(self, bench: Bench, steps: Steps[None]) -> Steps[None]:
        """Steps, until a motor is too hot.

        Raises:
            Stopped: one is, or nobody says how hot they are.
        """
        for _ in steps:
            hottest = int(bench.temperature_c.argmax())
            hot_c = float(bench.temperature_c[hottest])
            if not np.isfinite(bench.temperature_c).all():
                raise Stopped("no motor temperatures are heard")
            if hot_c >= self._most_c:
                name = next((row.name for row in self._all if row.motor == hottest), f"motor {hottest}")
                raise Stopped(f"{name} is at {hot_c:.0f} C, the limit of the routine is {self._most_c:.0f} C")
            yield

    def _places(self, side: float) -> dict[str, float]:
        """Straight (0), the left leg forwards and the right one backwards (1), or the other way round (-1); arms
        forwards in both. As the encoders read."""
        places = {row.name: min(max(0.0, row.lower_rad), row.upper_rad) for row in self._all}
        wanted = {"left_hip_pitch_joint": -LEG_RAD * side, "right_hip_pitch_joint": LEG_RAD * side,
                  "left_shoulder_pitch_joint": -ARM_RAD * abs(side), "right_shoulder_pitch_joint": -ARM_RAD * abs(side)}
        places.update({name: place for name, place in wanted.items() if name in places})
        return {row.name: float(np.clip(places[row.name], row.lower_rad, row.upper_rad) + self._offsets[row.motor])
                for row in self._all}

    def fit(self, recording: Recording) -> Found:
        found = Found()
        time_s, tau, reading = _series(recording)
        fitted = time_s <= _end_s(recording, "fit/")
        warmed: dict[str, Warming] = {}
        unsure: list[str] = []
        for joint in self._joints:
            heat = tau[:, joint.motor] ** 2
            warming = fit_warming(time_s[fitted], heat[fitted], reading[fitted, joint.motor])
            if warming is None or warming.half_width[0] > MOST_SHARE * warming.c_per_n2m2s or \
                    warming.half_width[1] > MOST_SHARE * warming.cooling_per_s:
                unsure.append(joint.name)
                continue
            warmed[joint.name] = warming
            self._judge(found, joint, warming, time_s, heat, reading[:, joint.motor], fitted)
        found.facts["not_warm_enough"] = unsure
        found.verdicts.append(Verdict("some motors warmed enough", bool(warmed), f"{len(warmed)} of "
                                      f"{len(self._joints)}", "at least one", "load them for longer, or more"))
        _compare_twins(found, warmed)
        return found

    def _judge(self, found: Found, joint: Joint, warming: Warming, time_s: F64, heat: F64, reading: F64,
               fitted: npt.NDArray[np.bool_]) -> None:
        effort = joint.effort_n_m / self.envelope.effort_ratio
        for name, value, width in (("heat_c_per_n2m2s", warming.c_per_n2m2s, warming.half_width[0]),
                                   ("heat_cooling_per_s", warming.cooling_per_s, warming.half_width[1])):
            found.values.append(Value(f"plant.{joint.name}.{name}", value, float(width)))
        expected = warming.temperatures(time_s, heat)
        off = float(np.abs(expected - reading - (0.5 - UNTOLD_C))[~fitted].max(initial=0))
        found.verdicts.append(Verdict(
            f"{joint.name}: held-out load", off <= MOST_HELD_OUT_C, f"{off:.1f} C off", f"<= {MOST_HELD_OUT_C:g} C",
            "let everything cool, then repeat without a draught"))
        found.facts[joint.name] = {
            "ambient_c": round(warming.ambient_c, 2), "ambient_half_width_c": round(float(warming.half_width[2]), 2),
            "continuous_torque_n_m": round(warming.continuous_n_m(self._limit_c), 2), "limit_c": self._limit_c,
            "seconds_to_limit": {f"{share * effort:.1f} N m": warming.seconds_to(self._limit_c, share * effort)
                                 for share in SHARES}}
        found.curves.append(Curve(f"{joint.name}: temperature", "s", "C",
                                  {"read": (time_s, reading), "fitted, then foretold": (time_s, expected)}))


@dataclass(frozen=True)
class Warming:
    """dT/dt = c_per_n2m2s tau^2 - cooling_per_s (T - ambient_c), from start_c.

    Attributes:
        half_width: of 95 % confidence, of c, cooling, ambient.
    """

    c_per_n2m2s: float
    cooling_per_s: float
    ambient_c: float
    start_c: float
    half_width: F64

    def temperatures(self, time_s: F64, heat: F64) -> F64:
        """(n,) at times (n,) under squared torques (n,) then."""
        return _design(time_s, heat, self.cooling_per_s) @ [self.c_per_n2m2s, self.ambient_c, self.start_c]

    def continuous_n_m(self, limit_c: float) -> float:
        """The torque that it bears for ever without reaching a temperature."""
        return float(np.sqrt(max(0.0, self.cooling_per_s * (limit_c - self.ambient_c)) / self.c_per_n2m2s))

    def seconds_to(self, limit_c: float, torque_n_m: float) -> float | None:
        """How long a torque may last, from ambient temperature to a limit; None for ever."""
        end = self.c_per_n2m2s * torque_n_m**2 / self.cooling_per_s
        rise = limit_c - self.ambient_c
        return None if end <= rise else round(float(-np.log1p(-rise / end) / self.cooling_per_s), 1)


def fit_warming(time_s: F64, heat: F64, reading: F64) -> Warming | None:
    """From readings in whole degrees, (n,) each; None where too few of them change, or no curve of this kind fits.

    Args:
        heat: squared torque, N^2 m^2.
    """
    at = np.flatnonzero(np.diff(reading) != 0)
    if len(at) < LEAST_CHANGES:
        return None
    # Between two looks a reading changed: it was then at the upper one's lower end, or half a degree below.
    level = np.maximum(reading[at], reading[at + 1]) - UNTOLD_C

    def residual(k: float) -> tuple[F64, F64, F64]:
        design = _design(time_s, heat, k)
        rows = (design[at] + design[at + 1]) / 2
        x = np.asarray(np.linalg.lstsq(rows, level, rcond=None)[0], np.float64)
        return level - rows @ x, x, rows

    most = min(MOST_K, MOST_GROWTH / float(time_s[-1] - time_s[0]))
    ks = np.geomspace(LEAST_K, most, 60)
    best = float(ks[int(np.argmin([float(residual(k)[0] @ residual(k)[0]) for k in ks]))])
    step = float(np.log(ks[1] / ks[0]))
    for _ in range(REFINE):
        step /= 1.5
        tried = [best * np.exp(way * step) for way in (-1.0, 0.0, 1.0)]
        best = float(tried[int(np.argmin([float(residual(k)[0] @ residual(k)[0]) for k in tried]))])
    left, x, rows = residual(best)
    if not LEAST_K * 1.1 < best < most / 1.1 or x[0] <= 0:
        return None
    slope = (_at_changes(time_s, heat, best * 1.001, at) - _at_changes(time_s, heat, best * 0.999, at)) @ x
    jacobian = np.column_stack([rows[:, 0], slope / (0.002 * best), rows[:, 1:]])
    freedom = len(at) - 4
    variance = max(float(left @ left) / freedom, LEAST_STD_C**2)
    half = t_quantile(freedom) * np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian)) * variance)
    return Warming(float(x[0]), best, float(x[1]), float(x[2]), np.array([half[0], half[1], half[2] + UNTOLD_C]))


def _design(time_s: F64, heat: F64, k: float) -> F64:
    """(n, 3) what a temperature is made of at each time: parts of c, ambient and start."""
    since = time_s - time_s[0]
    share = -np.expm1(-k * np.diff(since)) / k
    # x[i + 1] = x[i] fade + between[i] share is a sum of growing terms (`MOST_GROWTH`).
    grown = np.cumsum((heat[1:] + heat[:-1]) / 2 * share * np.exp(k * since[1:]))
    warmed = np.concatenate([[0.0], grown * np.exp(-k * since[1:])])
    left = np.exp(-k * since)
    return np.column_stack([warmed, 1 - left, left])


def _at_changes(time_s: F64, heat: F64, k: float, at: npt.NDArray[np.intp]) -> F64:
    design = _design(time_s, heat, k)
    return np.asarray((design[at] + design[at + 1]) / 2)


def _compare_twins(found: Found, warmed: dict[str, Warming]) -> None:
    """Left and right motors of one kind have to warm alike."""
    for name, left in warmed.items():
        right = warmed.get(name.replace("left_", "right_", 1)) if name.startswith("left_") else None
        if right is not None:
            ratio = left.c_per_n2m2s / right.c_per_n2m2s
            found.verdicts.append(Verdict(
                f"{name}: warms as its twin", 1 / MOST_TWINS <= ratio <= MOST_TWINS, f"{ratio:.2f} times as fast",
                f"{1 / MOST_TWINS:.2f} to {MOST_TWINS:g}", "look for a rubbing joint, a loose motor or a false torque"))


def _sampled(bench: Bench, name: str, steps: Steps[Any], every_ticks: int = SAMPLE_TICKS) -> Steps[None]:
    """Steps, with a short stretch of recording at intervals; without any between where torques change fast."""
    for tick, _ in enumerate(steps):
        phase = tick % every_ticks
        if phase == 0:
            bench.begin(f"{name}/{tick // every_ticks}")
        elif phase == LOOK_TICKS:
            bench.end()
        yield
    bench.end()


def _series(recording: Recording) -> tuple[F64, F64, F64]:
    """Times (n,) s, mean torques (n, motors), readings (n, motors), a row a look."""
    looks = [recording.of(name) for prefix in ("fit/", "check/") for name in recording.named(prefix)]
    looks = [rows for rows in looks if len(rows)]
    time_s = np.array([float(rows["received_ns"].astype(np.float64).mean()) * 1e-9 for rows in looks])
    return (time_s - time_s[0], np.array([rows["tau"].astype(np.float64).mean(axis=0) for rows in looks]),
            np.array([rows["temperature_c"][len(rows) // 2].astype(np.float64) for rows in looks]))


def _end_s(recording: Recording, prefix: str) -> float:
    """When the last look of a kind was, on the clock of `_series`."""
    first = recording.of(recording.named("fit/")[0])["received_ns"].astype(np.float64).mean()
    last = recording.of(recording.named(prefix)[-1])["received_ns"].astype(np.float64).mean()
    return float(last - first) * 1e-9
