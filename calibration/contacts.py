"""Foot forces: what the legs' torques say a foot bears, in the air and on the ground, and so when it touches.

A G1 has no force sensor under its feet. Its contacts come from the motors' torques (`runtime/leg_odometry.py`), and
those are off by friction, torque constants and the leg's own weight. In the air a foot bears nothing: what is said
then is its tare. On the ground both feet together bear the robot's weight, however it is spread: several spreads give
the scale of each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from calibration.bench import Bench, Question, Recording, Steps
from calibration.envelope import Envelope
from calibration.routine import Curve, Found, Value, Verdict, interval, least_squares, t_quantile
from firmware_bridge.kinematics import plant_path
from firmware_bridge.plant import compile_plant
from runtime.classical_estimator import AIR_N, GRAVITY_M_S2, TOUCH_N
from runtime.errors import Refused
from runtime.leg_odometry import LegOdometry
from runtime.robot import Robot
from runtime.state import RobotState

F64 = npt.NDArray[np.float64]
SPEED_RAD_S, SETTLE_S, LANDED_S, LOOK_S = 0.4, 0.6, 1.5, 0.5
LOOK_EVERY = 5
KNEE_RAD = 0.9
"""Knees are bent: a stretched leg's torques say nothing of the force along it."""
AIR_RAD = (0.0, 0.15, -0.15, 0.3)
GROUND_RAD = (0.0, 0.12, -0.12, 0.06)
"""Of the knees, added and taken away: in the air both alike, on the ground the left one's less the right one's."""
HELD_OUT_AIR_RAD, HELD_OUT_GROUND_RAD = (0.08,), (-0.06, 0.09)
WEIGHT_TOLERANCE = 0.02
"""Standard deviation of a robot's weight against its plant's: covers and cables."""
MOST_AIR_N, MOST_SCALE, MOST_SUM = 10.0, 0.1, 0.06
SCALES = (0.6, 1.6)


class Contacts:
    """The routine; values are `feet.NAME.air_force_n` and `feet.NAME.force_scale`."""

    name, version = "contacts", "1"
    summary = "what the legs' torques say a foot bears, in the air and on the ground"
    envelope = Envelope(velocity_rad_s=3.0, effort_ratio=0.6)
    hangs = True

    def prepare(self, robot: Robot, joints: Sequence[str], offsets: F64) -> None:
        if not robot.feet:
            raise Refused(self.name, expected="`feet` in the robot's file (docs/estimator.md)", found="none",
                          what_to_do="describe the legs; without them nothing reads contacts")
        plant = plant_path(robot.name)
        if not plant.is_file():
            raise Refused(self.name, expected="a robot whose weight is known, by its plant", found=robot.name,
                          what_to_do="nothing here tells its weight")
        self._robot, self._offsets = robot, np.asarray(offsets, np.float64)
        self._feet = [foot.name for foot in robot.feet]
        self._weight_n = float(compile_plant(plant).body_mass.sum()) * GRAVITY_M_S2

    def plan(self) -> list[str]:
        return [f"knees bend to {KNEE_RAD:g} rad and a little more and less, in the air and on the ground",
                "between them you let the robot down until its feet carry all of it, and steady it by its torso "
                "without lifting or pressing",
                f"its weight has to be that of its plant, {self._weight_n:.0f} N: take off the rest"]

    def steps(self, bench: Bench) -> Steps[None]:
        yield from self._looks(bench, "air", [(bend, bend) for bend in AIR_RAD])
        yield from self._looks(bench, "held-out air", [(bend, bend) for bend in HELD_OUT_AIR_RAD])
        yield from bench.move(self._places(0.0, 0.0), SPEED_RAD_S)
        bench.progress = 0.4
        yield from bench.ask(Question("let the robot down onto its feet until the rope is slack; steady it", down=True))
        yield from bench.hold(LANDED_S)
        yield from self._looks(bench, "ground", [(-bend, bend) for bend in GROUND_RAD])
        yield from self._looks(bench, "held-out ground", [(-bend, bend) for bend in HELD_OUT_GROUND_RAD])
        yield from bench.move(self._places(0.0, 0.0), SPEED_RAD_S)
        bench.progress = 0.9
        yield from bench.ask(Question("pull the robot up again, its feet off the floor", down=False))
        bench.progress = 1.0

    def _looks(self, bench: Bench, name: str, bends: Sequence[tuple[float, float]]) -> Steps[None]:
        for i, (left, right) in enumerate(bends):
            yield from bench.move(self._places(left, right), SPEED_RAD_S)
            yield from bench.hold(SETTLE_S)
            bench.begin(f"{name}/{i}")
            yield from bench.hold(LOOK_S)
            bench.end()

    def _places(self, left: float, right: float) -> dict[str, float]:
        """Knees bent by `KNEE_RAD` and so much more, soles level; as the encoders read."""
        out = {}
        for row in self._robot.joints:
            bend = KNEE_RAD + (left if row.name.startswith("left_") else right)
            share = {"hip_pitch": -0.5, "knee": 1.0, "ankle_pitch": -0.5}
            place = next((part * bend for key, part in share.items() if key in row.name), 0.0)
            out[row.name] = min(max(place, row.lower_rad), row.upper_rad) + float(self._offsets[row.motor])
        return out

    def fit(self, recording: Recording) -> Found:
        seen = {name: self._forces(recording, f"{name}/") for name in ("air", "held-out air", "ground",
                                                                      "held-out ground")}
        found = fit_forces(self._feet, {name: np.array([rows.mean(axis=0) for rows in looks])
                                        for name, looks in seen.items()}, self._weight_n)
        everything = np.concatenate([rows for looks in seen.values() for rows in looks])
        at = np.arange(len(everything), dtype=np.float64)
        found.curves.append(Curve("force as the torques say it: in the air, then on the ground", "look", "N", {
            name: (at, everything[:, i]) for i, name in enumerate(self._feet)}))
        return found

    def _forces(self, recording: Recording, prefix: str) -> list[F64]:
        """(looks, feet) of each stretch, N, by the very odometry that a run uses."""
        odometry, state = LegOdometry(self._robot), RobotState(self._robot.motors)
        found = []
        for name in recording.named(prefix):
            rows = recording.of(name)[::LOOK_EVERY]
            forces = np.zeros((len(rows), len(self._feet)))
            for i, row in enumerate(rows):
                for field in state.record.dtype.names or ():
                    state.record[field] = row[field]
                state.q[:] -= self._offsets
                odometry.update(state.floats)
                forces[i] = odometry.force
            found.append(forces)
        return found


def fit_forces(feet: Sequence[str], seen: dict[str, F64], weight_n: float) -> Found:
    """Tare and scale of each foot, from mean forces (postures, feet), N, in the air and on the ground.

    Args:
        seen: "air", "ground", and both "held-out".

    Raises:
        ValueError: the weight was never spread differently.
    """
    found = Found()
    tared = [interval(seen["air"][:, i].tolist()) for i in range(len(feet))]
    air, air_width = (np.array([pair[part] for pair in tared]) for part in (0, 1))
    ground = seen["ground"] - air
    share, share_width = least_squares(ground, np.full(len(ground), weight_n))
    share_width = share_width * t_quantile(len(ground) - len(feet)) / 1.96  # few spreads
    scale = 1 / share
    width = scale * np.sqrt((share_width * scale) ** 2 + (1.96 * WEIGHT_TOLERANCE) ** 2
                            + (air_width.sum() / weight_n) ** 2)
    threshold, threshold_width = air + scale * TOUCH_N, np.hypot(air_width, width * TOUCH_N)
    for i, name in enumerate(feet):
        found.values += [Value(f"feet.{name}.air_force_n", float(air[i]), float(air_width[i])),
                         Value(f"feet.{name}.force_scale", float(scale[i]), float(width[i]))]
        found.verdicts += [
            Verdict(f"{name}: tare", bool(air_width[i] <= MOST_AIR_N), f"{air[i]:.1f} +- {air_width[i]:.1f} N",
                    f"+- {MOST_AIR_N:g} N", "a joint of this leg rubs: find its friction first"),
            Verdict(f"{name}: scale", bool(SCALES[0] <= scale[i] <= SCALES[1] and width[i] <= MOST_SCALE),
                    f"{scale[i]:.3f} +- {width[i]:.3f}", f"{SCALES[0]:g} to {SCALES[1]:g}, +- {MOST_SCALE:g}",
                    "it does not stand freely, or its torques are not what they say"),
        ]
    before, after = (float(np.abs(((seen["held-out ground"] - tare) / per).sum(axis=1) - weight_n).max()) / weight_n
                     for tare, per in ((AIR_N, 1.0), (air, scale)))
    bears = (seen["held-out ground"] > threshold).all() and not (seen["held-out air"] > threshold).any()
    found.verdicts += [
        Verdict("held-out spreads: the weight", after <= max(MOST_SUM, before) and after <= 2 * MOST_SUM,
                f"off by {100 * after:.1f} %, before {100 * before:.1f} %", f"<= {100 * MOST_SUM:g} %, or better",
                "let it stand freely, steadied only sideways, and repeat"),
        Verdict("held-out contacts", bool(bears), "each foot told right" if bears else "a foot is told wrong",
                "none in the air, both on the ground", "the thresholds do not part air and ground: look at the plot"),
    ]
    found.facts.update(weight_n=round(weight_n, 1), thresholds_n={
        name: [round(float(threshold[i]), 2), round(float(threshold_width[i]), 2)] for i, name in enumerate(feet)})
    return found
