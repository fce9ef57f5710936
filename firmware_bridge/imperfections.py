"""A truth at work on a simulated robot: in its physics, on the way to its drives, and in what its sensors say."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.ailment_kit import copy_sample
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, MotorSample, Q
from firmware_bridge.truth import JointTruth, Truth

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
SUBSTEP_S = 0.00025
"""Physics step under a truth of rotors or delays, which are rounded to it."""
PLAY_RAD_S = 0.5
"""How fast an encoder crosses its free play when the torque turns round."""
PLAY_N_M = 0.2
"""Torque at which it leans on a side of its play for good."""


class Imperfections:
    """One robot's.

    Args:
        truth: what is true.
        joints: joint name of each motor slot, "" for a slot that is not used.
        model: the plant's, to be changed.
        slot, dof: (k,) motor slots in use, and the degree of freedom on each.

    Raises:
        BridgeError: the truth names a joint that the robot lacks.
    """

    def __init__(self, truth: Truth, joints: tuple[str, ...], model: Any, slot: Index, dof: Index) -> None:
        names = [*truth.joints, *(name for pair in truth.swapped for name in pair)]
        unknown = sorted(set(names) - set(joints) | ({""} & set(names)))
        if unknown:
            raise BridgeError("truth", expected=f"joints among {', '.join(filter(None, joints))}",
                              found=", ".join(unknown), what_to_do="correct the truth's file")
        n = len(joints)
        self.truth, self._model, self._slot, self._dof = truth, model, slot, dof
        rows = [truth.joints.get(name, JointTruth()) for name in joints]
        self._offset, self._trim, self._sign, self._torque, self._play = (
            np.array([getattr(row, name) for row in rows]) for name in
            ("encoder_offset_rad", "command_offset_rad", "sign", "torque_scale", "backlash_rad"))
        self._wire = np.arange(n)
        for first, second in truth.swapped:
            a, b = joints.index(first), joints.index(second)
            self._wire[[a, b]] = self._wire[[b, a]]
        self._rows = rows
        self._shape(model)
        self._random = np.random.default_rng((truth.seed, 7))
        self._lean, self._torque_before = np.zeros(n), np.zeros(n)
        self._gyro_bias = np.array(truth.imu.gyro_bias_rad_s)
        self._turn = _matrix(truth.imu.mounting_wxyz).T
        self._past: deque[tuple[float, MotorSample]] = deque()
        self._temperature_c = np.full(n, truth.heat.ambient_c)
        self._heating, self._cooling = (
            np.array([general if own is None else own for own in (getattr(row, name) for row in rows)])
            for name, general in (("heat_c_per_n2m2s", truth.heat.c_per_n2m2s),
                                  ("heat_cooling_per_s", truth.heat.cooling_per_s)))

    def _shape(self, model: Any) -> None:
        """Physics: of the joints, whatever slot they hang on."""
        self._coulomb = np.array(model.dof_frictionloss[self._dof])
        self._extra, self._fade = np.zeros(len(self._slot)), np.ones(len(self._slot))
        for place, (slot, dof) in enumerate(zip(self._slot, self._dof, strict=True)):
            row, joint = self._rows[slot], int(model.dof_jntid[dof])
            if row.coulomb_n_m is not None:
                model.dof_frictionloss[dof] = self._coulomb[place] = row.coulomb_n_m
            if row.viscous_n_m_s_rad is not None:
                model.dof_damping[dof] = row.viscous_n_m_s_rad
            if row.armature_kg_m2 is not None:
                model.dof_armature[dof] = row.armature_kg_m2
            for side, stop in enumerate((row.lower_rad, row.upper_rad)):
                if stop is not None:
                    model.jnt_range[joint, side] = stop
            self._extra[place], self._fade[place] = row.stribeck_n_m, row.stribeck_rad_s
        self._has_stribeck = bool(self._extra.any())

    def rub(self, dq: F64) -> None:
        """Friction at these speeds (k,) of the slots in use, before a physics step."""
        if self._has_stribeck:
            self._model.dof_frictionloss[self._dof] = self._coulomb + self._extra * np.exp(-((dq / self._fade) ** 2))

    def to_plant(self, block: F32) -> F32:
        """What the joints are driven by, (motors, 5), when the drives are told `block`."""
        told = block.astype(np.float64)
        told[:, Q] = (told[:, Q] - self._trim - self._offset) * self._sign
        told[:, DQ] *= self._sign
        told[:, TAU] *= self._sign
        told[:, [KP, KD, TAU]] *= self._torque[:, None]
        out = np.zeros_like(told)
        out[self._wire] = told
        return out.astype(np.float32)

    def sense(self, sample: MotorSample, time_s: float, dt_s: float) -> None:
        """A perfect sample, (motors,) by joint, into what the sensors say by slot; in place, `dt_s` after the last."""
        truth, random = self.truth, self._random
        n = len(self._wire)
        q, dq, tau = (np.asarray(part, np.float64)[self._wire] for part in (sample.q, sample.dq, sample.tau))
        self._heat(tau, dt_s)
        lean = np.clip(tau / PLAY_N_M, -1, 1)
        reach = np.divide(2 * PLAY_RAD_S * dt_s, self._play, out=np.ones(n), where=self._play > 0)
        self._lean += np.clip(lean - self._lean, -reach, reach)
        q = q + self._lean * self._play / 2
        noise = truth.noise
        sample.q[:] = self._sign * q + self._offset + noise.q_rad * random.standard_normal(n)
        sample.dq[:] = self._sign * dq + noise.dq_rad_s * random.standard_normal(n)
        sample.tau[:] = self._sign * tau / self._torque + noise.tau_n_m * random.standard_normal(n)
        sample.temperature_c[:] = self._temperature_c
        imu = truth.imu
        if imu.gyro_walk_rad_s2:
            self._gyro_bias = self._gyro_bias + imu.gyro_walk_rad_s2 * np.sqrt(dt_s) * random.standard_normal(3)
        sample.gyro[:] = self._turn @ sample.gyro + self._gyro_bias + imu.gyro_noise_rad_s * random.standard_normal(3)
        sample.quat_wxyz[:] = _product(np.asarray(sample.quat_wxyz, np.float64), np.array(imu.mounting_wxyz))
        if truth.delay.state_s:
            self._past.append((time_s, copy_sample(sample)))

    def show(self, sample: MotorSample, time_s: float) -> None:
        """What has arrived of it by now, into `sample`."""
        if not self._past:
            return
        while len(self._past) > 1 and self._past[1][0] <= time_s - self.truth.delay.state_s + 1e-9:
            self._past.popleft()
        copy_sample(self._past[0][1], sample)
        sample.tick[0] = round(time_s * 1000)

    def _heat(self, tau: F64, dt_s: float) -> None:
        above = self._temperature_c - self.truth.heat.ambient_c
        self._temperature_c += dt_s * (self._heating * tau**2 - self._cooling * above)

    def accelerate(self, accel: npt.NDArray[np.float32]) -> None:
        """Specific force (3,) of the base into what its accelerometer says; in place, without the states' delay."""
        imu = self.truth.imu
        said = np.array(imu.accel_scale) * (self._turn @ np.asarray(accel, np.float64)) + imu.accel_bias_m_s2
        accel[:] = said + imu.accel_noise_m_s2 * self._random.standard_normal(3)


def _matrix(wxyz: tuple[float, float, float, float]) -> F64:
    """(3, 3) of a unit quaternion."""
    w, x, y, z = np.array(wxyz) / np.linalg.norm(wxyz)
    return np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                     [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                     [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]])


def _product(a: F64, b: F64) -> F64:
    """Of two quaternions, w first."""
    aw, av, bw, bv = a[0], a[1:], b[0], b[1:]
    return np.concatenate([[aw * bw - av @ bv], aw * bv + bw * av + np.cross(av, bv)])
