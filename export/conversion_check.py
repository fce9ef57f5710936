"""The converted network against the original, tick by tick on what a robot could sense, hidden state kept by each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from export.plausible import plausible_ticks
from export.source_network import Array, SourceNetwork
from runtime.controller import Controller
from runtime.errors import Refused
from runtime.golden import external_places
from runtime.state import RobotState

OBSERVATIONS = 1000
TOLERANCE = 1e-5
SEED = 20


@dataclass(frozen=True)
class Agreement:
    """How far two networks are apart over `observations` ticks.

    Attributes:
        max_action_error, mean_action_error: absolute, of the raw action.
        max_output_error: absolute, of every output but hidden state.
        tolerance: what `max_output_error` may be.
    """

    observations: int
    max_action_error: float
    mean_action_error: float
    max_output_error: float
    tolerance: float

    def facts(self) -> dict[str, Any]:
        """As JSON allows."""
        return asdict(self)


def compare(controller: Controller, source: SourceNetwork, count: int = OBSERVATIONS) -> Agreement:
    """Drive the controller through plausible ticks, from zero hidden state, and the original with the same inputs.

    Args:
        controller: with the converted network.
        count: ticks; one sequence, so that errors of hidden state add up as they would on a robot.
    """
    hidden = {name for name, _ in controller.manifest.recurrent}
    after = {name for _, name in controller.manifest.recurrent}
    names = [name for name in controller.model.outputs if name not in after]
    action = controller.manifest.action_output or names[0]
    errors: dict[str, list[Array]] = {name: [] for name in names}
    state = RobotState(controller.manifest.robot.motors)
    places = external_places(controller)
    controller.reset()
    source.reset()
    for tick in plausible_ticks(controller, count, SEED):
        state.floats[:] = tick.state
        for frame, values in zip(controller.window.frames, tick.window, strict=True):
            frame.values[:] = values
        for name, place in places.items():
            place[:] = tick.places[name]
        controller.tick(state)
        inputs = {name: values.copy() for name, values in controller.model.inputs.items() if name not in hidden}
        expected = source.step(inputs)
        for name in names:
            difference = np.abs(np.asarray(controller.model.outputs[name], np.float64).ravel() - expected[name].ravel())
            errors[name].append(np.where(np.isfinite(difference), difference, np.inf))
    controller.reset()
    worst = max(float(np.max(rows)) for rows in errors.values())
    return Agreement(count, float(np.max(errors[action])), float(np.mean(errors[action])), worst, TOLERANCE)


def refuse_disagreement(what: str, agreement: Agreement) -> None:
    """Raise `Refused` for a conversion that is not the network it came from."""
    if not agreement.max_output_error <= agreement.tolerance:
        raise Refused(
            f"conversion of {what}", expected=f"outputs within {agreement.tolerance:g} of the original's",
            found=f"up to {agreement.max_output_error:.3g} over {agreement.observations} observations",
            what_to_do="nothing was written; the network does something that is not carried over: export it to ONNX in "
            "its training code and give that file",
        )
