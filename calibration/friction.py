"""Friction of joints: Coulomb, viscous and Stribeck, by sweeps at steady speeds to and fro."""

from __future__ import annotations

from calibration.bench import Recording
from calibration.plant_routine import PlantRoutine
from calibration.plant_values import add_friction
from calibration.routine import Found


class Friction(PlantRoutine):
    """Values are `plant.NAME.coulomb_n_m` and so on; both directions take gravity out."""

    name, summary = "friction", "Coulomb, viscous and Stribeck friction by sweeps in both directions"

    def fit(self, recording: Recording) -> Found:
        found = Found()
        for name, fit in self.fits(recording, found).items():
            add_friction(found, name, fit)
        return found
