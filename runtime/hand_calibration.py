"""A pair of hands with the ends of its joints as they were measured: ranges, and with them the poses of the states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from firmware_bridge.hand_bus import SIDES
from runtime.calibration_file import hands_of
from runtime.errors import Refused
from runtime.hand import HandModel, load_hand
from runtime.robot import load_robot
from runtime.settings import RunSettings

MOST_RAD = 0.5
"""Ends further from the table's are not this hand's, or it was put together wrongly."""
Ends = Mapping[str, Mapping[str, tuple[float, float]]]
"""Side -> joint -> (lower_rad, upper_rad), as the drives read them."""


def calibrated(model: HandModel, measured: Ends) -> HandModel:
    """A model whose ranges are measured; poses keep their share of the way from end to end.

    Raises:
        Refused: joints that it lacks, or ends far from its own.
    """
    lower, upper = model.lower_rad.copy(), model.upper_rad.copy()
    for side, rows in measured.items():
        for joint, (low, high) in rows.items():
            if side not in SIDES or joint not in model.joints:
                raise Refused(f"calibration of {model.name}", expected=f"joints of {model.name}",
                              found=f"{side} {joint}", what_to_do="calibrate these hands")
            at = SIDES.index(side), model.joints.index(joint)
            if max(abs(low - lower[at]), abs(high - upper[at])) > MOST_RAD or not low < high:
                raise Refused(f"calibration of {model.name}",
                              expected=f"{side} {joint} within {MOST_RAD:g} rad of {lower[at]:.3f} to {upper[at]:.3f}",
                              found=f"{low:.3f} to {high:.3f}", what_to_do="calibrate these hands again")
            lower[at], upper[at] = low, high
    states = lower + (model.states_rad - model.lower_rad) / (model.upper_rad - model.lower_rad) * (upper - lower)
    return replace(model, lower_rad=lower, upper_rad=upper, states_rad=np.asarray(states, np.float32),
                   table_rad=(model.lower_rad, model.upper_rad))


def hand_of(settings: RunSettings) -> HandModel:
    """The hands of a run, as its calibration has them.

    Raises:
        Refused: hands that cannot be, or a calibration of others.
    """
    assert settings.hands is not None
    model = load_hand(settings.hands)
    if settings.calibration is None:
        return model
    measured = hands_of(settings.calibration, load_robot(settings.robot), settings.serial)
    return calibrated(model, measured[model.name]) if model.name in measured else model
