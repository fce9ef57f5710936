"""What a simulated robot hangs by on a test bench, and who lets it down onto its feet and steadies it there."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
LOWER_M_S = 0.06
LANDED_SHARE = 0.95
"""Of its weight on the feet: the rope is then let go."""
HELD_N_M, HELD_N_S_M = 2000.0, 300.0
TURNED_N_M_RAD, TURNED_N_M_S_RAD = 400.0, 40.0
"""How the torso is steadied, sideways and against turning; upwards by nothing, so all weight is on the feet."""


class Hook:
    """The hook of one robot, which is welded to mocap body 0 by its torso.

    Args:
        model, data: with the robot where it is to hang.
        torso: the body that it hangs by.
        base: any body of the robot.

    Attributes:
        is_down: it stands on its feet, steadied.
    """

    def __init__(self, model: Any, data: Any, torso: int, base: int) -> None:
        self._model, self._data, self._torso = model, data, torso
        self._root = int(model.body_rootid[base])
        gantry = int(np.flatnonzero(np.asarray(model.body_mocapid) == 0)[0])
        self._weld = int(np.flatnonzero(np.asarray(model.eq_obj1id) == gantry)[0])
        self._place, self._quat = np.array(data.xpos[torso]), np.array(data.xquat[torso])
        self._weight_n = float(model.body_subtreemass[self._root]) * float(np.linalg.norm(model.opt.gravity))
        self._height_m = float(self._place[2])
        self.is_down = False
        self._stood: F64 = np.zeros(3)
        self._taken: F64 = np.concatenate([self._place, self._quat])
        self.turn(np.zeros(3))

    def turn(self, turn_rad: F64) -> None:
        """Turn it: a rotation vector (3,) in world axes, rad, from upright."""
        turn, pose = np.zeros(4), np.zeros(4)
        angle = float(np.linalg.norm(turn_rad))
        mujoco.mju_axisAngle2Quat(turn, turn_rad / angle if angle else np.array([1.0, 0, 0]), angle)
        mujoco.mju_mulQuat(pose, turn, self._quat)
        self._data.mocap_pos[0], self._data.mocap_quat[0] = (*self._place[:2], self._height_m), pose

    def lower(self, dt_s: float, *, down: bool) -> bool:
        """A while of letting it down, or of pulling it up again; whether that is done."""
        if down == self.is_down and (down or self._height_m >= self._place[2]):
            return True
        if down:
            self._height_m -= LOWER_M_S * dt_s
            if self.load_n() >= LANDED_SHARE * self._weight_n:
                self.is_down, self._stood = True, np.array(self._data.xpos[self._torso])
                self._data.eq_active[self._weld] = 0
            self.turn(np.zeros(3))
        else:
            self._pull_up(dt_s)
        return False

    def _pull_up(self, dt_s: float) -> None:
        """Taken as it stands, and straightened on the way."""
        data, torso = self._data, self._torso
        if self.is_down:
            self.is_down, self._height_m = False, float(data.xpos[torso, 2])
            self._taken = np.concatenate([data.xpos[torso], data.xquat[torso]])
            data.eq_active[self._weld] = 1
            data.xfrc_applied[torso] = 0
        self._height_m = min(self._height_m + LOWER_M_S * dt_s, float(self._place[2]))
        way = float(self._place[2] - self._taken[2])
        share = 1.0 if way <= 0 else min(1.0, (self._height_m - self._taken[2]) / way)
        data.mocap_pos[0, :2] = self._taken[:2] + share * (self._place[:2] - self._taken[:2])
        data.mocap_pos[0, 2] = self._height_m
        quat = self._taken[3:] + share * (self._quat - self._taken[3:])
        data.mocap_quat[0] = quat / np.linalg.norm(quat)

    def load_n(self) -> float:
        """The vertical force of the floor on the robot."""
        model, data, wrench, load = self._model, self._data, np.zeros(6), 0.0
        for i in range(data.ncon):
            contact = data.contact[i]
            if 0 in [int(model.geom_bodyid[geom]) for geom in contact.geom]:
                mujoco.mj_contactForce(model, data, i, wrench)
                load += abs(float(contact.frame.reshape(3, 3)[:, 2] @ wrench[:3]))
        return load

    def steady(self) -> None:
        """The person's hands on a robot that is down, for the next step."""
        if not self.is_down:
            return
        data, torso, velocity, turned = self._data, self._torso, np.zeros(6), np.zeros(3)
        mujoco.mj_objectVelocity(self._model, data, mujoco.mjtObj.mjOBJ_XBODY, torso, velocity, 0)
        mujoco.mju_subQuat(turned, self._quat, data.xquat[torso])  # in the torso's axes
        turned = data.xmat[torso].reshape(3, 3) @ turned
        force = -HELD_N_M * (data.xpos[torso] - self._stood) - HELD_N_S_M * velocity[3:]
        force[2] = 0.0
        data.xfrc_applied[torso, :3] = force
        data.xfrc_applied[torso, 3:] = TURNED_N_M_RAD * turned - TURNED_N_M_S_RAD * velocity[:3]
