"""Reflected inertia and torque constant of joints, by a chirp: the links' own inertia and weight are the plant's."""

from __future__ import annotations

from calibration.bench import Recording
from calibration.plant_routine import PlantRoutine
from calibration.plant_values import add_inertia
from calibration.routine import Found


class Armature(PlantRoutine):
    """Values are `plant.NAME.armature_kg_m2` and `torque_scale`."""

    name, summary = "armature", "reflected inertia and torque constant by chirp"

    def fit(self, recording: Recording) -> Found:
        found = Found()
        for name, fit in self.fits(recording, found).items():
            add_inertia(found, name, fit)
        return found
