"""What the motion estimator's networks are given and give: sizes, names and orders, shared by training and use."""

from __future__ import annotations

from runtime.human_motion import HUMAN_JOINTS

JOINTS = len(HUMAN_JOINTS)
_SIDES = {"left": "right", "right": "left"}
OPPOSITE = [HUMAN_JOINTS.index("_".join([_SIDES.get(part, part) for part in name.split("_")])) for name in HUMAN_JOINTS]
"""Of each joint, the one that a mirror shows in its place."""
TURNED = 22
"""Joints whose rotation is told: all but the hands' own, which stay as the wrists have them."""
SHAPE = ("legs", "arms", "trunk", "width")
"""What of a body is told apart, each as the logarithm of a length by the plain skeleton's."""
GROUP = {"hip": "width", "knee": "legs", "ankle": "legs", "foot": "legs", "collar": "width", "shoulder": "width",
         "elbow": "arms", "wrist": "arms", "hand": "arms"}
"""The group of a bone by the second part of its joint's name; "trunk" where there is none."""

FINDER_SIDE = (60, 80)
"""(rows, columns) of the whole picture as the finder sees it."""
CROP_SIDE = 128
"""Pixels of the square about a person, which is cut out of the halved picture."""
HAND_SIDE = 40
"""Pixels of the square about a hand, which is cut out of the whole picture."""
HAND_WINDOW_M = 0.40
"""Of that square's side: a hand is 0.2 m long, and the pose may be as far beside it."""
HAND_AHEAD_M = 0.04
"""From the wrist's end joint on towards the fingers: the middle of that square."""
BOX_MARGIN = 1.3
"""The side of the square about a person, by the longer side of the box about all joints."""
USUAL_WINDOW_M = 2.0
"""Where the logarithm of a window is 0."""

FINDER_OUTPUTS = {"box": 3, "horizon": 1}
"""box: the square's middle and side as shares of the picture (x of the width, y of the height, logarithm of the side by
the height). horizon: as `Pinhole.horizon_of` tells it."""
POSE_OUTPUTS = {"turns": 6 * TURNED, "pelvis": 2, "window": 1, "shape": len(SHAPE), "joints": 3 * JOINTS}
"""turns: two columns of each rotation, the pelvis's in the axes of the ray through the square's middle. pelvis: its
place in the square, -1 to 1. window: logarithm of what the square shows at the pelvis, by USUAL_WINDOW_M. joints: as
seen, x, y in the square and depth from the pelvis in m."""
HIDDEN = 3
"""What is told of a hand that is not seen, beside the three states."""
HAND_OUTPUTS = {"states": 4}
