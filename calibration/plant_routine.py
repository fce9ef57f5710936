"""What the routines that identify a joint's physics share: the motions, the fit, and the proof on held-out motion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.bench import Bench, Recording, Steps
from calibration.envelope import Envelope
from calibration.excitation import Room, Way, chirp_way, dither, play, sweep_way
from calibration.hanging import hanging
from calibration.joint_equations import Equations, equations, traces
from calibration.joint_fit import Fit, Model, fit_joint
from calibration.limb_room import telling_room
from calibration.limb_torques import LimbTorques
from calibration.postures import posture_to_tell
from calibration.routine import Curve, Found, Verdict
from runtime.robot import Joint, Robot

F64 = npt.NDArray[np.float64]
PERIOD_S = LAG_S = 0.002
"""Of the gate, which takes a row's target up at its next period."""
POSTURE_RAD_S, REST_S = 0.8, 0.3
FASTEST_RAD_S, HARDEST_RAD_S2, EFFORT = 3.0, 60.0, 0.25
"""Of a motion: speed, acceleration, and share of the envelope's torque that its acceleration takes."""
SWEEPS = ((0.1, 1), (0.3, 1), (0.8, 2), (2.5, 5))
"""rad/s, and turns at it."""
SLOW, LEAST_RUBBED = ("sweep 0.1", "sweep 0.3"), 0.97
"""Sweeps at which a joint may not slip yet: friction below what faster motion shows is no Coulomb friction."""
TURNING = 0.4
"""Share of the reach in which a sweep comes to rest."""
SWEEP_S = 0.6
"""A slow sweep lasts so long from the middle to an end."""
SWEEP_KD_PER_KG_M2, CHIRP_KD_PER_KG_M2 = 30.0, 10.0
LEAST_KD = 0.3
LIMB_WIDTH_S, MOST_WIDER, LIGHT_KG_M2 = 0.012, 1.25, 0.05
"""Smoothing of a light limb's equations: what holds the robot gives way, which at high frequencies looks like inertia
(an elbow's rotor came out 5 % large at 6 ms and 1.6 % at 12 ms, in a weld of 4 ms). Heavier ones: wider.
"""
CHIRP_S, CHIRP_HZ = 8.0, (0.5, 4.0)
PROOF_S, PROOF_HZ = 2.5, (0.9, 2.6)
DITHER_SHARE, DITHER_RAD_S2, DITHER_N_M = 0.15, 20.0, 3.0
HELD_KP_RATIO, HELD_KD_RATIO = 1.5, 4.0
"""Of the joints that stand meanwhile, over the table's: whipping limbs outrun smoothed samples."""
SAME_DELAY_S = 0.0001
"""By how much joints' delays may differ: they are on one bus."""
WORSE = 1.02
"""Of held-out misfit that is the noise's, not the model's."""


@dataclass(frozen=True)
class Limb:
    """One joint's motions.

    Attributes:
        posture: of the other joints, as their encoders read.
        ways: name -> what is played, and with which damping.
        width_s: of the smoothing; a heavy limb's torque is what every other joint's noise shows in most.
    """

    joint: Joint
    room: Room
    posture: dict[str, float]
    ways: dict[str, tuple[Way, float]]
    width_s: float

    @property
    def seconds(self) -> float:
        """Of motion."""
        return sum(len(way.q) for way, _ in self.ways.values()) * PERIOD_S


class PlantRoutine:
    """Base of `friction`, `armature`, `latency` and `identify`.

    Attributes:
        plant: `plant` of the calibration in force; a session sets it before `prepare`.
        parts: which motions are played: "sweep", "chirp".
        needs_fine_physics: of a simulated robot, or its steps show as rotors.
    """

    name: str
    version = "1"
    summary: str
    parts: tuple[str, ...] = ("sweep", "chirp")
    envelope = Envelope(velocity_rad_s=6.0, effort_ratio=0.6)
    hangs, needs_fine_physics = True, True

    def __init__(self) -> None:
        self.plant: Mapping[str, Any] = {}

    def prepare(self, robot: Robot, joints: Sequence[str], offsets: F64) -> None:
        self._robot, self._offsets = robot, offsets
        self._limbs, self._model = LimbTorques(robot), hanging(robot)
        self._chosen = [self._limb(row) for row in robot.joints if row.name in joints]

    def plan(self) -> list[str]:
        lines = [f"{len(self._chosen)} joints, one after the other, about their middle, the others out of the way; "
                 f"about {sum(limb.seconds + 3 for limb in self._chosen) / 60:.1f} min"]
        for limb in self._chosen:
            most = max(float(np.abs(way.tau).max()) for way, _ in limb.ways.values())
            lines.append(f"{limb.joint.name}: {limb.room.middle_rad:.2f} +- {limb.room.reach_rad:.2f} rad, up to "
                         f"{FASTEST_RAD_S:g} rad/s, about {most:.1f} N m and its friction; its spring is off meanwhile")
        return lines

    def steps(self, bench: Bench) -> Steps[None]:
        for row in bench.robot.joints:
            bench.gains(row.name, min(HELD_KP_RATIO * row.kp, bench.robot.kp_max),
                        min(HELD_KD_RATIO * row.kd, bench.robot.kd_max))
        yield from bench.hold(0.2)
        for done, limb in enumerate(self._chosen):
            bench.progress = done / len(self._chosen)
            if bench.is_finished(limb.joint.name):
                continue
            bench.said.append(f"{limb.joint.name}: {done + 1} of {len(self._chosen)}")
            yield from bench.move({**limb.posture, limb.joint.name: limb.room.middle_rad}, POSTURE_RAD_S)
            drag = 0.0
            for name, (way, kd) in limb.ways.items():
                yield from bench.move({limb.joint.name: limb.room.middle_rad}, POSTURE_RAD_S)
                yield from bench.hold(REST_S)
                bench.begin(f"{name}/{limb.joint.name}")
                took = yield from play(bench, limb.joint, way, kd, drag)
                bench.end()
                drag = took if name.startswith("sweep") else drag
            yield from bench.move({limb.joint.name: limb.room.middle_rad}, POSTURE_RAD_S)
            bench.finish(limb.joint.name)
        bench.progress = 1.0

    def _limb(self, joint: Joint) -> Limb:
        posture = posture_to_tell(self._robot, joint.name)
        motor_of = {row.name: row.motor for row in self._robot.joints}
        pose = np.zeros(self._robot.motors)
        for name, place in posture.items():
            pose[motor_of[name]] = place
        slow = telling_room(self._model, joint, pose, FASTEST_RAD_S, HARDEST_RAD_S2)
        pose[joint.motor] = slow.middle_rad
        inertia = float(self._limbs.inertia(pose)[joint.motor]) + joint.armature_kg_m2
        room = replace(slow, accel_rad_s2=min(HARDEST_RAD_S2, EFFORT * joint.effort_n_m / inertia))
        kd_sweep, kd_chirp = (min(max(per * inertia, LEAST_KD), self.envelope.kd_max)
                              for per in (SWEEP_KD_PER_KG_M2, CHIRP_KD_PER_KG_M2))
        jump = min(DITHER_SHARE * joint.effort_n_m, DITHER_RAD_S2 * inertia, DITHER_N_M)
        ways: dict[str, tuple[Way, float]] = {}
        for speed, turns in _sweeps(room) if "sweep" in self.parts else ():
            plan = sweep_way(room, speed, turns, min(room.reach_rad, SWEEP_S * speed), PERIOD_S)
            ways[f"sweep {speed:g}"] = self._way(joint, pose, plan, 0.0, 0), kd_sweep
        if "chirp" in self.parts:
            plan = chirp_way(room, CHIRP_S, *CHIRP_HZ, PERIOD_S)
            ways["chirp"] = self._way(joint, pose, plan, jump, 1), kd_chirp
        proof = chirp_way(room, PROOF_S, *PROOF_HZ, PERIOD_S, phase=1.0)
        ways["held-out"] = self._way(joint, pose, proof, jump, 2), kd_chirp
        offset = float(self._offsets[joint.motor])
        ways = {name: (replace(way, q=way.q + offset), kd) for name, (way, kd) in ways.items()}
        read = {name: place + float(self._offsets[motor_of[name]]) for name, place in posture.items()}
        width_s = LIMB_WIDTH_S * min(max(float(np.sqrt(inertia / LIGHT_KG_M2)), 1.0), MOST_WIDER)
        return Limb(joint, replace(room, middle_rad=room.middle_rad + offset), read, ways, width_s)

    def _way(
        self, joint: Joint, pose: F64, plan: tuple[F64, F64, F64], jump: float, seed: int
    ) -> Way:
        """A planned motion, (n,) q, dq, ddq, with the torque that it takes of the plant; every fourth one reckoned."""
        q, dq, ddq = plan
        some = np.arange(0, len(q) + 3, 4).clip(0, len(q) - 1)
        places = np.tile(pose, (len(some), 1))
        places[:, joint.motor] = q[some]
        speeds, changes = np.zeros_like(places), np.zeros_like(places)
        speeds[:, joint.motor], changes[:, joint.motor] = dq[some], ddq[some]
        limb = self._limbs.torques(places, speeds, changes)[:, joint.motor] + joint.armature_kg_m2 * ddq[some]
        tau = np.interp(np.arange(len(q)), some, limb)
        return Way(q, dq, ddq, tau + dither(len(q), jump, PERIOD_S, seed) if jump else tau)

    def known(self, joint: str) -> Model:
        """What is in force of a joint: of the calibration's file, else of table and plant."""
        row = next(row for row in self._robot.joints if row.name == joint)
        told: Mapping[str, float] = self.plant.get(joint, {})
        coulomb, viscous = self._limbs.friction(joint)
        return Model(
            told.get("coulomb_n_m", coulomb), told.get("viscous_n_m_s_rad", viscous),
            told.get("armature_kg_m2", row.armature_kg_m2), told.get("torque_scale", 1.0), 0.0,
            told.get("stribeck_n_m", 0.0), told.get("stribeck_rad_s", 0.1),
            sum(self.plant.get("delay", {}).values()))

    def equations(self, recording: Recording, limb: Limb, names: Sequence[str]) -> Equations:
        """Of one limb's stretches."""
        rows = [recording.rows[slice(*recording.stretches[f"{name}/{limb.joint.name}"])] for name in names]
        seen = traces(rows, limb.joint.motor, self._limbs, self._offsets, PERIOD_S)
        return equations(seen, PERIOD_S, LAG_S, limb.width_s)

    def fits(self, recording: Recording, found: Found) -> dict[str, Fit]:
        """Every joint's model, with one delay: the loop is the same for all, and light joints tell it best.

        Verdicts and curves go into `found`; joints whose held-out motion the model does not bear out are left out.
        """
        sets = {limb.joint.name: self._told(recording, limb) for limb in self._chosen}
        alone = {name: fit_joint(of) for name, (of, _) in sets.items()}
        values = np.array([fit.model.delay_s for fit in alone.values()])
        widths = np.array([fit.width["delay_s"] / 1.96 for fit in alone.values()])
        out = {}
        for place, limb in enumerate(self._chosen):
            name = limb.joint.name
            others = np.delete(np.arange(len(values)), place)
            weights = widths[others] ** -2
            fit = alone[name] if not len(others) else fit_joint(sets[name][0], delay_s=(
                float(weights @ values[others] / weights.sum()), float(np.hypot(weights.sum() ** -0.5, SAME_DELAY_S))))
            if self._is_borne_out(recording, limb, fit, sets[name][1], found):
                out[name] = fit
        found.verdicts.append(Verdict(
            "joints that held-out motion bears out", bool(out), f"{len(out)} of {len(self._chosen)}", "one at least",
            "were limbs touched, or did the gantry swing? repeat"))
        return out

    def _told(self, recording: Recording, limb: Limb) -> tuple[Equations, list[str]]:
        """Equations of all sweeps and chirps at which the joint slips, and their names."""
        names = [part for part in limb.ways if part not in (*SLOW, "held-out")]
        slow = [part for part in SLOW if part in limb.ways]
        fit = fit_joint(self.equations(recording, limb, names)) if slow else None
        slips = [part for part in slow if fit is not None
                 and fit.model.rubbed(self.equations(recording, limb, [part])) > LEAST_RUBBED]
        return self.equations(recording, limb, [*slips, *names]), [*slips, *names]

    def _is_borne_out(self, recording: Recording, limb: Limb, fit: Fit, slips_at: list[str], found: Found) -> bool:
        name = limb.joint.name
        proof = self.equations(recording, limb, ["held-out"])
        known = self.known(name)
        before, after = (float(np.sqrt(np.mean(model.misfit(proof) ** 2))) for model in (known, fit.model))
        is_better = after <= WORSE * before
        found.verdicts.append(Verdict(
            f"{name}: held-out motion", True, f"{after:.3f} N m unexplained, in force {before:.3f}"
            + ("" if is_better else ": left as it was"), "no worse than what is in force, or not written"))
        order = np.argsort(proof.dq)
        speeds = np.linspace(-FASTEST_RAD_S, FASTEST_RAD_S, 201)
        rub = proof.commanded(fit.model.delay_s) - proof.feedback - (
            (fit.model.armature * proof.ddq + proof.limb) / fit.model.scale + fit.model.constant)
        fading = fit.model.stribeck * np.exp(-((speeds / fit.model.stribeck_rad_s) ** 2))
        line = ((fit.model.coulomb + fading) * np.sign(speeds) + fit.model.viscous * speeds) / fit.model.scale
        found.curves.append(Curve(f"{name}: friction on held-out motion", "speed, rad/s", "torque, N m",
                                  {"model": (speeds, line), "measured": (proof.dq[order], rub[order])}))
        found.facts[name] = {
            "held_out_n_m": after, "in_force_n_m": before, "delay_s": fit.model.delay_s,
            "slips_at": slips_at, "torque_scale": fit.model.scale, "torque_scale_half_width": fit.width["scale"],
            "torque_scale_is": "found by the limb's weight" if fit.is_scale_told else
            "what is usual: gravity does not turn this joint enough to tell it; all intervals carry its scatter",
            "armature_per_percent_of_link_mass": -0.01 * proof.link_inertia}
        return is_better


def _sweeps(room: Room) -> list[tuple[float, int]]:
    """Speeds and turns, as fast as there is room to turn round."""
    fastest = float(np.sqrt(2 * TURNING * room.reach_rad * room.accel_rad_s2))
    able = [(speed, turns) for speed, turns in SWEEPS if speed <= fastest]
    last = able[-1][0] if able else 0.0
    return able if len(able) == len(SWEEPS) or fastest < 1.3 * last else [*able, (round(fastest, 2), 2)]
