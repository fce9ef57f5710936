"""How late commands act and states arrive, together, by steps of torque: correlated first, then fitted."""

from __future__ import annotations

from calibration.bench import Recording
from calibration.plant_routine import PlantRoutine
from calibration.plant_values import add_delay
from calibration.routine import Found


class Latency(PlantRoutine):
    """Value is `plant.delay.command_s`: of the whole loop, to a fraction of a period."""

    name, summary = "latency", "delay from a command to the state that shows it, below a control period"
    parts = ("chirp",)

    def fit(self, recording: Recording) -> Found:
        found = Found()
        add_delay(found, self.fits(recording, found))
        return found
