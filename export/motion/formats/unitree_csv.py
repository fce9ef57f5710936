"""Unitree's retargeted LAFAN1: a CSV without header, root position, quaternion x, y, z, w, then the joints; 30 Hz.

Columns as HybridRobotics/whole_body_tracking `scripts/csv_to_npz.py` @ cd65172 reads them; joints in MuJoCo's order.
"""

from __future__ import annotations

from export.motion.content import Content, ReadOptions, Table, rate_of
from export.motion.robot_motion import RobotMotion
from runtime.errors import Refused

SUMMARY = "csv of Unitree's LAFAN1: no header, 7 columns of root (x, y, z, w last) and the robot's joints"
FPS = 30.0


def recognise(content: Content) -> bool:
    """A table without header, wider than a root."""
    return isinstance(content.data, Table) and not content.data.header and content.data.values.shape[1] > 7


def read(content: Content, options: ReadOptions) -> RobotMotion:
    """The motion, unchecked."""
    what, rows = f"motion {content.path.name}", content.data.values
    order = options.robot.order
    if rows.shape[1] != 7 + len(order):
        raise Refused(what, expected=f"{7 + len(order)} columns: root and {len(order)} joints of {options.robot.name}",
                      found=f"{rows.shape[1]}", what_to_do="choose its robot with --robot")
    return RobotMotion(
        content.path.stem, rate_of(what, options, None, FPS), order, rows[:, 7:], rows[:, :3], rows[:, [6, 3, 4, 5]],
        notes=(() if options.fps else (f"{FPS:g} Hz, as that collection is",)),
    )
