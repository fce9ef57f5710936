"""The whole robot's physics, joint by joint, for a simulation that is this very robot."""

from __future__ import annotations

from calibration.bench import Recording
from calibration.plant_routine import PlantRoutine
from calibration.plant_values import add_delay, add_friction, add_inertia
from calibration.routine import Found


class Identify(PlantRoutine):
    """Values are all of `plant`: what `friction`, `armature` and `latency` find, from one set of motions."""

    name, summary = "identify", "friction, inertia, torque constant and delay of all joints, for a simulation"

    def fit(self, recording: Recording) -> Found:
        found = Found()
        fits = self.fits(recording, found)
        for name, fit in fits.items():
            add_friction(found, name, fit)
            add_inertia(found, name, fit)
        add_delay(found, fits)
        return found
