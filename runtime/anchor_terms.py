"""Where the reference's anchor points, seen from the robot's: what trackers after BeyondMimic are given of orientation.

R(robot anchor)^T R(turn about z) R(reference anchor), its first two columns row by row. With `reference.align` "yaw"
the turn takes the reference from its heading to the robot's, both as the run begins: the same product is written by
amazon-far/holosoma `policies/wbt.py` @ 12b1d30 (which removes each start yaw), by HybridRobotics/
motion_tracking_controller `MotionCommand.cpp` and unitreerobotics/unitree_rl_lab `State_Mimic.cpp` @ 4711dee (which
turn the motion).
Importing this module registers the term.
"""

from __future__ import annotations

from typing import Any

from runtime import rotation
from runtime.bodies import Chain
from runtime.errors import Refused
from runtime.terms import F32, TERMS, Source, Term, TickInputs, reference_offsets


class _Alignment:
    """The turn about z, taken anew when the inputs say `reinit`."""

    def __init__(self, inputs: TickInputs, chain: Chain) -> None:
        self._inputs, self.chain = inputs, chain
        self.robot: Any = (1.0, 0.0, 0.0, 0.0)
        self.turn_rad = 0.0

    def update(self) -> None:
        inputs = self._inputs
        self.robot = rotation.multiply(inputs.quat_wxyz, self.chain.orientation(inputs.q))
        if inputs.reinit[0] and inputs.anchor.align == "yaw":
            now = inputs.window.now
            reference = rotation.multiply(now.root_quat_wxyz, self.chain.orientation(now.joint_pos))
            self.turn_rad = rotation.heading_rad(self.robot) - rotation.heading_rad(reference)


def _alignment(inputs: TickInputs) -> _Alignment:
    if not inputs.anchor.body:
        raise Refused("term ref_anchor_ori", expected="`bodies` in the robot's file (docs/robots.md)", found="none",
                      what_to_do="describe the anchor body there, and name it in `reference.body`")

    def make() -> _Alignment:
        return _Alignment(inputs, Chain(inputs.anchor.bodies, inputs.anchor.body, inputs.joints))

    found = inputs.shared("anchor", make)
    scope, inputs.scope = inputs.scope, None
    inputs.each_tick("anchor", found.update)
    inputs.scope = scope
    return found


def _anchor_ori(inputs: TickInputs, settings: dict[str, Any]) -> Source:
    offsets, alignment = reference_offsets(settings), _alignment(inputs)
    frames, chain = [inputs.window.at(offset) for offset in offsets], alignment.chain

    def write(out: F32) -> None:
        left = rotation.multiply(rotation.conjugate(alignment.robot), rotation.quat_about_z(alignment.turn_rad))
        for i, frame in enumerate(frames):
            anchor = rotation.multiply(frame.root_quat_wxyz, chain.orientation(frame.joint_pos))
            out[6 * i : 6 * i + 6] = rotation.two_columns(rotation.multiply(left, anchor))

    return inputs.derive(("ref_anchor_ori", offsets), 6 * len(offsets), write)


TERMS["ref_anchor_ori"] = Term(
    _anchor_ori, "reference anchor's orientation seen from the robot's: two columns of R, row by row (6 a frame)",
    {"frames": [0]},
)
