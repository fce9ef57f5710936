"""Where one joint moves so that its limb's weight tells most, and runs into nothing.

Gravity is what tells a joint's torque constant, and with it, what of its inertia is the rotor's and what the links':
the more its torque changes on the way, the better.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from calibration.excitation import Room, room_of
from runtime.robot import Joint

if TYPE_CHECKING:
    from firmware_bridge.hanging import Hanging

F64 = npt.NDArray[np.float64]
REACHES_RAD = (0.6, 0.45, 0.3, 0.2)
"""Half the way, the widest first that is free somewhere."""
END_RAD = 0.1
"""Kept from both ends of the range."""
MIDDLES, LOOKS = 15, 9
CARRIED = 0.6
"""Of the envelope's torque, for the limb's weight at most."""
AS_GOOD = 0.9
"""Of the best: of such places, the one nearest to zero is taken."""


def telling_room(model: Hanging, joint: Joint, pose: F64, velocity_rad_s: float, accel_rad_s2: float) -> Room:
    """The room in which a joint's torque changes most, the others standing in a pose (motors,).

    About zero, as `room_of` has it, where every way is near something.
    """
    for reach in REACHES_RAD:
        low, high = joint.lower_rad + END_RAD + reach, joint.upper_rad - END_RAD - reach
        if high < low:
            continue
        told = [(_change_n_m(model, joint, pose, middle, reach), middle) for middle in np.linspace(low, high, MIDDLES)]
        free = [(change, float(middle)) for change, middle in told if change is not None]
        if free:
            best = max(change for change, _ in free)
            middle = min((middle for change, middle in free if change >= AS_GOOD * best), key=abs)
            return Room(middle, reach, velocity_rad_s, accel_rad_s2)
    return room_of(joint, 0.0, velocity_rad_s, accel_rad_s2)


def _change_n_m(model: Hanging, joint: Joint, pose: F64, middle_rad: float, reach_rad: float) -> float | None:
    """How much the weight's torque changes, a standard deviation; None where limbs come near, or it is too heavy."""
    torques = []
    for place in np.linspace(middle_rad - reach_rad, middle_rad + reach_rad, LOOKS):
        there = pose.copy()
        there[joint.motor] = place
        torque = float(model.torques(there, np.zeros(3))[joint.motor])
        if abs(torque) > CARRIED * joint.effort_n_m or model.touches(there):
            return None
        torques.append(torque)
    return float(np.std(torques))
