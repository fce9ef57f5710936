"""How a reference is turned to where the robot stood when it began: NVlabs/GR00T-WholeBodyControl @ 1983e88,
`g1_deploy_onnx_ref.cpp`, `UpdateHeadingState` and `ComputeApplyDeltaHeading`.
"""

from __future__ import annotations

from typing import Any

from runtime import rotation
from runtime.terms import TickInputs


class Heading:
    """The turn about z that the reference is seen through, rewritten every tick.

    `turn_rad` = delta_heading + heading(robot at the beginning) - heading(reference at the beginning). Both are taken
    when the inputs say `reinit` (which also zeroes delta_heading); the reference's also at every tick of step 0.

    Args:
        inputs: what it reads.
        quat_wxyz: the reference's root of this instant, kept up to date by its owner.
    """

    def __init__(self, inputs: TickInputs, quat_wxyz: Any) -> None:
        self._inputs, self._reference = inputs, quat_wxyz
        self._robot_rad = self._reference_rad = 0.0
        self.turn_rad = 0.0

    def update(self) -> None:
        """Once a tick, before anything that looks through it."""
        inputs = self._inputs
        begins = inputs.reinit[0] != 0
        if begins:
            self._robot_rad = rotation.heading_rad(inputs.quat_wxyz)
            inputs.delta_heading[0] = 0
        if begins or inputs.step[0] == 0:
            self._reference_rad = rotation.heading_rad(self._reference)
        self.turn_rad = float(inputs.delta_heading[0]) + self._robot_rad - self._reference_rad


ROOTS = {"root": None, "smpl": "smpl_quat_wxyz"}
"""Whose root a term means: the reference robot's, or the channel of a human's."""


def root_quat(inputs: TickInputs, of: str, offset: int) -> Any:
    """The view of a root's quaternion in the frame `offset` control periods ahead."""
    frame, channel = inputs.window.at(offset), ROOTS[of]
    return frame.root_quat_wxyz if channel is None else frame.channels[channel]


def heading_of(inputs: TickInputs, of: str) -> Heading:
    """The one heading that all terms about a root share; it is updated in every mode, so that modes may change."""
    heading: Heading = inputs.shared(("heading", of), lambda: Heading(inputs, root_quat(inputs, of, 0)))
    scope, inputs.scope = inputs.scope, None
    inputs.each_tick(("heading", of), heading.update)
    inputs.scope = scope
    return heading
