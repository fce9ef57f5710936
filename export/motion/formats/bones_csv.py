"""Bones-SEED's robot motions: a CSV with header, centimetres, degrees, 120 Hz.

NVlabs/GR00T-WholeBodyControl `gear_sonic/data_process/convert_soma_csv_to_motion_lib.py` @ 1983e88 turns the three root
angles by scipy's lower-case "xyz": about fixed axes, x first (its comment says otherwise).
"""

from __future__ import annotations

import numpy as np

from export.motion.content import Content, ReadOptions, Table, rate_of
from export.motion.robot_motion import RobotMotion
from runtime import rotation
from runtime.errors import Refused

SUMMARY = "csv of Bones-SEED: header with root_translateX, root_rotateX and *_joint_dof; cm and degrees"
FPS = 120.0
_PLACE = tuple(f"root_translate{axis}" for axis in "XYZ")
_TURN = tuple(f"root_rotate{axis}" for axis in "XYZ")


def recognise(content: Content) -> bool:
    """By its header."""
    return isinstance(content.data, Table) and {*_PLACE, *_TURN} <= set(content.data.header)


def read(content: Content, options: ReadOptions) -> RobotMotion:
    """The motion, unchecked."""
    what, table = f"motion {content.path.name}", content.data
    at = {name: column for column, name in enumerate(table.header)}
    order = options.robot.order
    names = [f"{name}_dof" for name in order.names]
    missing = [name for name in names if name not in at]
    if missing or len(table.header) != table.values.shape[1]:
        raise Refused(what, expected=f"a column for each joint of {options.robot.name}",
                      found=f"none for {', '.join(missing)}" if missing else "another number of columns than names",
                      what_to_do="choose its robot with --robot")
    degrees = table.values[:, [at[name] for name in names]]
    x, y, z = (rotation.quat_from_vector_many(np.radians(table.values[:, [at[name]]]) * np.eye(3)[axis])
               for axis, name in enumerate(_TURN))
    notes = ("root angles about fixed axes, x first", *(() if options.fps else (f"{FPS:g} Hz, as that collection is",)))
    turn = rotation.multiply_many(z, rotation.multiply_many(y, x))
    return RobotMotion(
        content.path.stem, rate_of(what, options, None, FPS), order, np.radians(degrees),
        table.values[:, [at[name] for name in _PLACE]] / 100, turn, notes=notes,
    )
