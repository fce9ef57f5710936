"""What the routines that identify a joint's physics share: the motions, the fit, and the proof on held-out motion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.bench import Bench, Recording, Steps
from calibration.envelope import Envelope
from calibration.excitation import Room, Way, chirp_way, dither, play, room_of, sweep_way
from calibration.joint_fit import WIDTH_S, Equations, Fit, Model, equations, fit_joint
from calibration.limb_torques import LimbTorques
from calibration.postures import posture_for
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
SWEEP_S = 0.6
"""A slow sweep lasts so long from the middle to an end."""
SWEEP_KD_PER_KG_M2, CHIRP_KD_PER_KG_M2 = 30.0, 10.0
LEAST_KD = 0.3
LIGHT_KG_M2 = 0.1
CHIRP_S, CHIRP_HZ = 8.0, (0.5, 4.0)
PROOF_S, PROOF_HZ = 2.5, (0.9, 2.6)
DITHER_SHARE, DITHER_RAD_S2, DITHER_N_M = 0.15, 60.0, 3.0
HELD_KP_RATIO, HELD_KD_RATIO = 1.5, 4.0
"""Of the joints that stand meanwhile, over the table's: whipping limbs outrun smoothed samples."""
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
    width_s: float = WIDTH_S

    @property
    def seconds(self) -> float:
        """Of motion."""
        return sum(len(way.q) for way, _ in self.ways.values()) * PERIOD_S


class PlantRoutine:
    """Base of `friction`, `armature`, `latency` and `identify`.

    Attributes:
        plant: `plant` of the calibration in force; a session sets it before `prepare`.
        parts: which motions are played: "sweep", "chirp".
    """

    name: str
    version = "1"
    summary: str
    parts: tuple[str, ...] = ("sweep", "chirp")
    envelope = Envelope(velocity_rad_s=6.0, effort_ratio=0.6)
    hangs = True

    def __init__(self) -> None:
        self.plant: Mapping[str, Any] = {}

    def prepare(self, robot: Robot, joints: Sequence[str], offsets: F64) -> None:
        self._robot, self._offsets = robot, offsets
        self._limbs = LimbTorques(robot)
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
        posture = posture_for(self._robot, joint.name)
        motor_of = {row.name: row.motor for row in self._robot.joints}
        pose = np.zeros(self._robot.motors)
        for name, place in posture.items():
            pose[motor_of[name]] = place
        slow = room_of(joint, 0.0, FASTEST_RAD_S, HARDEST_RAD_S2)
        pose[joint.motor] = slow.middle_rad
        inertia = float(self._limbs.inertia(pose)[joint.motor]) + joint.armature_kg_m2
        room = replace(slow, accel_rad_s2=min(HARDEST_RAD_S2, EFFORT * joint.effort_n_m / inertia))
        kd_sweep, kd_chirp = (min(max(per * inertia, LEAST_KD), self.envelope.kd_max)
                              for per in (SWEEP_KD_PER_KG_M2, CHIRP_KD_PER_KG_M2))
        jump = min(DITHER_SHARE * joint.effort_n_m, DITHER_RAD_S2 * inertia, DITHER_N_M)
        ways: dict[str, tuple[Way, float]] = {}
        for speed, turns in SWEEPS if "sweep" in self.parts else ():
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
        width_s = WIDTH_S * min(max((inertia / LIGHT_KG_M2) ** (1 / 3), 1.0), 2.5)
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
        return equations(rows, limb.joint.motor, self._limbs, self._offsets, PERIOD_S, LAG_S,
                         limb.width_s)

    def fitted(self, recording: Recording, limb: Limb, found: Found) -> Fit:
        """A joint's model; its verdicts and curve go into `found`."""
        name = limb.joint.name
        names = [part for part in limb.ways if part not in (*SLOW, "held-out")]
        fit = fit_joint(self.equations(recording, limb, names))
        slips = [part for part in SLOW if part in limb.ways
                 and fit.model.rubbed(self.equations(recording, limb, [part])) > LEAST_RUBBED]
        if slips:
            fit = fit_joint(self.equations(recording, limb, [*slips, *names]))
        proof = self.equations(recording, limb, ["held-out"])
        known = self.known(name)
        before, after = (float(np.sqrt(np.mean(model.misfit(proof) ** 2))) for model in (known, fit.model))
        found.verdicts.append(Verdict(
            f"{name}: held-out motion", after <= WORSE * before, f"{after:.3f} N m unexplained, in force {before:.3f}",
            "no worse than what is in force", "was the limb touched, or did the gantry swing? repeat"))
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
            "slips_at": [*slips, *names],
            "torque_scale": fit.model.scale if fit.is_scale_told else None,
            "torque_scale_is": "found by the limb's weight" if fit.is_scale_told else
            "not separable here: gravity does not turn this joint enough; the drive's own is believed",
            "armature_per_percent_of_link_mass": -0.01 * _link_inertia(proof)}
        return fit


def _link_inertia(of: Equations) -> float:
    """Of the links, kg m^2, from how their torque follows acceleration."""
    return float(np.polyfit(of.ddq, of.limb, 1)[0])

